"""What `wm train` does: what could not be trained refused, a trainer assembled for a task, people told how it goes."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
import wmctrl_envs
from wmctrl_envs.task import Task, TaskSpec

from wmctrl.commands import run_folder
from wmctrl.commands.logbook import Logbook
from wmctrl.commands.stopping import told_to_stop
from wmctrl.config import Config, TaskConfig
from wmctrl.config_files import nearest
from wmctrl.learning import arithmetic
from wmctrl.learning.agent import Agent, AgentConfig
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.plants import Plant
from wmctrl.learning.replay import Hindsight, Replay, segment_name, segments
from wmctrl.learning.train import Progress, Trainer

GO_ON = "import sys, pathlib, wmctrl.commands.training as t; t.train(pathlib.Path(sys.argv[1]), resume=True)"
"""What a process of `in_background` runs, with the run's folder as its argument."""


def new_run(config: Config, seed: int, device: str, root: Path, recorded: Path | None = None) -> Path:
    """Make a run's folder with what is needed to repeat it, and return its path.

    Args:
        recorded: Another run, whose replay is all that this one learns from.

    Raises:
        ValueError: The run could not start; nothing is made.
    """
    check(config, device, None if recorded is None else run_folder.recorded_replay(recorded, config))
    return run_folder.begin(config, seed, device, root, recorded)


def make_task(config: TaskConfig) -> Task:
    """A plant as the run sees it."""
    return wmctrl_envs.make(config.id, config.observe, config.camera_size, config.config)


def spec_of(config: TaskConfig) -> TaskSpec:
    """What a plant says about itself, which it knows once it is made."""
    with closing(make_task(config)) as task:
        return task.task_spec


def make_plant(config: Config) -> Task:
    """A plant to gather experience from."""
    return make_task(replace(config.task, config=config.task.config | config.collect.config))


def check(config: Config, device: str, recorded: CheckpointFolder | None = None) -> None:
    """Make plant, agent and replay once, to refuse early what could not be trained.

    Args:
        recorded: The opened checkpoint whose replay is all there is to learn from.

    Raises:
        ValueError: Unknown id or device, a task without continuous actions, a parameter that it does not have or that
            cannot be so, settings that do not go together, or a recording that is damaged or of other sizes.
    """
    require_taught(config.agent)
    require_compiler(config.agent)
    if config.replay.length <= config.agent.model.context:
        raise ValueError(
            f"replay.length must be more than agent.model.context, {config.agent.model.context}: what comes after the"
            f" context is what the model learns to look ahead by; came {config.replay.length}"
        )
    with closing(make_task(config.task)) as task, closing(make_plant(config)) as plant:
        if _interface(task.task_spec) != _interface(plant.task_spec):
            raise ValueError("collect.config changes what is observed or commanded; give it in task.config as well")
        known = {parameter.name: parameter for parameter in plant.task_spec.parameters}
        for key, names in (("randomise", config.collect.randomise), ("parameters", config.collect.parameters)):
            for name in names:
                if name not in known:
                    raise ValueError(f"collect.{key}: {name!r} is not a parameter here; {nearest(name, known)}")
        for name, value in config.collect.parameters.items():
            known[name].require_within("collect.parameters", value)
            if name in config.collect.randomise:
                raise ValueError(f"collect.parameters: {name} is drawn by collect.randomise; name it in one of them")
        agent = Agent.for_task(task.task_spec, config.agent, torch_device(device))
        replay = Replay(agent.sizes, config.replay, config.collect.plants)
    if recorded is None:
        check_steps(config)
    else:
        check_recording(recorded, replay)


def require_taught(agent: AgentConfig) -> None:
    """Refuse planning that asks an actor and a critic whom nothing taught.

    Raises:
        ValueError: It asks one of them.
    """
    if not agent.learn_behavior and (agent.objective.value or agent.proposals):
        raise ValueError(
            "agent.learn_behavior=false leaves actor and critic untrained, whom planning asks; set"
            " agent.objective.value=0 and agent.proposals=0"
        )


def require_compiler(agent: AgentConfig) -> None:
    """Refuse to compile without a compiler and Python's headers.

    Raises:
        ValueError: One is missing.
    """
    compiler, header = os.environ.get("CXX", "g++"), Path(sysconfig.get_path("include"), "Python.h")
    missing = [what for what, found in ((compiler, shutil.which(compiler)), (header, header.exists())) if not found]
    if agent.compile and missing:
        raise ValueError(
            f"agent.compile=true needs a C++ compiler, and there is no {missing[0]}; install it (apt-get install g++"
            " python3-dev), or train without agent.compile"
        )


def _interface(spec: TaskSpec) -> tuple[Any, ...]:
    """What an agent is made for."""
    return spec.proprio, spec.goal, spec.action, spec.camera


def check_steps(config: Config) -> None:
    """Refuse a run that would be over before its first update; the first ones are due at the last random step.

    Raises:
        ValueError: It has no other steps than random ones.
    """
    steps, prefill = config.schedule.steps, config.collect.prefill
    if steps < prefill or (steps == prefill and config.schedule.first_updates == 0):
        raise ValueError(
            f"schedule.steps must outlast collect.prefill, the {prefill:,} random steps before anything is learned,"
            f" came {steps:,}; give more --steps or set a smaller collect.prefill"
        )


def check_recording(recorded: CheckpointFolder, replay: Replay) -> None:
    """Refuse recorded steps that are not made of what the replay holds.

    Raises:
        ValueError: A part of them has another shape or is not there, or a file is damaged.
    """
    for number, begin in segments(recorded):
        steps = recorded.get(segment_name(number, begin))
        for name, column in replay.streams[number].arrays.items():
            wanted, came = column.shape[1:], steps[name].shape[1:] if name in steps else "nothing"
            if came != wanted:
                raise ValueError(
                    f"{name} must be of shape {wanted} as the task is now, {recorded.folder} recorded {came};"
                    " record another run"
                )


def torch_device(name: str) -> torch.device:
    """Where PyTorch computes.

    Raises:
        ValueError: There is no such device in this machine.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device must be cpu, or cuda where there is a GPU and a PyTorch for it, came {name}"
        ) from error


def assemble(config: Config, folder: Path, facts: Mapping[str, Any]) -> Trainer:
    """A trainer for a task; the same settings and facts of a run make the same one."""
    seed = int(facts["seed"])
    torch.manual_seed(seed)
    examiner = make_task(config.task)
    agent = Agent.for_task(examiner.task_spec, config.agent, torch_device(facts["device"]))
    replay = Replay(agent.sizes, config.replay, config.collect.plants, hindsight(examiner))
    count = config.collect.plants if facts["recorded"] is None else 0
    plants = [Plant(make_plant(config), number, seed, config.collect) for number in range(count)]
    return Trainer(agent, replay, plants, config.schedule, folder, seed, examiner)


def assembled(folder: Path) -> Trainer:
    """A run's trainer as its last checkpoint left it.

    Raises:
        ValueError: The folder is not a run, or its checkpoint is missing or damaged.
    """
    config, facts = run_folder.open_run(folder)
    trainer = assemble(config, folder, facts)
    trainer.restore()
    return trainer


def finished(folder: Path) -> bool:
    """Whether nothing is left to train in a run."""
    return CheckpointFolder(folder / "checkpoint").exists() and assembled(folder).finished


class Learned(NamedTuple):
    """What a run's last checkpoint holds to drive with."""

    agent: Agent
    steps: int
    """Environment steps it had learned from."""
    weights: str
    """SHA-256 of the file of its parameters."""


def load_agent(folder: Path, config: Config, spec: TaskSpec) -> Learned:
    """The agent of a run's last checkpoint.

    Raises:
        ValueError: There is no checkpoint, it is damaged, or it is of other settings.
    """
    agent = Agent.for_task(spec, config.agent)
    checkpoint = CheckpointFolder(folder / "checkpoint")
    facts = checkpoint.open()
    try:
        found = Learned(agent, int(facts["step"]), checkpoint.files[facts["state"]])
        agent.load_state(checkpoint.get(facts["state"]))
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{checkpoint.folder} is of other settings or of another version; train again") from error
    return found


def hindsight(task: Task) -> Hindsight | None:
    """How the task judges goals it was not given, where it can."""
    achieved = task.task_spec.achieved
    return Hindsight(achieved, task.goal_reward) if achieved else None


def never(news: Mapping[str, float]) -> bool:
    """No news ends a training before its last step."""
    return False


def train(folder: Path, *, resume: bool = False, enough: Callable[[Mapping[str, float]], bool] = never) -> Trainer:
    """Run a folder's training to its last step, or on from its checkpoint; what `told_to_stop` hears saves and stops.

    Args:
        enough: Whether to stop early, asked once something was learned: of new figures, and with none at every step,
            update and episode of a look.

    Raises:
        ValueError: The run cannot go on; says why and what to do.
    """
    config, facts = run_folder.open_run(folder)
    require_compiler(config.agent)
    arithmetic.prepare(threads=1)  # the plants and many small operations leave nothing for a second thread to win
    with run_folder.alone_with(folder):
        trainer = assemble(config, folder, facts)
        if resume and trainer.checkpoint.exists():  # else the run was killed before its first checkpoint
            trainer.restore()
        elif facts["recorded"] is not None:
            trainer.replay.adopt(run_folder.recorded_replay(Path(facts["recorded"]), config))
        if resume and trainer.finished:
            raise ValueError(
                f"{folder} is finished ({trainer.step:,} steps); look at it with `wm eval {folder}`, or add --steps"
                " with more in all to go on"
            )
        try:
            _run(trainer, folder, enough)
        except OSError as error:
            what = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            raise ValueError(
                f"{what}; the checkpoint of step {trainer.saved:,} stands: mend that, then `wm train --resume {folder}`"
            ) from error
    return trainer


def in_background(folder: Path) -> "subprocess.Popen[bytes]":
    """A process of its own that trains a run to its last step, from wherever it stands, and logs to its `train.log`."""
    with (folder / "train.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", GO_ON, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C reaches only the process that started it, which decides
        )


def _run(trainer: Trainer, folder: Path, enough: Callable[[Mapping[str, float]], bool]) -> None:
    """Run a trainer with a logbook until it is done or told to stop."""

    def stop(signum: int, frame: FrameType | None) -> None:
        trainer.stopping = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait

    with told_to_stop(stop), Logbook(folder, trainer, may_end=enough is not never) as logbook:

        def listen(progress: Progress, news: Mapping[str, float]) -> None:
            logbook(progress, news)
            trainer.stopping = trainer.stopping or (trainer.agent.updates > 0 and enough(news))

        trainer.run(listen)

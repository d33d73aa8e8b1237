"""What `wm train` does: a run folder, a trainer assembled for a task, and people told how it goes."""

import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
import wmctrl_envs
from rich.console import Console
from rich.live import Live
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter
from wmctrl_envs.task import Task, TaskSpec

from wmctrl.config import Config, TaskConfig
from wmctrl.config_files import from_mapping, read_yaml, to_yaml
from wmctrl.learning.agent import Agent
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.plants import Plant
from wmctrl.learning.replay import Hindsight, Replay
from wmctrl.learning.train import Progress, Trainer
from wmctrl.runtime.files import write_atomic

RECORDED = ("torch", "numpy", "mujoco", "gymnasium", "gymnasium-robotics", "highway-env")
"""Packages whose versions a run depends on."""


def new_run(config: Config, seed: int, device: str, root: Path, recorded: Path | None = None) -> Path:
    """Make a run's folder with what is needed to repeat it, and return its path.

    Args:
        recorded: Another run, whose replay is all that this one learns from.
    """
    folder = root / config.task.id.replace(":", "-") / f"{time.strftime('%Y%m%d-%H%M%S')}-s{seed}"
    folder.mkdir(parents=True)
    facts = {
        "seed": seed,
        "device": device,
        "recorded": None if recorded is None else str(recorded.resolve()),
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "versions": versions(),
    }
    write_atomic(folder / "config.yaml", to_yaml(config).encode())
    write_atomic(folder / "run.json", json.dumps(facts, indent=1).encode())
    return folder


def versions() -> dict[str, str]:
    """Versions of what trajectories and weights depend on."""
    return {name: version(name) for name in RECORDED}


def open_run(folder: Path) -> tuple[Config, dict[str, Any]]:
    """Settings and facts of a run.

    Raises:
        ValueError: The folder is not a run.
    """
    if not (folder / "run.json").exists():
        raise ValueError(f"{folder} is not a run (it has no run.json); runs are in runs/<task>/")
    config = from_mapping(Config, read_yaml(folder / "config.yaml"), str(folder / "config.yaml"))
    return config, json.loads((folder / "run.json").read_text())


def make_task(config: TaskConfig) -> Task:
    """A plant as the run sees it."""
    return wmctrl_envs.make(config.id, config.observe, config.camera_size)


def assemble(config: Config, folder: Path, facts: Mapping[str, Any]) -> Trainer:
    """A trainer for a task; the same settings and facts of a run make the same one."""
    seed = int(facts["seed"])
    torch.manual_seed(seed)
    examiner = make_task(config.task)
    agent = Agent.for_task(examiner.task_spec, config.agent, torch.device(facts["device"]))
    count = config.collect.plants
    replay = Replay(agent.sizes, config.replay, count, hindsight(examiner))
    if facts["recorded"] is not None:
        replay.load(recorded_replay(Path(facts["recorded"]), config))
        count = 0
    plants = [Plant(make_task(config.task), number, seed, config.collect) for number in range(count)]
    return Trainer(agent, replay, plants, config.schedule, folder, seed, examiner)


def recorded_replay(folder: Path, config: Config) -> CheckpointFolder:
    """The opened checkpoint of a run whose replay fits these settings.

    Raises:
        ValueError: It is no run, or recorded another task or other parts of it.
    """
    theirs, _ = open_run(folder)
    if (theirs.task, theirs.collect.plants) != (config.task, config.collect.plants):
        raise ValueError(
            f"{folder} recorded {theirs.task} on {theirs.collect.plants} plants, this run wants {config.task} on"
            f" {config.collect.plants}; give the same task, observe and collect.plants"
        )
    checkpoint = CheckpointFolder(folder / "checkpoint")
    checkpoint.open()
    return checkpoint


def load_agent(folder: Path, config: Config, spec: TaskSpec) -> tuple[Agent, int]:
    """The agent of a run's last checkpoint, to drive with, and the environment steps it had learned from.

    Raises:
        ValueError: There is no checkpoint, it is damaged, or it is of other settings.
    """
    agent = Agent.for_task(spec, config.agent)
    checkpoint = CheckpointFolder(folder / "checkpoint")
    step = int(checkpoint.open()["step"])
    try:
        agent.load_state(checkpoint.get(f"state-{step:09d}.safetensors"))
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{checkpoint.folder} is of other settings or of another version; train again") from error
    return agent, step


def hindsight(task: Task) -> Hindsight | None:
    """How the task judges goals it was not given, where its goals are vectors."""
    cost = task.task_spec.goal_cost
    if cost is None or not task.task_spec.goal:
        return None
    return Hindsight(cost.achieved, lambda achieved, goal: -cost(achieved, goal))


class Logbook:
    """Keeps every figure in `metrics.jsonl` and TensorBoard, and shows a live line."""

    def __init__(self, folder: Path, steps: int, start: int) -> None:
        """
        Args:
            start: Step the run goes on from; figures after it, of a run that was killed, are forgotten.
        """
        self.steps, self.start = steps, start
        self.live = Live(console=Console(stderr=True), refresh_per_second=4)
        self.path = folder / "metrics.jsonl"
        self._forget_after(start)
        self.file = self.path.open("a")
        self.board = SummaryWriter(str(folder), purge_step=start + 1)
        self.began = time.monotonic()

    def __call__(self, progress: Progress, news: Mapping[str, float]) -> None:
        """Record news of a run and refresh the line."""
        if news:
            seconds = round(time.monotonic() - self.began, 1)
            row = {"step": progress.step, "updates": progress.updates, "seconds": seconds, **news}
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
            for name, value in news.items():
                self.board.add_scalar(name, value, progress.step)
        self.live.update(Text(self.line(progress)))

    def line(self, progress: Progress) -> str:
        """How the run stands, such as `1,200 of 2,000 steps, 9.8 steps/s, 1 min 22 s left, return -3.1`."""
        elapsed = time.monotonic() - self.began
        rate = (progress.step - self.start) / max(elapsed, 1e-9)
        left = (self.steps - progress.step) / max(rate, 1e-9)
        shown = ("loss/proprio", "loss/camera", "loss/reward", "loss/dynamics", "episode_return", "return", "success")
        figures = [f"{name} {progress.metrics[name]:.3g}" for name in shown if name in progress.metrics]
        parts = [f"{progress.step:,} of {self.steps:,} steps", f"{rate:.1f} steps/s", f"{progress.updates:,} updates"]
        return ", ".join([*parts, f"{duration(left)} left", *figures])

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()
        self.file.close()
        self.board.close()

    def _forget_after(self, step: int) -> None:
        if self.path.exists():
            rows = self.path.read_text().splitlines(keepends=True)
            kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= step]
            write_atomic(self.path, "".join(kept).encode())


def duration(seconds: float) -> str:
    """A time a person reads at a glance, such as `4 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def never(news: Mapping[str, float]) -> bool:
    """No news ends a training before its last step."""
    return False


def train(folder: Path, *, resume: bool = False, enough: Callable[[Mapping[str, float]], bool] = never) -> Trainer:
    """Run a folder's training to its last step, or on from its checkpoint; Ctrl-C saves and stops.

    Args:
        enough: Whether these new figures are good enough to stop early.
    """
    config, facts = open_run(folder)
    torch.set_num_threads(1)  # the plants and many small operations leave nothing for a second thread to win
    trainer = assemble(config, folder, facts)
    if resume:
        trainer.restore()

    def stop(signum: int, frame: FrameType | None) -> None:
        trainer.stopping = True
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C does not wait

    before = signal.signal(signal.SIGINT, stop)
    try:
        with Logbook(folder, config.schedule.steps, trainer.step) as logbook:

            def listen(progress: Progress, news: Mapping[str, float]) -> None:
                logbook(progress, news)
                trainer.stopping = trainer.stopping or enough(news)

            trainer.run(listen)
    finally:
        signal.signal(signal.SIGINT, before)
    return trainer

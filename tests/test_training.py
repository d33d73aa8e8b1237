"""Training: what goes wrong is told in one line and loses nothing, and what goes right is recorded and learned."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from wmctrl_envs.driving_task import DrivingTask
from wmctrl_envs.task import Task

from tests.tiny_run import EPISODE_AND_A_HALF, SETTINGS, tiny
from wmctrl.bench.endurance import contents, saved_step
from wmctrl.cli import main
from wmctrl.commands import logbook, provenance, run_folder, training
from wmctrl.commands.logbook import Logbook
from wmctrl.commands.typed import wm
from wmctrl.config import resolve
from wmctrl.learning.agent import Agent
from wmctrl.learning.drive_state import DriveState
from wmctrl.learning.evaluate import Driver, RandomDriver, drive_episode
from wmctrl.learning.train import EXAMINATION_SEED, Progress


def new_run(root: Path, *overrides: str) -> Path:
    return training.new_run(tiny("Pendulum-v1", "schedule.evaluate_every=0", *overrides), 0, "cpu", root)


def failing_at(call: int, original: Callable[..., Any], fail: Callable[[], Any]) -> Callable[..., Any]:
    """A function that fails from its call of this number on."""
    calls = []

    def function(*args: Any, **keywords: Any) -> Any:
        calls.append(args)
        return fail() if len(calls) >= call else original(*args, **keywords)

    return function


def last_line(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that did its last step, with looks."""
    folder = new_run(tmp_path_factory.mktemp("finished"), "schedule.evaluate_every=60", "schedule.first_updates=100")
    training.train(folder)
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env", "Pendulm-v1"], "unknown task 'Pendulm-v1'; did you mean Pendulum-v1"),
        (["--env", "CartPole-v1"], "CartPole-v1 must have a vector of continuous actions, got Discrete(2); choose"),
        (
            ["--env", "Pendulum-v1", "--set", "agent.modle.units=9"],
            "--set: agent.modle is not a setting; did you mean mod",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "replay.batch=many"],
            "--set: replay.batch must be a whole number, came 'many'",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "schedule.checkpoint_every=0"],
            "--set: schedule checkpoint_every must be at",
        ),
        (["--env", "Pendulum-v1", "--set", "replay.capacity=5"], "--set: replay capacity must be at least"),
        (
            ["--env", "Pendulum-v1", "--set", "collect.randomise=[mas]"],
            "collect.randomise: 'mas' is not a parameter here",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "collect.parameters={mass: 100}"],
            "collect.parameters: mass must be from 0.3 to 3 kg, came 100",
        ),
        (
            ["--env", "racetrack-v1", "--set", "collect.config.other_vehicle=3"],
            "unknown config key 'other_vehicle'; did you mean other_vehicles",
        ),
        (
            ["--env", "racetrack-v1", "--set", "collect.config={dynamical: true}"],
            "collect.config changes what is observed or commanded; give it in task.config as well",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "task.observe=[camra]"],
            "unknown part of Pendulum-v1's observation 'camra'",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "agent.learn_behavior=false"],
            "agent.learn_behavior=false leaves actor and critic untrained, whom planning asks; set",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "agent.compile=true"],
            "agent.compile=true needs a C++ compiler, and there is no g++-of-old; install it (apt-get install g++",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "collect.parameters={mass: heavy}"],
            "--set: collect.parameters.mass must be a number, came 'heavy'",
        ),
        (
            ["--env", "Pendulum-v1", "--set", "collect.parameters={mass: 2}", "--set", "collect.randomise=[mass]"],
            "collect.parameters: mass is drawn by collect.randomise; name it in one of them",
        ),
        (["--env", "Pendulum-v1", "--device", "abacus"], "--device must be cpu, or cuda where there is a GPU"),
        (["--env", "Pendulum-v1", "--config", "nowhere.yaml"], "--config: there is no file nowhere.yaml"),
        (
            ["--env", "HalfCheetah-v5", "--steps", "900"],
            "schedule.steps must outlast collect.prefill, the 1,000 random steps before anything is learned, came 900;",
        ),
        (
            ["--env", "Pendulum-v1", "--steps", "400", "--set", "schedule.first_updates=0"],
            "schedule.steps must outlast collect.prefill, the 400 random steps",
        ),
        (["--resume", "nowhere"], "nowhere is not a run (it has no run.json); runs are in runs/<task>/"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line_before_a_run_is_made(
    words: list[str],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "g++-of-old")
    where = [] if "--resume" in words else ["--out", str(tmp_path)]
    assert main(["train", *words, *where]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"wm train: {message}"), error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_broken_config_names_file_and_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("schedule:\n  steps: [\n")
    assert main(["train", "--env", "Pendulum-v1", "--config", str(path)]) == 2
    assert last_line(capfd).startswith(f"wm train: {path}:3: not valid YAML")


def test_a_plant_that_breaks_down_now_and_then_is_learned_from_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: tuple[Any, ...] = np.array([np.nan, 0.0, 0.0], np.float32), 0.0, False, False, {}
    step: Callable[..., Any] = PendulumEnv.step
    calls = itertools.count(1)
    monkeypatch.setattr(PendulumEnv, "step", lambda *a: broken if next(calls) in (31, 40) else step(*a))
    trainer = training.train(new_run(tmp_path, "schedule.evaluate_every=0"))
    stream = trainer.replay.streams[0]
    assert trainer.finished
    assert stream.starts == [0, 31, 40]  # every action's arrival but two, and the beginnings
    assert np.isfinite(stream.window(0, stream.total)["proprio"]).all()
    rows = logbook.logged(trainer.checkpoint.folder.parent)
    assert [(row["step"], row["breakdowns"]) for row in rows if "breakdowns" in row] == [(31, 1.0), (40, 2.0)]


def test_a_plant_that_breaks_down_for_good_stops_with_one_line_and_the_resumed_run_starts_another_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> tuple[Any, ...]:
        return np.array([np.nan, 0.0, 0.0], np.float32), 0.0, False, False, {}

    with monkeypatch.context() as patch:
        patch.setattr(PendulumEnv, "step", failing_at(31, PendulumEnv.step, broken))
        settings = [word for setting in (*SETTINGS, "schedule.evaluate_every=0") for word in ("--set", setting)]
        assert main(["train", "--env", "Pendulum-v1", "--out", str(tmp_path), *settings]) == 2
    line = last_line(capfd)
    assert "became nan at step 1; reset the task; it broke down in 10 episodes in a row" in line
    assert line.endswith("everything before it is saved; resuming begins a new episode")
    (folder,) = tmp_path.glob("*/*")
    trainer = training.assembled(folder)
    assert (trainer.step, len(trainer.replay)) == (39, 40)  # 30 steps of the first episode, and ten beginnings
    assert np.isfinite(trainer.replay.streams[0].arrays["proprio"]).all()
    assert training.train(folder, resume=True).finished
    assert training.assembled(folder).replay.streams[0].starts == [0, *range(31, 41)]


def test_a_breakdown_while_looking_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Worn(PendulumEnv):
        """Breaks after three steps of an episode that starts as those of looks do."""

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            self.left = 3 if seed is not None and seed >= EXAMINATION_SEED else 1000
            return super().reset(seed=seed, options=options)

        def step(self, u: NDArray[np.float32]) -> Any:
            self.left -= 1
            if not self.left:
                raise RuntimeError("worn out")
            return super().step(u)  # type: ignore[no-untyped-call]  # gymnasium's own has no types

    monkeypatch.setitem(gym.registry, "Worn-v0", EnvSpec("Worn-v0", lambda **_: Worn(), max_episode_steps=20))
    settings = ("schedule.steps=66", "schedule.evaluate_every=33", "schedule.evaluate_episodes=2")
    folder = training.new_run(tiny("Worn-v0", *settings), 0, "cpu", tmp_path)
    assert training.train(folder).finished
    looks = [row for row in logbook.logged(folder) if "return" in row]
    assert [(row["step"], row["length"], row["failure"]) for row in looks] == [(33, 2, 1), (66, 2, 1)]


def test_a_run_of_random_steps_alone_does_its_first_updates(tmp_path: Path) -> None:
    trainer = training.train(new_run(tmp_path, "schedule.steps=20"))
    assert (trainer.step, trainer.prefill, trainer.updates) == (20, 20, 5)


@pytest.mark.parametrize("call", [11, 12, 15])
def test_a_full_disk_leaves_the_last_checkpoint_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    folder = new_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_at(call, os.fsync, full))
        with pytest.raises(
            ValueError, match=r"^No space left on device: somewhere; the checkpoint of step \d+ stands"
        ) as told:
            training.train(folder)
    assert str(told.value).endswith(f"`wm train --resume {folder}`")
    checkpoints = (call - 2 - 1) // 6  # two calls make the file of figures, and six a checkpoint
    assert saved_step(folder) == training.assembled(folder).step == 11 * checkpoints
    assert training.train(folder, resume=True).finished


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_ctrl_c_kill_or_closed_terminal_saves_and_says_how_to_go_on(tmp_path: Path, signum: signal.Signals) -> None:
    settings = [word for setting in (*SETTINGS, "schedule.steps=100000") for word in ("--set", setting)]
    unhandled = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # the tests may run under nohup
    command = f"{unhandled}; import sys; from wmctrl.cli import main; sys.exit(main())"
    words = ["train", "--env", "Pendulum-v1", "--out", str(tmp_path), *settings]
    with subprocess.Popen([sys.executable, "-c", command, *words], stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(tmp_path.glob("*/*/checkpoint/checkpoint.json")):
            time.sleep(0.05)
        process.send_signal(signum)
        _, error = process.communicate(timeout=30)
    (folder,) = tmp_path.glob("*/*")
    step = saved_step(folder)
    assert process.returncode == 130
    assert (
        error.splitlines()[-1]
        == f"wm train: stopped and saved at step {step:,}; go on with: {wm()} train --resume {folder}"
    )
    assert step >= 11
    assert training.assembled(folder).step == step


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")

    folder = new_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Agent, "learn", failing_at(10, Agent.learn, interrupt_twice))
        with pytest.raises(KeyboardInterrupt):
            training.train(folder)
    assert saved_step(folder) == 22
    assert main(["train", "--resume", str(folder)]) == 0


def test_what_nohup_had_ignored_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(self: Agent, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)
        return learn(self, *arguments)

    folder, learn = new_run(tmp_path), Agent.learn
    monkeypatch.setattr(Agent, "learn", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert training.train(folder).finished
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_finished_run_says_so(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(finished)]) == 2
    assert last_line(capfd) == (
        f"wm train: {finished} is finished (66 steps); look at it with `./wm eval {finished}`, or add --steps with more"
        " in all to go on"
    )


def test_a_finished_run_goes_on_with_more_steps_and_is_refused_as_many(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = new_run(tmp_path, "schedule.steps=30")
    assert training.train(folder).finished
    words = ["train", "--resume", str(folder), "--steps"]
    for steps in ("29", "30"):
        assert main([*words, steps]) == 2
        assert last_line(capfd) == (
            f"wm train: --steps must be more than the 30 that {folder} has, came {steps}; leave it out to go on with"
            " those"
        )
    with run_folder.alone_with(folder):
        assert main([*words, "41"]) == 2
    assert run_folder.open_run(folder)[0].schedule.steps == 30
    assert main([*words, "41"]) == 0
    assert training.assembled(folder).step == run_folder.open_run(folder)[0].schedule.steps == 41


def test_two_processes_do_not_train_the_same_run(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    with (
        run_folder.alone_with(folder),
        pytest.raises(ValueError, match="is being trained by another process; stop that"),
    ):
        training.train(folder)
    assert training.train(folder).finished


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("checkpoint/state-*.safetensors", "is damaged"),
        ("checkpoint/replay-000-0000000000.safetensors", "is damaged"),
        ("checkpoint/checkpoint.json", "is damaged"),
        ("run.json", "is damaged"),
        ("config.yaml", "not valid YAML"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(
    tmp_path: Path, pattern: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = new_run(tmp_path, "schedule.steps=30")
    training.train(folder)
    (path,) = folder.glob(pattern)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\0" + content[len(content) // 2 + 1 :])
    capfd.readouterr()
    assert main(["train", "--resume", str(folder)]) == 2
    error = capfd.readouterr().err
    assert f"{path}" in error
    assert message in error
    assert error.count("\n") == 1


def test_other_settings_than_the_checkpoints_are_refused(tmp_path: Path) -> None:
    folder = new_run(tmp_path, "schedule.steps=30")
    training.train(folder)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("deter: 16", "deter: 17"))
    with pytest.raises(ValueError, match=r"^[^\n]*is of other settings or another version; start anew$"):
        training.train(folder, resume=True)


def test_every_figure_is_a_row_and_in_tensorboard(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "return" in row] == [60]
    assert [row["updates"] for row in rows if "loss/reward" in row] == [100]
    assert all(row["seconds"] > 0.0 for row in rows)
    (events,) = finished.glob("events.out.tfevents.*")
    content = events.read_bytes()
    assert b"loss/reward" in content
    assert b"return" in content


def test_only_what_a_task_defines_is_told_of_how_it_goes(finished: Path, tmp_path: Path) -> None:
    told = {name for row in logbook.logged(finished) for name in row}
    assert {"return", "length"} <= told
    assert not told & {"success", "episode_success", "failure"}, "the pendulum has none"
    judged = training.new_run(
        tiny("FetchReach-v4", *EPISODE_AND_A_HALF, "schedule.evaluate_every=60"), 0, "cpu", tmp_path
    )
    training.train(judged)
    told = {name for row in logbook.logged(judged) for name in row}
    assert {"success", "episode_success"} <= told
    assert "failure" not in told, "an arm cannot fail"


def test_whoever_watches_is_shown_every_step_update_and_episode_of_a_look(tmp_path: Path) -> None:
    folder = new_run(tmp_path, "schedule.steps=30", "schedule.evaluate_every=30", "schedule.evaluate_episodes=2")
    config, facts = run_folder.open_run(folder)
    trainer = training.assemble(config, folder, facts)
    shown: list[tuple[int, int, bool]] = []
    trainer.run(lambda progress, news: shown.append((progress.step, progress.updates, bool(news))))
    counted = [one for one in shown if not one[2]]
    assert {step for step, _, _ in counted} == set(range(1, 31))
    assert {updates for _, updates, _ in counted} == set(range(11))
    assert [step for step, updates, _ in counted if updates == 10].count(30) == 3, "the last update, and two episodes"


def test_figures_that_a_power_cut_damaged_do_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    folder = new_run(tmp_path, "schedule.evaluate_every=30")
    training.train(folder, enough=lambda news: "return" in news)
    whole = logbook.logged(folder)
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9] + b"\0\0\0\0\n")
    assert logbook.logged(folder) == whole[:-1]
    assert training.train(folder, resume=True).finished
    assert logbook.logged(folder)[: len(whole) - 1] == whole[:-1]


@pytest.mark.parametrize(
    "override",
    [
        "agent.objective.goal=1",
        "collect.randomise=[nonsense]",
        "replay.capacity=3",
        "agent.planner.elites=99",
        "agent.model.context=0",
        "agent.planner.temperature=0",
        "agent.planner.kept=5",
        "replay.hindsight=50",
        "agent.model.reward_resolution=0",
        "agent.model.layers=0",
        "agent.model.deter=0",
        "agent.model.prior_components=0",
        "agent.objective.failure=-5",
        "replay.length=4",
    ],
)
def test_a_run_that_could_not_start_leaves_nothing(tmp_path: Path, override: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        new_run(tmp_path, override)
    assert list(tmp_path.rglob("*")) == []


def test_a_file_made_for_another_task_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("task: {id: Hopper-v5}")
    with pytest.raises(ValueError, match=r"mine.yaml: task.id is Hopper-v5, --env asks for Pendulum-v1; leave one of"):
        resolve("Pendulum-v1", path)
    assert resolve("Hopper-v5", path).task.id == "Hopper-v5"


def test_experience_can_be_gathered_on_a_plant_configured_otherwise_than_the_one_that_is_asked_for() -> None:
    config = tiny("racetrack-v1", "task.config.speed_limit=8", "collect.config={other_vehicles: 3}")
    asked, gathered = (
        task.scenario.config
        for task in (training.make_task(config.task), training.make_plant(config))
        if isinstance(task, DrivingTask)
    )
    assert (asked["speed_limit"], asked["other_vehicles"]) == (8, 1)
    assert (gathered["speed_limit"], gathered["other_vehicles"]) == (8, 3)


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_the_agents_actions_are_explored_around_with_the_std_that_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, std: float
) -> None:
    folder = new_run(tmp_path, "schedule.steps=400", f"collect.exploration_std={std}", "schedule.updates_per_step=0")
    config, facts = run_folder.open_run(folder)
    trainer = training.assemble(config, folder, facts)
    decide, decided = trainer.agent.act, []

    def act(*arguments: Any) -> tuple[NDArray[np.float32], DriveState]:
        action, state = decide(*arguments)
        decided.append(0.1 * action)  # far from the borders, where noise would be cut off
        return decided[-1], state

    monkeypatch.setattr(trainer.agent, "act", act)
    trainer.run(lambda progress, news: None)
    stream = trainer.replay.streams[0].arrays
    sent = stream["action"][: len(trainer.replay)][stream["is_first"][: len(trainer.replay)] == 0.0]
    noise = sent[-len(decided) :] - np.array(decided)
    assert noise.std() == pytest.approx(std, rel=0.15, abs=1e-6)


@pytest.mark.parametrize(("override", "std"), [("collect.search_std=0.9", 0.9), ("collect.search_std=null", 0.5)])
def test_the_search_is_as_wide_as_was_asked_while_experience_is_gathered(
    tmp_path: Path, override: str, std: float
) -> None:
    folder = new_run(tmp_path, override, "agent.planner.init_std=0.5", "schedule.updates_per_step=0")
    config, facts = run_folder.open_run(folder)
    trainer = training.assemble(config, folder, facts)
    trainer.run(lambda progress, news: None)
    state = trainer.plants[0].state
    assert state is not None
    assert state.plan.std.flatten().tolist() == pytest.approx([std] * state.plan.std.numel())


def progress(step: int, updates: int, metrics: Mapping[str, float]) -> Progress:
    return Progress(step, updates, metrics)


def test_the_line_tells_rates_figures_and_the_time_left(finished: Path, tmp_path: Path) -> None:
    trainer = training.assemble(run_folder.open_run(finished)[0], tmp_path, run_folder.open_run(finished)[1])
    trainer.step, trainer.agent.updates = 26, 100
    with Logbook(tmp_path, trainer) as logbook:
        assert logbook.line(progress(26, 100, {})) == "26 of 66 steps, 100 updates", (
            "nothing tells yet how fast it goes"
        )
        logbook.pace = (logbook.pace[0] - 10.0, logbook.pace[1])
        line = logbook.line(progress(46, 150, {"loss/reward": 0.25, "return": -3.14159, "success": 0.5}))
    assert line.startswith("46 of 66 steps, 2.0 steps/s, 5.0 updates/s, 10 s left")
    assert "return -3.14" in line
    assert "success 0.5" in line


def test_random_steps_and_the_updates_on_them_do_not_foretell_the_time_left(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    config, facts = run_folder.open_run(folder)
    with Logbook(tmp_path, training.assemble(config, folder, facts)) as logbook:
        first = config.schedule.first_updates
        for step, updates, doing in (
            (1, 0, "random actions at first"),
            (20, first - 1, f"learns from these first, {first - 1} of {first} updates"),
            (20, first, "looks how it drives"),
        ):
            logbook(progress(step, updates, {}), {})
            assert logbook.line(progress(step, updates, {})) == f"{step} of 66 steps, {doing}"
        logbook.pace = (logbook.pace[0] - 2.0, logbook.pace[1])
        assert logbook.line(progress(22, first + 1, {})) == "22 of 66 steps, 1.0 steps/s, 0.5 updates/s, 44 s left"
        logbook.may_end = True
        assert logbook.line(progress(22, first + 1, {})).endswith(", at most 44 s left")


def test_a_run_that_other_code_began_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = new_run(tmp_path, "schedule.steps=30")
    training.train(folder)
    assert main(["train", "--resume", str(folder), "--steps", "32"]) == 0
    assert "other code" not in capfd.readouterr().err
    monkeypatch.setattr(provenance, "code", lambda *_: "0" * 64)
    assert main(["train", "--resume", str(folder), "--steps", "34"]) == 0
    told = f"{folder} was begun by other code or versions: it goes on, but not bit for bit"
    assert capfd.readouterr().err.splitlines()[0] == told


def test_two_runs_begun_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20300101-000000")
    folders = [new_run(tmp_path) for _ in range(3)]
    assert [folder.name for folder in folders] == [f"20300101-000000-s0{end}" for end in ("", "-2", "-3")]
    assert run_folder.newest_run(run_folder.open_run(folders[0])[0], 0, tmp_path) == folders[2]


def test_a_log_gets_a_line_at_first_at_every_look_and_twice_a_minute(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = new_run(tmp_path)
    config, facts = run_folder.open_run(folder)
    with Logbook(folder, training.assemble(config, folder, facts)) as logbook:
        for step, seconds, news in ((1, 0, "loss"), (2, 0, "loss"), (3, 31, "loss"), (4, 0, "return"), (5, 0, "loss")):
            logbook.shown -= seconds
            logbook(progress(step, 100, {}), {news: 0.5})
    shown = capfd.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in shown] == [f"{step} of 66 steps" for step in (1, 3, 4)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (245, "4 min 05 s"), (7500, "2 h 05 min")]
)
def test_a_time_is_told_as_people_do(seconds: float, text: str) -> None:
    assert logbook.duration(seconds) == text


def test_a_camera_alone_can_be_learned_from(tmp_path: Path) -> None:
    config = tiny("lane-keeping-v0", "task.observe=[camera]", "agent.model.camera_depth=2", "schedule.evaluate_every=0")
    folder = training.new_run(config, 0, "cpu", tmp_path)
    assert training.train(folder).finished
    assert contents(folder)["updates"] == 28


def distances(driver: Driver[Any], task: Task) -> NDArray[np.float64]:
    """Mean distance of the gripper from the goal over the last ten steps of five episodes (5,) [m]."""
    episodes = [drive_episode(driver, task, seed=77, number=number) for number in range(5)]
    ends = [[o["proprio"][:3] - o["goal"] for o in episode.observations[-10:]] for episode in episodes]
    return np.linalg.norm(np.array(ends), axis=-1).mean(1)


def test_six_hundred_steps_teach_an_arm_to_reach_where_chance_does_not(tmp_path: Path) -> None:
    overrides = (
        *(f"agent.model.{one}" for one in ("deter=48", "units=48")),
        *(f"agent.planner.{one}" for one in ("horizon=5", "samples=32", "iterations=2", "elites=6", "kept=2")),
        *(f"schedule.{one}" for one in ("steps=600", "first_updates=200", "updates_per_step=1", "evaluate_every=0")),
        *("collect.prefill=500", "replay.batch=16"),
    )
    folder = training.new_run(resolve("FetchReach-v4", overrides=overrides), 0, "cpu", tmp_path)
    trainer = training.train(folder)
    learned = distances(trainer.agent, trainer.examiner)
    chance = distances(RandomDriver(4), trainer.examiner)
    assert learned.mean() < 0.3 * chance.mean(), f"learned {learned}, chance {chance}"

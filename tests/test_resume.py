"""A run that was killed, stopped or watched ends with the same bits as one that was left alone."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import wmctrl.learning.train
from tests.tiny_run import tiny
from wmctrl.bench.endurance import contents, differences, endure
from wmctrl.commands import run_folder, training
from wmctrl.commands.logbook import logged
from wmctrl.learning.agent import Agent
from wmctrl.learning.plants import Plant

CASES = {
    "FetchReach-v4": ("replay.capacity=40",),  # the ring turns
    "Pendulum-v1": ("collect.plants=2", "collect.randomise=[mass, length]", "schedule.evaluate_every=40"),
}
SHORT = {
    "drawn futures": (
        *("HalfCheetah-v5", "collect.episode_steps=9"),
        *("agent.behavior.stochastic=true", "agent.objective.particles=2"),
    ),
    "traffic": ("racetrack-v1",),
    "pictures": (
        "FetchReach-v4",
        *("task.observe=[proprio, camera]", "task.camera_size=16", "agent.model.camera_depth=2"),
        *("agent.objective.goal=0", "agent.objective.reward=1", "collect.episode_steps=9"),
    ),
}
"""More of what a run can hold, in fewer steps: task and settings."""
FEW_STEPS = (
    *("collect.prefill=12", "schedule.steps=30", "schedule.first_updates=3"),
    *("schedule.checkpoint_every=7", "schedule.evaluate_every=0"),
)
SITES: dict[str, tuple[Any, str]] = {
    "writing": (os, "fsync"),
    "replacing": (Path, "replace"),
    "deleting": (Path, "unlink"),
    "driving": (Plant, "step"),
    "learning": (Agent, "learn"),
    "looking": (wmctrl.learning.train, "drive"),
}
"""Where a process can die: whose function."""


class Killed(BaseException):
    """Ends a run as a kill does: nothing that handles errors handles it."""


def new_run(task: str, root: Path, *overrides: str) -> Path:
    return training.new_run(tiny(task, *overrides), 3, "cpu", root)


def at_calls(monkeypatch: pytest.MonkeyPatch, site: str, do: Callable[[str], None]) -> None:
    """Have `do` called with the site's name before each of its calls."""
    owner, name = SITES[site]
    original = getattr(owner, name)

    def wrapped(*args: Any, **keywords: Any) -> Any:
        do(site)
        return original(*args, **keywords)

    monkeypatch.setattr(owner, name, wrapped)


class Calm(NamedTuple):
    """A run that was left alone."""

    folder: Path
    calls: Counter[str]
    """How often it came to each site."""


@pytest.fixture(scope="module", params=CASES)
def calm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    counts: Counter[str] = Counter()
    folder = new_run(request.param, tmp_path_factory.mktemp("calm"), *CASES[request.param])
    with pytest.MonkeyPatch.context() as patch:
        for site in SITES:
            at_calls(patch, site, lambda name: counts.update([name]))
        training.train(folder)
    return Calm(folder, counts)


def twin(folder: Path, root: Path) -> Path:
    """A new run of the same settings."""
    config, facts = run_folder.open_run(folder)
    return training.new_run(config, facts["seed"], "cpu", root)


def doing_at(call: int, act: Callable[[], None]) -> Callable[[str], None]:
    """Acts at one call of a site."""
    calls = Counter[str]()

    def do(site: str) -> None:
        calls.update([site])
        if calls[site] == call:
            act()

    return do


def finish(folder: Path) -> None:
    """Go on to the end, unless a death came after the last checkpoint."""
    if not training.finished(folder):
        training.train(folder, resume=True)


def die() -> None:
    raise Killed


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def random_calls(total: int, site: str) -> Sequence[int]:
    """Two of a site's calls, always the same."""
    return sorted(int(call) for call in np.random.default_rng([total, *site.encode()]).integers(1, total + 1, 2))


def test_the_runs_go_through_everything(calm: Calm) -> None:
    assert all(calm.calls[site] for site in SITES)
    found = contents(calm.folder)
    assert (found["step"], found["updates"]) == (66, 28)  # 5 + (66 - 20) / 2
    assert any(name.startswith("model_optimizer.0.exp_avg") for name in found)
    assert any("return" in row for row in found["metrics.jsonl"])


@pytest.mark.parametrize("site", SITES)
def test_killed_anywhere_and_resumed_is_the_same(
    calm: Calm, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = twin(calm.folder, tmp_path)
    for call in random_calls(calm.calls[site], site):
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            at_calls(patch, site, doing_at(call, die))
            training.train(folder, resume=True)
            break  # so little was left to do that it never came to that call
    else:
        finish(folder)
    assert differences(calm.folder, folder) == []


@pytest.mark.parametrize("case", SHORT)
def test_killed_while_learning_and_while_driving_and_resumed_is_the_same(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, *settings = SHORT[case]
    calm, killed = (new_run(task, tmp_path / name, *FEW_STEPS, *settings) for name in ("calm", "killed"))
    training.train(calm)
    for site, call in (("learning", 6), ("driving", 9)):  # behind the checkpoints of steps 14 and 21
        with monkeypatch.context() as patch:
            at_calls(patch, site, doing_at(call, die))
            with pytest.raises(Killed):
                training.train(killed, resume=True)
    training.train(killed, resume=True)
    assert differences(calm, killed) == []


@pytest.mark.parametrize("call", [5, 6, 7])  # after four others: replay, state, manifest of the second checkpoint
def test_killed_while_the_second_checkpoint_is_written_the_first_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    folder = new_run("FetchReach-v4", tmp_path)
    with monkeypatch.context() as patch:
        at_calls(patch, "replacing", doing_at(call, die))
        with pytest.raises(Killed):
            training.train(folder)
    assert training.assembled(folder).step == 11


@pytest.mark.parametrize("site", ["driving", "learning", "looking"])
def test_ctrl_c_anywhere_saves_at_once_and_the_resumed_run_is_the_same(
    calm: Calm, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = twin(calm.folder, tmp_path)
    call = random_calls(calm.calls[site], site)[0]
    reached = Counter[str]()
    with monkeypatch.context() as patch:
        at_calls(patch, site, doing_at(call, interrupt))
        at_calls(patch, "learning", lambda name: reached.update([name]))
        stopped = training.train(folder)
    assert not stopped.finished
    assert site != "learning" or reached["learning"] == call == stopped.updates
    training.train(folder, resume=True)
    assert differences(calm.folder, folder) == []


def test_ctrl_c_in_the_last_look_leaves_that_look_to_the_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run("Pendulum-v1", tmp_path, "schedule.steps=30", "task.config.max_steps=20")
    with monkeypatch.context() as patch:
        at_calls(patch, "looking", lambda _: interrupt())
        assert not training.train(folder).finished
    assert not any("return" in row for row in logged(folder))
    assert training.train(folder, resume=True).finished
    assert [row["step"] for row in logged(folder) if "return" in row] == [30]


def test_stopped_at_all_news_is_the_same(calm: Calm, tmp_path: Path) -> None:
    folder = twin(calm.folder, tmp_path)
    stops = 0
    while not training.train(folder, resume=True, enough=bool).finished:
        stops += 1
    assert stops >= 1
    assert differences(calm.folder, folder) == []


def test_rows_that_a_checkpoint_counts_survive_power_cuts(
    calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = twin(calm.folder, tmp_path)
    metrics, fsync, lasting = folder / "metrics.jsonl", os.fsync, Counter[int]()

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        file = os.fstat(descriptor)
        lasting[file.st_ino] = file.st_size

    monkeypatch.setattr(os, "fsync", watched)
    for call in (50, 17):  # of driving: behind looks and the checkpoints of steps 44 and 55
        with monkeypatch.context() as patch:
            at_calls(patch, "driving", doing_at(call, die))
            with pytest.raises(Killed):
                training.train(folder, resume=True)
        os.truncate(metrics, lasting[metrics.stat().st_ino])
    training.train(folder, resume=True)
    assert differences(calm.folder, folder) == []


@pytest.mark.parametrize("steps", [33, 40])
def test_a_run_given_more_steps_is_the_one_that_had_them_from_the_start(calm: Calm, tmp_path: Path, steps: int) -> None:
    """No case looks at 33, one does at 40."""
    config, facts = run_folder.open_run(calm.folder)
    short = replace(config, schedule=replace(config.schedule, steps=steps))
    folder = training.new_run(short, facts["seed"], "cpu", tmp_path)
    assert training.train(folder).finished
    run_folder.extend(folder, config.schedule.steps)
    assert run_folder.open_run(folder)[0] == config
    assert training.train(folder, resume=True).finished
    assert differences(calm.folder, folder) == []


def test_looks_change_nothing_of_what_is_learned(calm: Calm, tmp_path: Path) -> None:
    config, _ = run_folder.open_run(calm.folder)
    unwatched = new_run(config.task.id, tmp_path, *CASES[config.task.id], "schedule.evaluate_every=0")
    training.train(unwatched)
    assert set(differences(calm.folder, unwatched)) == {"looked", "told", "metrics", "metrics.jsonl"}


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    folders = [training.new_run(tiny("Pendulum-v1", "schedule.steps=30"), seed, "cpu", tmp_path) for seed in (3, 4)]
    for folder in folders:
        training.train(folder)
    different = set(differences(*folders))
    assert {"replay0.proprio", "trained.prospect_head.trunk.0.weight", "generator"} <= different


def test_sigkill_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    config = tiny("Pendulum-v1", "collect.plants=2", "collect.randomise=[mass]", "schedule.checkpoint_every=6")
    endured = endure(config, tmp_path, kills=2)
    assert endured.killed_at
    assert endured.differences == ()

"""A run that was killed, stopped or watched ends with the same bits as one that was left alone."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wmctrl.learning.train
from wmctrl import training
from wmctrl.config import Config, resolve
from wmctrl.endurance import contents, differences, endure
from wmctrl.learning.agent import Agent
from wmctrl.learning.plants import Plant

MODEL = ("deter=16", "stoch=8", "units=16", "layers=1")
PLANNER = ("horizon=3", "samples=12", "iterations=1", "elites=4", "kept=2")
BEHAVIOR = ("units=16", "horizon=3", "starts=8")
SCHEDULE = ("steps=66", "first_updates=5", "updates_per_step=0.5", "checkpoint_every=11", "evaluate_every=30")
TINY = (
    *(f"agent.model.{one}" for one in MODEL),
    *(f"agent.planner.{one}" for one in PLANNER),
    *(f"agent.behavior.{one}" for one in BEHAVIOR),
    *(f"schedule.{one}" for one in SCHEDULE),
    *("schedule.evaluate_episodes=1", "agent.proposals=2", "replay.batch=4", "replay.length=6", "collect.prefill=20"),
)
"""A complete run that takes a second: everything is on, and nothing is large."""
CASES = {
    "FetchReach-v4": ("replay.capacity=40",),  # the ring turns
    "Pendulum-v1": ("collect.plants=2", "collect.randomise=[mass, length]", "agent.objective.particles=2"),
}
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


def tiny(task: str, *overrides: str) -> Config:
    return resolve(task, overrides=(*TINY, *overrides))


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


@pytest.fixture(scope="module", params=CASES)
def calm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Counter[str]]]:
    """A run that was left alone, and how often it came to each site."""
    counts: Counter[str] = Counter()
    folder = new_run(request.param, tmp_path_factory.mktemp("calm"), *CASES[request.param])
    with pytest.MonkeyPatch.context() as patch:
        for site in SITES:
            at_calls(patch, site, lambda name: counts.update([name]))
        training.train(folder)
    yield folder, counts


def twin(folder: Path, root: Path) -> Path:
    """A new run of the same settings."""
    config, facts = training.open_run(folder)
    return training.new_run(config, facts["seed"], "cpu", root)


def doing_at(call: int, act: Callable[[], None]) -> Callable[[str], None]:
    """Acts at one call of a site."""
    calls = Counter[str]()

    def do(site: str) -> None:
        calls.update([site])
        if calls[site] == call:
            act()

    return do


def die() -> None:
    raise Killed


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def random_calls(total: int, site: str) -> Sequence[int]:
    """Two of a site's calls, always the same."""
    return sorted(int(call) for call in np.random.default_rng([total, *site.encode()]).integers(1, total + 1, 2))


def test_the_runs_go_through_everything(calm: tuple[Path, Counter[str]]) -> None:
    folder, counts = calm
    assert min(counts[site] for site in SITES) >= 2
    found = contents(folder)
    assert (found["step"], found["updates"]) == (66, 28)  # 5 + (66 - 20) / 2
    assert any(name.startswith("model_optimizer.0.exp_avg") for name in found)
    assert any("return" in row for row in found["metrics.jsonl"])


@pytest.mark.parametrize("site", SITES)
def test_killed_anywhere_and_resumed_is_the_same(
    calm: tuple[Path, Counter[str]], site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_alone, counts = calm
    folder = twin(left_alone, tmp_path)
    deaths = 0
    for call in random_calls(counts[site], site):
        with monkeypatch.context() as patch:
            at_calls(patch, site, doing_at(call, die))
            try:
                training.train(folder, resume=True)
            except Killed:
                deaths += 1
            except ValueError as error:
                assert "is finished" in str(error)  # the first death was after the last checkpoint
    assert deaths
    if not training.assembled(folder).finished:
        training.train(folder, resume=True)
    assert differences(left_alone, folder) == []


@pytest.mark.parametrize("site", ["driving", "learning", "looking"])
def test_ctrl_c_anywhere_saves_at_once_and_the_resumed_run_is_the_same(
    calm: tuple[Path, Counter[str]], site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_alone, counts = calm
    folder = twin(left_alone, tmp_path)
    call = random_calls(counts[site], site)[0]
    reached = Counter[str]()
    with monkeypatch.context() as patch:
        at_calls(patch, site, doing_at(call, interrupt))
        at_calls(patch, "learning", lambda name: reached.update([name]))
        stopped = training.train(folder)
    assert not stopped.finished
    assert site != "learning" or reached["learning"] == call == stopped.updates
    training.train(folder, resume=True)
    assert differences(left_alone, folder) == []


def test_stopped_at_all_news_is_the_same(calm: tuple[Path, Counter[str]], tmp_path: Path) -> None:
    left_alone, _ = calm
    folder = twin(left_alone, tmp_path)
    stops = 0
    while not training.train(folder, resume=True, enough=lambda news: True).finished:
        stops += 1
    assert stops >= 1
    assert differences(left_alone, folder) == []


def test_looks_change_nothing_of_what_is_learned(calm: tuple[Path, Counter[str]], tmp_path: Path) -> None:
    left_alone, _ = calm
    config, _ = training.open_run(left_alone)
    unwatched = new_run(config.task.id, tmp_path, *CASES[config.task.id], "schedule.evaluate_every=0")
    training.train(unwatched)
    assert set(differences(left_alone, unwatched)) == {"looked", "told", "metrics", "metrics.jsonl"}


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    folders = [training.new_run(tiny("Pendulum-v1", "schedule.steps=30"), seed, "cpu", tmp_path) for seed in (3, 4)]
    for folder in folders:
        training.train(folder)
    different = set(differences(*folders))
    assert {"replay0.proprio", "trained.prospect_head.net.0.weight", "generator"} <= different


def test_sigkill_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    config = tiny("Pendulum-v1", "collect.plants=2", "collect.randomise=[mass]", "schedule.checkpoint_every=6")
    endured = endure(config, tmp_path, kills=2)
    assert len(endured.killed_at) == 2
    assert endured.differences == ()

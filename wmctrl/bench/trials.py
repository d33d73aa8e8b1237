"""The evidence behind the tables: a task trained and evaluated over several seeds, kept as JSON."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wmctrl.commands import evaluation, intervals, logbook, training
from wmctrl.commands.intervals import Estimate
from wmctrl.config import Config
from wmctrl.config_files import to_mapping
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.evaluate import Outcome
from wmctrl.runtime.files import write_atomic

SCHEMA = 1
OUTCOME_COLUMNS = ("success", "failure", "reward", "length")
COLUMNS = ("seed", "steps", "minutes", "success", "failure", "return", "length", "return of random actions")


@dataclass(frozen=True)
class Trial:
    """One seed's training and how it drives."""

    seed: int
    run: str
    """Its folder."""
    seconds: float
    """Of training up to its last news, looks included [s]."""
    steps: int
    """Environment steps it learned from."""
    updates: int
    looks: Sequence[Mapping[str, float]]
    """What was seen between, from `metrics.jsonl`."""
    outcomes: Sequence[Outcome]
    baseline: Sequence[Outcome]
    """Random actions."""


def trials(
    config: Config, seeds: Sequence[int], episodes: int, root: Path, *, look_every: int = 0, resume: bool = False
) -> Iterator[Trial]:
    """Train and evaluate one seed after another.

    Args:
        look_every: Steps between looks of as many episodes; 0 never looks, so that the time is training's alone.
        resume: Go on with the newest run of each seed that has these settings, where there is one.
    """
    looking = {"evaluate_every": look_every, "evaluate_episodes": episodes if look_every else 1}
    settings = replace(config, schedule=replace(config.schedule, **looking))
    for seed in seeds:
        found = training.newest_run(settings, seed, root) if resume else None
        run = found or training.new_run(settings, seed, "cpu", root)
        if not (found and training.finished(found)):
            training.train(run, resume=found is not None)
        yield examine(run, seed, episodes)


def examine(run: Path, seed: int, episodes: int) -> Trial:
    """Evaluate a finished run in episodes that no other seed's evaluation has."""
    agent, random = evaluation.evaluate(run, episodes, seed=1_000_000 * (seed + 1)).scores
    rows = logbook.logged(run)
    seconds = rows[-1]["seconds"] if rows else 0.0
    looks = [row for row in rows if "return" in row]
    facts = CheckpointFolder(run / "checkpoint").open()
    return Trial(seed, str(run), seconds, facts["step"], facts["updates"], looks, agent.outcomes, random.outcomes)


def summary(found: Sequence[Trial]) -> dict[str, Estimate]:
    """Figures over all episodes of all seeds, with their 95 % intervals."""
    outcomes = [outcome for trial in found for outcome in trial.outcomes]
    count = len(outcomes)
    return {
        "success": intervals.rate(sum(outcome.success for outcome in outcomes), count),
        "failure": intervals.rate(sum(outcome.failure for outcome in outcomes), count),
        "return": intervals.mean([outcome.reward for outcome in outcomes]),
        "length": intervals.mean([float(outcome.length) for outcome in outcomes]),
        "minutes": intervals.mean([trial.seconds / 60.0 for trial in found]),
    }


def row(trial: Trial) -> tuple[str, ...]:
    """A trial as a row under COLUMNS."""
    means = {name: np.mean([getattr(outcome, name) for outcome in trial.outcomes]) for name in OUTCOME_COLUMNS}
    random = np.mean([outcome.reward for outcome in trial.baseline])
    shown = [intervals.in_digits(value) for value in (*means.values(), random)]
    return (str(trial.seed), f"{trial.steps:,}", f"{trial.seconds / 60.0:.1f}", *shown)


def total(found: Sequence[Trial]) -> tuple[str, ...]:
    """All trials together as a row under COLUMNS, with 95 % intervals."""
    figures = summary(found)
    shown = [
        "{} ({} to {})".format(*map(intervals.in_digits, figure))
        for name, figure in figures.items()
        if name != "minutes"
    ]
    random = intervals.mean([outcome.reward for trial in found for outcome in trial.baseline])
    return ("all", "", f"{figures['minutes'].value:.1f}", *shown, intervals.in_digits(random.value))


def write_json(path: Path, config: Config, found: Sequence[Trial]) -> None:
    """Keep everything that a table's reader may ask for."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "command": training.command_line(),
        "versions": training.versions(),
        "config": _finite(to_mapping(config)),
        "summary": {name: estimate._asdict() for name, estimate in summary(found).items()},
        "trials": [asdict(trial) for trial in found],
    }
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())


def _finite(value: Any) -> Any:
    """The same settings with what JSON has no number for, such as an infinite temperature, as text."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

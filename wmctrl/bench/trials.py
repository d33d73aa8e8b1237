"""The evidence behind the tables: a task trained and evaluated over several seeds, kept as JSON."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from wmctrl_envs.task import TaskSpec

from wmctrl.commands import evaluation, intervals, logbook, provenance, run_folder, training
from wmctrl.commands.intervals import Estimate
from wmctrl.config import Config
from wmctrl.config_files import to_mapping
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.evaluate import Outcome
from wmctrl.runtime.files import write_atomic

SCHEMA = 1
COLUMNS = ("seed", "steps", "minutes", *intervals.FIGURES, "return of random actions")
LARGEST_SEED = 1000
"""Seeds' episodes start a million apart, and those of looks two thousand millions away."""


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
        resume: Go on with the newest run of each seed that has these settings, where there is one; where no looks are
            wanted, one that looked will do, and its time counts its looks.

    Raises:
        ValueError: A seed is repeated or too large.
        KeyboardInterrupt: Ctrl-C; everything is saved.
    """
    require_seeds(seeds)
    looking = {"evaluate_every": look_every, "evaluate_episodes": episodes if look_every else 1}
    settings = replace(config, schedule=replace(config.schedule, **looking))
    for seed in seeds:
        found = run_folder.newest_run(settings, seed, root, whatever_looks=not look_every) if resume else None
        run = found or training.new_run(settings, seed, "cpu", root)
        done = found is not None and training.finished(found)
        if not (done or training.train(run, resume=found is not None).finished):
            raise KeyboardInterrupt(f"stopped in the training of seed {seed}; --resume goes on with it")
        yield examine(run, seed, episodes)


def require_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds whose episodes would meet.

    Raises:
        ValueError: One is repeated or too large.
    """
    if len(set(seeds)) < len(seeds) or max(seeds) > LARGEST_SEED:
        raise ValueError(f"--seeds takes different seeds from 0 to {LARGEST_SEED}, came {' '.join(map(str, seeds))}")


def first_episode(seed: int) -> int:
    """Where the episodes start that a seed is evaluated in, and no other seed."""
    return 1_000_000 * (seed + 1)


def examine(run: Path, seed: int, episodes: int) -> Trial:
    """Evaluate a finished run in episodes that no other seed's evaluation has."""
    agent, random = evaluation.evaluate(run, episodes, seed=first_episode(seed)).scores
    rows = logbook.logged(run)
    seconds = rows[-1]["seconds"] if rows else 0.0
    looks = [row for row in rows if "return" in row]
    facts = CheckpointFolder(run / "checkpoint").open()
    return Trial(seed, str(run), seconds, facts["step"], facts["updates"], looks, agent.outcomes, random.outcomes)


class Driven(Protocol):
    """What was driven with one seed: a trial, or whatever compares with one."""

    @property
    def outcomes(self) -> Sequence[Outcome]: ...


@dataclass(frozen=True)
class Figure:
    """What some trials come to."""

    over_episodes: Estimate
    """Over all episodes: what these controllers would show in others."""
    by_seed: Sequence[float]
    """Of every trial: how much a controller trained anew can differ."""


def summary(found: Sequence[Driven], spec: TaskSpec) -> dict[str, Figure]:
    """Figures of trials on a task, those that it defines, with 95 % intervals."""
    outcomes = [outcome for trial in found for outcome in trial.outcomes]
    by_seed = [evaluation.figures(trial.outcomes, spec) for trial in found]
    return {
        name: Figure(estimate, [figures[name].value for figures in by_seed])
        for name, estimate in evaluation.figures(outcomes, spec).items()
    }


def summary_json(found: Sequence[Driven], spec: TaskSpec) -> dict[str, dict[str, Any]]:
    """The same figures as they are kept."""
    return {
        name: figure.over_episodes._asdict() | {"by_seed": figure.by_seed}
        for name, figure in summary(found, spec).items()
    }


def row(trial: Trial, spec: TaskSpec) -> tuple[str, ...]:
    """A trial as a row under COLUMNS."""
    shown = intervals.cells(
        evaluation.figures(trial.outcomes, spec), lambda _, figure: intervals.in_digits(figure.value)
    )
    random = float(np.mean([outcome.reward for outcome in trial.baseline]))
    return (str(trial.seed), f"{trial.steps:,}", f"{minutes(trial):.1f}", *shown, intervals.in_digits(random))


def total(found: Sequence[Trial], spec: TaskSpec) -> tuple[str, ...]:
    """All trials together as a row under COLUMNS, with 95 % intervals over all episodes."""
    shown = with_intervals(found, spec)
    random = float(np.mean([outcome.reward for trial in found for outcome in trial.baseline]))
    return ("all", "", f"{np.mean([*map(minutes, found)]):.1f}", *shown, intervals.in_digits(random))


def with_intervals(found: Sequence[Driven], spec: TaskSpec) -> list[str]:
    """Figures over all episodes with 95 % intervals, as cells under `intervals.FIGURES`."""
    figures = {name: figure.over_episodes for name, figure in summary(found, spec).items()}
    return intervals.cells(figures, lambda _, figure: "{} ({} to {})".format(*map(intervals.in_digits, figure)))


def minutes(trial: Trial) -> float:
    """Time of its training [min]."""
    return trial.seconds / 60.0


def write_json(path: Path, found: Sequence[Trial], spec: TaskSpec) -> None:
    """Keep everything that a table's reader may ask for."""
    config, _ = run_folder.open_run(Path(found[0].run))
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "command": provenance.command_line(),
        **provenance.made_by(),
        "config": finite(to_mapping(config)),
        "summary": summary_json(found, spec),
        "trials": [asdict(trial) for trial in found],
    }
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())


def finite(value: Any) -> Any:
    """The same settings with what JSON has no number for, such as an infinite temperature, as text."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

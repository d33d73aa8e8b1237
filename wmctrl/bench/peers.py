"""A task by other methods: learners without a model, planning on the plant itself above them, and chance below.

All of them drive the episodes that trials of the same seeds are judged in, by the same harness and the same figures.
"""

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from wmctrl_envs.task import Task, TaskSpec

from wmctrl.bench import peer_learners, trials, true_plant
from wmctrl.bench.zoo import Algorithm, recipe_of
from wmctrl.commands import evaluation, intervals, logbook, provenance, training
from wmctrl.config import TaskConfig
from wmctrl.config_files import nearest, to_mapping
from wmctrl.learning import arithmetic
from wmctrl.learning.evaluate import Driver, Outcome, RandomDriver, drive_episode
from wmctrl.runtime import json_file
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.latency import Latency

SCHEMA = 1
SOURCES = ("peer_learners.py", "peers.py", "true_plant.py", "zoo.py")
"""What of this room decides how a part turns out."""
PLANNED_EPISODES = 3
"""Episodes a seed that are planned on the plant itself, at most: a decision of it takes a second or so."""
COLUMNS = ("method", "steps", "minutes", *intervals.FIGURES, "by seed", "first returns", "ms a decision")
LEGEND = (
    "minutes: of learning, the plant included; by seed: the first figure of each; simulator: plans on the plant itself;"
    f" first returns: mean of the first {PLANNED_EPISODES} episodes of each seed, which that drives as well"
)
"""What the columns mean."""

Listen = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and how far it goes."""


@dataclass(frozen=True)
class Question:
    """What all methods are asked."""

    task: TaskConfig
    steps: int
    """Environment steps to learn from."""
    episodes: int
    """To be judged in, of every seed."""


@dataclass(frozen=True)
class Method:
    """A way to drive."""

    algorithm: Algorithm | None = None
    """What learns it; None where nothing is learned."""
    hindsight: bool = False
    """Learns from what its episodes would have been worth with other goals, too."""
    plans: bool = False
    """Plans on the plant itself."""


METHODS: Mapping[str, Method] = {
    "random": Method(),
    "sac": Method("sac"),
    "tqc": Method("tqc"),
    "tqc+her": Method("tqc", hindsight=True),
    "simulator": Method(plans=True),
}


@dataclass(frozen=True)
class Part:
    """A method with one seed."""

    method: str
    seed: int
    steps: int
    """Environment steps it learned from."""
    seconds: float
    """That learning took [s]."""
    decision_ms: float
    """Median time of a decision [ms]."""
    outcomes: Sequence[Outcome]
    libraries: Mapping[str, str]
    """Versions of what it was learned with."""


def chosen(names: Sequence[str] | None, spec: TaskSpec) -> list[str]:
    """The methods asked for, or all that a task can be driven by.

    Raises:
        ValueError: There is no such method, or it wants what the task does not tell, or libraries that are missing.
    """
    able = [name for name, method in METHODS.items() if spec.achieved or not method.hindsight]
    for name in names or ():
        if name not in METHODS:
            raise ValueError(f"--methods: {name} is none; {nearest(name, METHODS)}")
        if name not in able:
            raise ValueError(f"--methods: {name} needs a task that tells what reaches its goal, {spec.id} does not")
    found = list(dict.fromkeys(names or able))
    if any(METHODS[name].algorithm for name in found):
        peer_learners.library()
    return found


def measure(
    question: Question, methods: Sequence[str], seeds: Sequence[int], done: Sequence[Part], listen: Listen
) -> Iterator[Part]:
    """Every method with every seed, seed after seed, but for those that are done.

    Raises:
        ValueError: Seeds whose episodes would meet, or too few steps for a method to learn anything.
        KeyboardInterrupt: Ctrl-C; says what it came in.
    """
    trials.require_seeds(seeds)
    arithmetic.prepare(threads=1)
    finished = {(part.method, part.seed) for part in done}
    for seed, method in itertools.product(seeds, methods):
        if (method, seed) not in finished:
            try:
                yield examined(question, method, seed, listen)
            except KeyboardInterrupt:
                told = "with --json, what is finished is kept, and the same command goes on with it"
                raise KeyboardInterrupt(f"stopped in {method}, seed {seed}; {told}") from None


def examined(question: Question, method: str, seed: int, listen: Listen) -> Part:
    """Learn with one seed, and drive."""
    kind, name = METHODS[method], f"{method}, seed {seed}"
    with contextlib.closing(training.make_task(question.task)) as task:
        began = time.monotonic()
        driver = driver_of(kind, question, task, seed, lambda step: listen(f"{name}, steps", step, question.steps))
        seconds = time.monotonic() - began
        episodes, count = [], min(question.episodes, PLANNED_EPISODES) if kind.plans else question.episodes
        for number in range(count):
            episodes.append(drive_episode(driver, task, trials.first_episode(seed), number))
            listen(f"{name}, episodes", number + 1, count)
    return Part(
        method,
        seed,
        question.steps if kind.algorithm else 0,
        round(seconds, 1) if kind.algorithm else 0.0,
        round(Latency.of(np.concatenate([episode.seconds for episode in episodes])).p50, 3),
        [episode.outcome for episode in episodes],
        {library: version(library) for library in peer_learners.DISTRIBUTIONS} if kind.algorithm else {},
    )


def driver_of(method: Method, question: Question, task: Task, seed: int, listen: Callable[[int], None]) -> Driver[Any]:
    """What drives a task by a method; where it learns, on a plant of its own.

    Args:
        listen: Told the number of steps after each that is learned from.
    """
    spec = task.task_spec
    if method.plans:
        return true_plant.TruePlanner(task, true_plant.search_of(spec.id))
    if method.algorithm is None:
        return RandomDriver(len(spec.action))
    recipe = recipe_of(spec.id)
    entries = {**question.task.config, **(recipe.in_hindsight if method.hindsight else {})}
    with contextlib.closing(training.make_task(replace(question.task, config=entries))) as plant:
        return peer_learners.learn(
            plant, method.algorithm, recipe, question.steps, seed, listen, hindsight=method.hindsight
        )


def by_method(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """Parts of each method that has any, seeds in order."""
    ordered = sorted(parts, key=lambda part: part.seed)
    found = {name: [part for part in ordered if part.method == name] for name in METHODS}
    return {name: some for name, some in found.items() if some}


def rows(parts: Iterable[Part], spec: TaskSpec) -> list[tuple[str, ...]]:
    """A row of each method under COLUMNS, with 95 % intervals over all episodes."""
    return [_row(name, some, spec) for name, some in by_method(parts).items()]


def _row(name: str, parts: Sequence[Part], spec: TaskSpec) -> tuple[str, ...]:
    taken = (f"{parts[0].steps:,}", f"{np.mean([part.seconds for part in parts]) / 60.0:.1f}")
    first = next(iter(trials.summary(parts, spec).values()))
    by_seed = " / ".join(map(intervals.in_digits, first.by_seed))
    decision = float(np.mean([part.decision_ms for part in parts]))
    learned = taken if METHODS[name].algorithm else ("", "")
    returns = [outcome.reward for part in parts for outcome in part.outcomes[:PLANNED_EPISODES]]
    means = map(intervals.in_digits, (float(np.mean(returns)), decision))
    return (name, *learned, *trials.with_intervals(parts, spec), by_seed, *means)


def told(part: Part, spec: TaskSpec) -> str:
    """A line on a part that is finished."""
    learned = f"learned for {logbook.duration(part.seconds)}, " if part.libraries else ""
    return f"{part.method}, seed {part.seed}: {learned}{evaluation.so_far(part.outcomes, spec)}"


def settings(method: Method, task_id: str) -> dict[str, Any]:
    """What a method learns or plans with, as JSON can hold it."""
    if method.plans:
        return dict(trials.finite(to_mapping(true_plant.search_of(task_id))))
    return recipe_of(task_id).told(method.algorithm, hindsight=method.hindsight) if method.algorithm else {}


def asked(question: Question) -> dict[str, Any]:
    """What must be the same for parts to be told in one table."""
    sources = [Path(__file__).with_name(name) for name in SOURCES]
    made_by = {"versions": provenance.versions(), "code": provenance.code(*sources)}
    return {"schema": SCHEMA, **to_mapping(question), **made_by}


def kept(path: Path, question: Question) -> list[Part]:
    """Parts that were finished before, where there is a file of them.

    Raises:
        ValueError: It is damaged, or something else was asked, or by other code or versions.
    """
    if not path.exists():
        return []
    content = json_file.parse(path.read_bytes(), str(path))
    differing = [name for name, value in asked(question).items() if content.get(name) != value]
    if differing:
        raise ValueError(f"{path} has another {', '.join(differing)}; name another file, or ask for the same")
    return [Part(**one | {"outcomes": [Outcome(**each) for each in one["outcomes"]]}) for one in content["parts"]]


def write_json(path: Path, question: Question, parts: Iterable[Part], spec: TaskSpec) -> None:
    """Keep everything that a table's reader may ask for, and that `kept` goes on from."""
    grouped = by_method(parts)
    methods = {
        name: {"settings": settings(METHODS[name], spec.id), "summary": trials.summary_json(some, spec)}
        for name, some in grouped.items()
    }
    found = [asdict(part) for some in grouped.values() for part in some]
    content = {**asked(question), "command": provenance.command_line(), "methods": methods, "parts": found}
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())

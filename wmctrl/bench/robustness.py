"""What a deployed controller is worth when its sensors fail, and when it has little time."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmctrl_envs.faults import AMOUNTS, KINDS, Fault, FaultySensors
from wmctrl_envs.task import Task

from wmctrl.commands import intervals, pictures, provenance, report
from wmctrl.commands.bundle_driver import AssuredDriver
from wmctrl.learning.evaluate import Outcome, RandomDriver, drive, drive_episode
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.latency import Latency
from wmctrl.runtime.limits import Limits

SCHEMA = 1
BEGINS = 0.25
"""Share of an undisturbed episode's length after which sensors fail."""
RANDOM_EPISODES = 10
"""Of random actions, which are worth nothing."""
ROUNDING = 1e-6
"""How far a command may be beyond its limits."""
BUDGETS = (2.0, 5.0, 10.0, 20.0, 50.0)
"""Times for a decision [ms]; what is unlimited comes after them."""
WORTH = ("return", "retained", "success", "failure")
FAULT_COLUMNS = ("fault", "amount", *WORTH, "at rest", "switches/s", "unfit commands")
BUDGET_COLUMNS = ("budget [ms]", *WORTH, "iterations", "ms p50", "p99", "made by")
DELAYS = (1, 3)
"""Control periods that commands take to reach the plant."""
DELAY_COLUMNS = ("delay [periods]", "planning", *WORTH)
LEGEND = "retained: share of the return above random actions' that is left"
"""What the columns mean."""


@dataclass(frozen=True)
class Score:
    """Some episodes under the same conditions."""

    name: str
    """Of the fault, or of the budget."""
    amount: float
    """In the fault's unit, or of the budget [ms]; 0 where nothing is wrong."""
    outcomes: Sequence[Outcome]
    made_by: dict[str, int]
    """How many commands came from each source."""
    unfit: int
    """Commands that were not finite, or beyond the limits."""
    switches: float
    """Times a second that another rung was stood on."""
    iterations: float
    """Of the planner, mean over the decisions."""
    latency: Latency

    @property
    def reward(self) -> float:
        """Mean return."""
        return float(np.mean([outcome.reward for outcome in self.outcomes]))

    def share(self, what: str) -> float:
        """Share of the episodes that end in `success` or `failure`."""
        return float(np.mean([getattr(outcome, what) for outcome in self.outcomes]))

    def retained(self, nominal: float, random: float) -> float:
        """Share of the return above random actions' that is kept, where nothing wrong is worth `nominal`.

        NaN where that is worth no more and no less than random actions are.
        """
        return (self.reward - random) / (nominal - random) if nominal != random else math.nan


def driven(driver: AssuredDriver, task: Task, name: str, amount: float, episodes: int, seed: int) -> Score:
    """Episodes of a plant that waits, from the same seeds whatever is wrong."""
    outcomes, made_by, seconds, unfit, switches, iterations = [], Counter[str](), [], 0, 0, 0
    limits = driver.assured.controller.limits
    for number in range(episodes):
        outcomes.append(drive_episode(driver, task, seed, number).outcome)
        commands = np.array([action.command for action in driver.decisions])
        unfit += beyond(limits, commands)
        switches += int((np.diff(driver.rungs) != 0).sum())
        made_by.update(action.source for action in driver.decisions)
        seconds += [action.seconds for action in driver.decisions]
        iterations += sum(action.iterations for action in driver.decisions)
    driving = len(seconds) * task.task_spec.control_period
    return Score(
        name,
        amount,
        outcomes,
        dict(made_by),
        unfit,
        switches / driving,
        iterations / len(seconds),
        Latency.of(seconds),
    )


def beyond(limits: Limits, commands: NDArray[np.float32]) -> int:
    """How many of some commands (n, A) are not finite, or beyond the limits."""
    # What is no number fails both comparisons.
    fits = (limits.low - ROUNDING <= commands) & (commands <= limits.high + ROUNDING)
    return int((~fits.all(1)).sum())


def random_return(task: Task, seed: int) -> float:
    """Mean return of random actions."""
    driver = RandomDriver(len(task.task_spec.action))
    return float(np.mean([outcome.reward for outcome in drive(driver, task, RANDOM_EPISODES, seed)]))


def faults(controller: Controller, task: Task, episodes: int, seed: int) -> Iterator[Score]:
    """Nothing wrong first, and then every kind of fault in three amounts."""
    assured = Assured(controller)
    nominal = driven(AssuredDriver(assured), task, "none", 0.0, episodes, seed)
    yield nominal
    begins = round(BEGINS * float(np.mean([outcome.length for outcome in nominal.outcomes])))
    for name, kind in KINDS.items():
        for amount in kind.amounts:
            sensors = FaultySensors(Fault(name, amount, begins), task.task_spec)
            yield driven(AssuredDriver(assured, sensors), task, name, amount, episodes, seed)


def budgets(controller: Controller, task: Task, episodes: int, seed: int) -> Iterator[Score]:
    """No limit first, and then every budget."""
    controller.latencies(20)  # so that it is warm, and knows how long it takes
    assured = Assured(controller)
    yield driven(AssuredDriver(assured), task, "unlimited", 0.0, episodes, seed)
    for budget in BUDGETS:
        driver = AssuredDriver(assured, budget=budget / 1000.0)
        yield driven(driver, task, "budget", budget, episodes, seed)


def delays(controller: Controller, task: Task, episodes: int, seed: int) -> Iterator[Score]:
    """Commands that arrive at once, and then later: with plans that know of it, measure it, or know nothing."""
    yield driven(AssuredDriver(Assured(controller)), task, "no delay", 0.0, episodes, seed)
    for delay in DELAYS:
        for name in ("known", "measured", "ignored"):
            controller.set_delay(delay if name == "known" else 0)
            controller.meter = None
            if name == "measured":
                controller.measure_delay()
            driver = AssuredDriver(Assured(controller), delay=delay)
            yield driven(driver, task, name, delay, episodes, seed)


def delay_row(score: Score, nominal: Score, random: float) -> tuple[str, ...]:
    """A score as a row under DELAY_COLUMNS."""
    return (f"{score.amount:g}", score.name, *_worth(score, nominal, random))


def fault_row(score: Score, nominal: Score, random: float) -> tuple[str, ...]:
    """A score as a row under FAULT_COLUMNS."""
    kind = KINDS.get(score.name)
    word = "" if kind is None else f"{AMOUNTS[kind.amounts.index(score.amount)]} ({score.amount:g} {kind.unit})"
    total = sum(score.made_by.values())
    return (
        *(score.name, word.replace(" 1)", ")"), *_worth(score, nominal, random)),
        *(f"{score.made_by.get('safe action', 0) / total:.0%}", f"{score.switches:.2f}", f"{score.unfit:,}"),
    )


def budget_row(score: Score, unlimited: Score, random: float) -> tuple[str, ...]:
    """A score as a row under BUDGET_COLUMNS."""
    total = sum(score.made_by.values())
    sources = ", ".join(f"{source} {count / total:.0%}" for source, count in score.made_by.items())
    return (
        *(f"{score.amount:g}" if score.amount else score.name, *_worth(score, unlimited, random)),
        *(f"{score.iterations:.1f}", f"{score.latency.p50:.1f}", f"{score.latency.p99:.1f}", sources),
    )


def _worth(score: Score, nominal: Score, random: float) -> tuple[str, ...]:
    retained = score.retained(nominal.reward, random)
    shares = (f"{score.share(what):.2f}" for what in ("success", "failure"))
    return (intervals.in_digits(score.reward), "" if math.isnan(retained) else f"{retained:.0%}", *shares)


Measure = Callable[[Controller, Task, int, int], Iterator[Score]]
Row = Callable[[Score, Score, float], tuple[str, ...]]
PARTS: Mapping[str, tuple[Measure, Sequence[str], Row]] = {
    "latency": (budgets, BUDGET_COLUMNS, budget_row),
    "faults": (faults, FAULT_COLUMNS, fault_row),
    "delay": (delays, DELAY_COLUMNS, delay_row),
}
"""What can be measured, and how it is shown."""


def legend(part: str) -> list[str]:
    """What is to be read in a table."""
    meanings = [f"{name}: {kind.meaning}" for name, kind in KINDS.items()] if part == "faults" else []
    return [LEGEND, *meanings]


def write_report(path: Path, task: str, part: str, random: float, scores: Sequence[Score]) -> None:
    """A page with the table and its picture.

    Args:
        part: faults, latency or delay.
    """
    nominal, (_, columns, row) = scores[0], PARTS[part]
    if part == "latency":
        title, caption = "Return against the budget", "Mean of the episodes."
        budgets, rewards = [score.amount for score in scores[1:]], [score.reward for score in scores[1:]]
        picture = pictures.budget_curve(budgets, rewards, nominal.reward, random)
    else:
        title, caption = "What is kept", LEGEND
        kept: dict[str, list[float]] = {}
        for score in scores[1:]:
            kept.setdefault(score.name, []).append(score.retained(nominal.reward, random))
        picture = pictures.heat_map(kept, AMOUNTS if part == "faults" else [f"{delay} periods" for delay in DELAYS])
    section = report.Section(
        title=task,
        lead=" ".join([f"{len(nominal.outcomes)} episodes under each condition.", *legend(part)[1:]]),
        columns=columns,
        rows=[row(score, nominal, random) for score in scores],
        panels=[report.drawn(title, caption, picture)],
        settings=f"command: {' '.join(provenance.command_line())}",
        facts=provenance.versions(),
    )
    report.write_page(path, f"{task}: {part}", [section])


def write_json(path: Path, task: str, random: float, scores: Sequence[Score]) -> None:
    """Keep everything that a table's reader may ask for."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "command": provenance.command_line(),
        **provenance.made_by(),
        "task": task,
        "random": random,
        "scores": [asdict(score) | {"amount": str(score.amount)} for score in scores],
    }
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())

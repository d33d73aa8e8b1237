"""How punctual a deployed controller is on one core, beside other work or not, and what the machine allows at all."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.commands import intervals, provenance, realtime
from wmctrl.commands.realtime import Punctuality, Timing
from wmctrl.runtime.clock import Ticker
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.latency import Latency
from wmctrl.runtime.priority import ahead_of_others

SCHEMA = 1
RATE, BUDGET = 50.0, 0.010
"""Of every loop [Hz], and the time that a command may take [s]."""
CORE = 0
"""That loops stay on."""
FILLED = 0.5
"""Share of the budget that the fixed work takes where nothing disturbs it."""
LONGER = 10
"""How many times as long an idle machine is driven on."""
SPINNING = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: sum(range(10**6))"
"""A program that keeps the core busy that it is told."""
FIGURES = (*realtime.COLUMNS, "return", "fixed work over budget", "most")
"""What is told of every circumstance."""
LEGEND = (
    f"{RATE:g} commands a second on core {CORE}, each wanted after {1e3 * BUDGET:g} ms. Fixed work: a loop computes"
    f" the same\nfor {1e3 * FILLED * BUDGET:g} ms in the median and nothing else, before and after; no controller that"
    " takes as long can be more punctual."
)
"""What they mean."""


@dataclass(frozen=True)
class Circumstance:
    """What a loop runs in."""

    fifo: bool
    """Ahead of other programs, by the scheduler's first-in-first-out class."""
    busy: bool
    """Beside programs that keep all other cores busy."""

    @property
    def name(self) -> str:
        """In words."""
        return f"{'FIFO' if self.fifo else 'default'}, other cores {'busy' if self.busy else 'idle'}"


CIRCUMSTANCES = (Circumstance(fifo=False, busy=True), Circumstance(fifo=True, busy=True), Circumstance(True, False))
"""One after another."""


@dataclass(frozen=True)
class Finding:
    """How a controller kept time in one circumstance."""

    circumstance: Circumstance
    timing: Timing
    kept: Punctuality
    rewards: tuple[float, ...]
    """Returns of the episodes that came to their end."""
    fixed: NDArray[np.float64]
    """Time from the tick until the fixed work was done (periods,) [s]."""

    def figures(self) -> tuple[str, ...]:
        """In words, as FIGURES names them."""
        earned = intervals.in_digits(float(np.mean(self.rewards))) if self.rewards else ""
        late = f"{(self.fixed > self.timing.wanted).mean():.2%}"
        return (*self.kept.row(self.timing), earned, late, f"{Latency.of(self.fixed).longest:.2f}")


def measure(
    controller: Controller, cycles: int, seed: int, *, beside: bool, env: str | None = None
) -> Iterator[Finding]:
    """Drive in real time in all circumstances.

    Args:
        cycles: Control periods in each; LONGER times as many where the machine is idle.
        beside: Plan in a thread of its own, on the same core.
        env: The task, for those that are not ours to import.
    """
    for circumstance in CIRCUMSTANCES:
        timing = Timing(RATE, BUDGET, beside, circumstance.fifo, CORE)
        wanted = cycles if circumstance.busy else LONGER * cycles
        with busy_cores() if circumstance.busy else contextlib.nullcontext():
            before = fixed_work(timing, wanted // 8)
            driven = list(realtime.drive(controller, timing, 0, wanted, seed, env))
            fixed = np.concatenate([before, fixed_work(timing, wanted // 8)])
        rewards = tuple(one.result.reward for one in driven if one.result.over)
        yield Finding(circumstance, timing, Punctuality.of([one.record for one in driven]), rewards, fixed)


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy but the loop's."""
    others = sorted(os.sched_getaffinity(0) - {CORE})
    with contextlib.ExitStack() as stopped:
        for core in others:
            spinning = stopped.enter_context(subprocess.Popen([sys.executable, "-c", SPINNING, str(core)]))
            stopped.callback(spinning.kill)
        yield


def fixed_work(timing: Timing, periods: int) -> NDArray[np.float64]:
    """Time from the tick until the same work was done, period after period (periods,) [s]."""
    found = np.zeros(max(1, periods))
    with ahead_of_others(timing.core, fifo=timing.fifo):
        rounds = _rounds(FILLED * BUDGET)
        ticker = Ticker(timing.period)
        for number in range(len(found)):
            ticker.wait()
            _spin(rounds)
            found[number] = time.monotonic() - ticker.tick
    return found


def _spin(rounds: int) -> None:
    for _ in range(rounds):
        pass


def _rounds(seconds: float) -> int:
    """How often to go round for some time, in the median."""
    taken, tried = [], 20_000
    for _ in range(50):
        began = time.monotonic()
        _spin(tried)
        taken.append(time.monotonic() - began)
    return round(tried * seconds / float(np.median(taken)))


def table(found: Sequence[Finding]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Columns, a circumstance each, and rows, a figure each."""
    told = [FIGURES, *(finding.figures() for finding in found)]
    return ["", *(finding.circumstance.name for finding in found)], list(zip(*told, strict=True))


def write_json(path: Path, task: str, found: Sequence[Finding]) -> None:
    """Keep what was measured."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "command": provenance.command_line(),
        **provenance.made_by(),
        "task": task,
        "findings": [_told(one) for one in found],
    }
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())


def _told(found: Finding) -> dict[str, Any]:
    return {
        "circumstance": asdict(found.circumstance),
        "timing": asdict(found.timing),
        "commands": len(found.kept.wrote),
        "missed": found.kept.missed,
        "over_budget": float((found.kept.wrote > found.timing.wanted).mean()),
        "command_ms": Latency.of(found.kept.wrote)._asdict(),
        "wake_ms": Latency.of(found.kept.woke)._asdict(),
        "made_by": found.kept.made_by,
        "rewards": found.rewards,
        "fixed_over_budget": float((found.fixed > found.timing.wanted).mean()),
        "fixed_ms": Latency.of(found.fixed)._asdict(),
    }

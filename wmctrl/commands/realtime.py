"""What `wm run --rate` does: a bundle drives a plant that does not wait, and how punctual it was is told."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from wmctrl_envs.realtime import RealtimePlant, Result
from wmctrl_envs.task import TaskSpec

from wmctrl.commands import driving, pictures, report, training
from wmctrl.commands.keyboard import Panel
from wmctrl.config_files import to_yaml
from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import SOURCES
from wmctrl.runtime.latency import Latency
from wmctrl.runtime.loop import SETTLING, Loop, LoopRecord
from wmctrl.runtime.priority import ahead_of_others

LEAD_IN = 0.1
"""Time between a plant's beginning and its first step [s]."""
COLUMNS = ("commands", "missed", "over budget", "ms to command, p50", "p99", "most", "ms late to wake, p99", "made by")
"""Of the table of punctuality."""


@dataclass(frozen=True)
class Timing:
    """How time is kept."""

    rate: float
    """Control periods a second of the wall clock."""
    budget: float | None
    """Time from a tick until the command is wanted [s]; None leaves the whole period."""
    beside: bool = False
    """Plan in a thread of its own."""
    fifo: bool = False
    """Ask for the scheduler's first-in-first-out class."""
    core: int | None = None
    """Processor core to stay on."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.rate <= 10_000.0:
            raise ValueError(f"--rate must be from 0.1 to 10,000 Hz, came {self.rate:g}")
        if self.budget is not None and not 0.0 < self.budget <= self.period:
            raise ValueError(f"--budget-ms must be above 0 and at most the period, {1e3 * self.period:g} ms")

    @property
    def period(self) -> float:
        """Between two ticks [s]."""
        return 1.0 / self.rate

    @property
    def wanted(self) -> float:
        """Time from a tick until a command is late [s]."""
        return self.period * (1.0 - SETTLING) if self.budget is None else self.budget


@dataclass(frozen=True)
class Punctuality:
    """How a loop kept time."""

    wrote: NDArray[np.float64]
    """Time from the tick until the command was written (commands,) [s]."""
    woke: NDArray[np.float64]
    """Time from the tick until the loop ran (commands,) [s]."""
    missed: int
    """Ticks that passed while the cycle before took too long."""
    made_by: Counter[str]
    """How many commands came from each source."""

    @classmethod
    def of(cls, records: Sequence[LoopRecord]) -> "Punctuality":
        """Of the cycles of some records."""
        wrote, woke, source = (
            np.concatenate([getattr(one, name)[: one.cycles] for one in records])
            for name in ("wrote", "woke", "source")
        )
        missed = sum(int(one.missed[: one.cycles].sum()) for one in records)
        return cls(wrote, woke, missed, Counter(SOURCES[number] for number in source))

    def row(self, timing: Timing) -> tuple[str, ...]:
        """A line under COLUMNS."""
        if not len(self.wrote):
            return ("0", *[""] * (len(COLUMNS) - 1))
        wrote, woke = Latency.of(self.wrote), Latency.of(self.woke)
        late = float((self.wrote > timing.wanted).mean())
        ticks = len(self.wrote) + self.missed
        return (
            f"{len(self.wrote):,}",
            f"{self.missed:,} of {ticks:,} ({self.missed / ticks:.2%})",
            f"{late:.2%}",
            *(f"{value:.2f}" for value in (*wrote, woke.p99)),
            ", ".join(f"{source} {count:,}" for source, count in self.made_by.most_common()),
        )


@dataclass(frozen=True)
class RealDrive:
    """An episode that did not wait."""

    result: Result
    record: LoopRecord


def drive(
    controller: Controller,
    timing: Timing,
    episodes: int,
    cycles: int | None,
    seed: int,
    env: str | None,
    adapter: Adapter | None = None,
    shift: Mapping[str, float] | None = None,
) -> Iterator[RealDrive]:
    """Drive episodes in real time; what the system refuses to do for punctuality is told on stderr.

    Args:
        cycles: Stop after so many control periods of all episodes together, and drive as many as that takes.
        adapter: What learns meanwhile, and is given time by whoever calls.
        shift: Physical parameters of the plant, where they are not nominal.

    Raises:
        ValueError: The bundle was made for another task, or the plant broke down.
    """
    told = controller.bundle.manifest.task
    with contextlib.closing(driving.matching_task(told, env)) as task:
        spec, settings = task.task_spec, driving.settings_of(told)
    if timing.beside:
        controller.plan_beside()
    controller.latencies(20)  # so that it is warm, and knows how long it takes
    assured, panel, left, number = Assured(controller), Panel(controller), cycles, 0
    make = partial(training.make_task, settings)
    with contextlib.closing(RealtimePlant(make, spec, timing.period, shift)) as plant:
        budget = None if timing.beside else timing.wanted
        loop = Loop(assured, plant, timing.period, budget, adapter, panel.goal.wanted)
        while (number < episodes) if left is None else (left > 0):
            record = LoopRecord.of(room(spec) if left is None else min(room(spec), left))
            with watched(record, timing, panel):
                result = episode(loop, plant, timing, seed + number, record)
            yield RealDrive(result, record)
            number, left = number + 1, None if left is None else left - record.cycles


def parameters_of(given: Sequence[str]) -> dict[str, float]:
    """Physical parameters from texts such as `ground_friction=0.2`.

    Raises:
        ValueError: One is none.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not (equals and name):
            raise ValueError(f"--plant must read name=value, such as ground_friction=0.2; came {text!r}")
    return found


def room(spec: TaskSpec) -> int:
    """Cycles that an episode may take: twice its steps, for a plant may be late itself."""
    return 2 * spec.max_steps


def episode(loop: Loop, plant: RealtimePlant, timing: Timing, seed: int, record: LoopRecord) -> Result:
    """One episode."""
    loop.assured.reset(seed)
    plant.reset(seed)
    with ahead_of_others(timing.core, fifo=timing.fifo) as refused:
        if refused:
            Console(stderr=True).print("; ".join(refused), style="yellow")
        begins = time.monotonic() + LEAD_IN
        plant.run(begins)
        loop.run(record, begins + SETTLING * timing.period)
    return plant.result()


@contextlib.contextmanager
def watched(record: LoopRecord, timing: Timing, panel: Panel) -> Iterator[None]:
    """A live line on a terminal, whose keys change what is driven for."""
    over = threading.Event()
    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live, panel.listening():

        def watch() -> None:
            while not over.wait(0.25):
                live.update(line(record, timing) + panel.line())

        watcher = threading.Thread(target=watch, name="watcher", daemon=True)
        if live.console.is_interactive:  # elsewhere its last line would run into what is printed next
            watcher.start()
        try:
            yield
        finally:
            over.set()


def line(record: LoopRecord, timing: Timing) -> str:
    """How an episode stands, such as `120 commands at 50 Hz, 4.1 ms (p99 6.0) of 10.0, missed 0, by plan`."""
    if not record.cycles:
        return "starts"
    taken, missed = Latency.of(record.wrote[: record.cycles]), int(record.missed[: record.cycles].sum())
    source = SOURCES[record.source[record.cycles - 1]]
    return (
        f"{record.cycles:,} commands at {timing.rate:g} Hz, {taken.p50:.1f} ms (p99 {taken.p99:.1f}) of"
        f" {1e3 * timing.wanted:.1f}, missed {missed}, by {source} {record.reason}"
    )


def write_report(path: Path, task: str, timing: Timing, found: Punctuality) -> None:
    """A page with the share of commands that took longer than any time, and the deadline beside."""
    curve = pictures.exceedance({"command": found.wrote, "wake-up": found.woke}, timing.wanted, timing.period)
    late = float((found.wrote > timing.wanted).mean())
    section = report.Section(
        title=f"{task} at {timing.rate:g} Hz",
        lead=f"Of {len(found.wrote):,} commands {late:.2%} came after {1e3 * timing.wanted:.1f} ms; the loop missed"
        f" {found.missed:,} ticks.",
        columns=COLUMNS,
        rows=[found.row(timing)],
        panels=[report.drawn("Time from the tick", "Share of the cycles that took longer.", curve)],
        settings=to_yaml(timing),
        facts={},
    )
    report.write_page(path, f"{task} in real time", [section])

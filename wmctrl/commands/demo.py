"""What `wm demo` does: an arm and a car change while they are driven, by one who learns of it and one who does not.

Both drive with controllers that come along, within a budget, each in a process of its own; what they say of themselves
is shown meanwhile, and a report keeps what came of it.
"""

import contextlib
import multiprocessing
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from wmctrl.commands import driving, logbook, pictures, report, stress_report, stressing
from wmctrl.commands.stopping import end_with_parent, told_to_stop
from wmctrl.commands.stressing import FROZEN, Cell
from wmctrl.commands.typed import wm
from wmctrl.runtime.adaptation import Event
from wmctrl.stress.course import Course, Trace
from wmctrl.stress.figures import worth
from wmctrl.stress.suite import Suite

LEARNING = "all"
"""The way to learn."""
EVERY = 5
"""Steps between two times that a driver says where it is."""
SHOWN = 32
"""Marks of a curve of surprise."""
MARKS = "▁▂▃▄▅▆▇█"
MOST = 3.0
"""Surprise of the highest mark, in decades above the lowest."""
PATIENCE = 1.0
"""Time between two looks for a driver that has died [s]."""
DECISIONS = "50"
"""That the check without PyTorch times."""

Say = Callable[[str], None]
"""Takes a line for the person who watches."""


@dataclass(frozen=True)
class Act:
    """A controller that comes along, and what changes of its plant."""

    controller: str
    suite: Suite
    """Of one shift and one seed."""
    budget: float
    """Time for a decision [s]."""

    @property
    def change(self) -> str:
        """The shift's name."""
        return next(iter(self.suite.shifts))

    def cell(self, arm: str) -> Cell:
        """A driver's course."""
        return Cell(self.change, arm, self.suite.seeds[0])


ACTS = (
    Act("fetch-reach", Suite({"weak motors": {"action_scale": 0.4}}, seeds=(0,), nominal=150, shifted=700), 0.010),
    Act("parking", Suite({"bent steering": {"steering_bias": 0.15}}, seeds=(0,), nominal=100, shifted=500), 0.050),
)


class News(NamedTuple):
    """Where a driver is."""

    arm: str
    step: int
    phase: str
    surprise: float
    """Mean of the last observations [nats]."""
    reward: float | None
    """Return of the last episode; None before there is one."""
    event: Event | None
    """The newest of learning."""


class Finished(NamedTuple):
    """What came of a driver's course."""

    arm: str
    trace: Trace


@dataclass
class Driver:
    """What is shown of one."""

    news: News | None = None
    surprises: list[float] = field(default_factory=list)

    def told(self, news: News) -> None:
        """Go on with what a driver says."""
        self.news = news
        self.surprises = [*self.surprises, news.surprise][-SHOWN:]

    def line(self, name: str) -> str:
        """One for the terminal."""
        if self.news is None:
            return f"{name:>16}  starts"
        last = "" if self.news.reward is None else f"  last return {self.news.reward:7.2f}"
        event = self.news.event
        learned = "" if event is None else f"  {event.what} at step {event.step:,}"
        return f"{name:>16}  {curve(self.surprises):<{SHOWN}}  surprise {self.news.surprise:6.2f}{last}{learned}"


def curve(values: Sequence[float]) -> str:
    """Surprises as marks, on a logarithmic scale."""
    decades = np.log10(np.maximum(values, 1e-9)) + 1.0
    height = np.clip(decades / MOST, 0.0, 1.0) * (len(MARKS) - 1)
    return "".join(MARKS[int(one)] for one in height)


def run(root: Path, say: Say, acts: Sequence[Act] = ACTS) -> Path:
    """Drive the acts, show them, and write the report, whose path is returned.

    Args:
        root: Folder of the report.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing is left behind.
        ValueError: A controller does not drive here; says why.
    """
    began, sections = time.monotonic(), []
    for one in acts:
        place = driving.bundle_in(Path(one.controller))
        sections.append(_played(one, place, root / Path(one.controller).name, say))
    say("\nThe same folder needs neither PyTorch nor this project: numpy and ONNX Runtime drive it on a board.")
    say(_checked(place))
    path = root / "report.html"
    report.write_page(path, "An arm and a car that change while they are driven", sections)
    say(f"\nDone in {logbook.duration(time.monotonic() - began)}. Look at {path}")
    say("\n".join(["", "Next:", *next_commands(acts)]))
    return path


def _played(one: Act, place: Path, folder: Path, say: Say) -> report.Section:
    """An act, and what the report says of it."""
    suite, shift = one.suite, one.suite.shifts[one.change]
    changed = ", ".join(f"{name} {value:g}" for name, value in shift.items())
    say(
        f"\n{one.controller}: {1e3 * one.budget:g} ms for a decision. After {suite.nominal} steps: {one.change}"
        f" ({changed}), for {suite.shifted:,} steps; then as it was. One driver learns, the other does not."
    )
    folder.mkdir(parents=True, exist_ok=True)
    with told_to_stop(signal.default_int_handler):
        traces = _twins(one, place, folder)
    found = {one.cell(arm): traces[arm] for arm in (FROZEN, LEARNING)}
    without, learning = found.values()
    for event in learning.events:
        if event.what in stress_report.TOLD:
            say(f"  step {event.step:5,}  {event.what}: {event.detail}")
    say(verdict(without, learning))
    return stress_report.section(one.controller, suite, found, folder)


def verdict(without: Trace, learning: Trace) -> str:
    """What learning was worth, in a line."""
    found = worth(learning, without)
    return (
        f"  Mean return {found.nominal:.2f} before the change; late in it {found.frozen:.2f} without learning,"
        f" {found.adapted:.2f} with it."
    )


def _twins(one: Act, place: Path, folder: Path) -> dict[str, Trace]:
    """Who learns nothing and who learns, each in a process of its own, shown while they drive."""
    context = multiprocessing.get_context("spawn")
    told: Queue[News | Finished | str] = context.Queue()
    arms = (FROZEN, LEARNING)
    asked = {arm: (told, place, one, arm, folder) for arm in arms}
    processes = {arm: context.Process(target=drive, args=asked[arm], daemon=True) for arm in arms}
    standing, over = {arm: Driver() for arm in arms}, dict[str, Trace]()
    for process in processes.values():
        process.start()
    try:
        with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:
            while len(over) < len(arms):
                news = _next(told, [process for arm, process in processes.items() if arm not in over])
                if isinstance(news, str):
                    raise ValueError(news)
                if isinstance(news, Finished):
                    over[news.arm] = news.trace
                    continue
                standing[news.arm].told(news)
                if live.console.is_interactive:
                    live.update(shown(one, standing))
    finally:
        for process in processes.values():
            process.terminate()
            process.join()
    return over


def _next(told: "Queue[News | Finished | str]", processes: Sequence[BaseProcess]) -> News | Finished | str:
    """What is said next.

    Raises:
        ValueError: Nobody is left to say anything.
    """
    while True:
        with contextlib.suppress(queue.Empty):
            return told.get(timeout=PATIENCE)
        dead = [process.exitcode for process in processes if process.exitcode]
        if dead:
            raise ValueError(f"a driver ended with exit code {dead[0]}; try `{wm()} doctor`")


def shown(one: Act, standing: Mapping[str, Driver]) -> Text:
    """Both drivers, as the terminal shows them."""
    newest = max((each.news for each in standing.values() if each.news is not None), key=lambda news: news.step)
    suite = one.suite
    total = suite.nominal + suite.shifted + suite.after
    plant = one.change if newest.phase == "shifted" else "as it was learned"
    head = f"{one.controller}: step {newest.step:,} of about {total:,}; the plant: {plant}"
    names = {FROZEN: "learns nothing", LEARNING: "learns"}
    return Text("\n".join([head, *(each.line(names[arm]) for arm, each in standing.items())]))


def drive(told: "Queue[News | Finished | str]", place: Path, one: Act, arm: str, folder: Path) -> None:
    """A driver's course, in a process of its own, which ends where nobody is left to tell.

    Args:
        folder: Where its film goes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told to all of them, and acted on by one
    end_with_parent()

    def watch(course: Course) -> None:
        if course.step % EVERY == 0:
            told.put(news_of(arm, course))

    try:
        trace, film = stressing.driven(one.suite, one.cell(arm), place, watch, one.budget)
        stressing.write_film(folder, one.cell(arm), film)
        told.put(Finished(arm, trace))
    except (ValueError, OSError) as error:
        told.put(f"{one.controller}: {error}")


def news_of(arm: str, course: Course) -> News:
    """Where a course is."""
    surprise = float(np.mean(course.surprises[-pictures.SURPRISES :])) if course.surprises else 0.0
    reward = course.episodes[-1].reward if course.episodes else None
    return News(arm, course.step, course.phase, surprise, reward, course.events[-1] if course.events else None)


def _checked(place: Path) -> str:
    """What a bundle says of itself in a process of its own, as on a board.

    Raises:
        ValueError: It is refused.
    """
    command = [sys.executable, "-I", str(place / "run.py"), "--self-test", "--decisions", DECISIONS, "--untimed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{place}: {done.stderr.strip()}")
    return "\n".join(f"  {line}" for line in done.stdout.splitlines())


def next_commands(acts: Sequence[Act]) -> list[str]:
    """What to type next, each line with what it does."""
    first = acts[0].controller
    return [
        f"  {wm()} run {first} --rate 25 --beside --adapt --plant action_scale=0.4 --episodes 12",
        "      the same on the wall clock: the plant does not wait",
        f"  {wm()} stress {first}",
        "      every way to learn, one beside the other",
        f"  {wm()} demo --from-nothing",
        "      an arm and a car teach themselves to drive, in under five minutes",
        f"  {wm()} controllers",
        "      lists what else comes along",
    ]

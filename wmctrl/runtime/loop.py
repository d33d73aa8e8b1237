"""The control loop: read, decide, write, once a period, whatever happens."""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.clock import Ticker
from wmctrl.runtime.decision import SOURCES
from wmctrl.runtime.experience import step_of
from wmctrl.runtime.limits import Vector
from wmctrl.runtime.records import in_a_line
from wmctrl.runtime.track import Observation

SETTLING = 0.1
"""Share of a period after the plant's tick at which the loop's comes, so that there is something new to read."""


class Reading(Protocol):
    """The newest that a plant has shown."""

    @property
    def observation(self) -> Observation:
        """Its sensors' readings."""

    @property
    def step(self) -> int:
        """Control periods since its episode began, when they were taken."""

    @property
    def over(self) -> bool:
        """Whether that ended its episode."""

    @property
    def reward(self) -> float:
        """Sum of the rewards until then, as far as the plant tells."""

    @property
    def terminated(self) -> bool:
        """Whether the plant ended the episode, rather than time."""

    @property
    def failure(self) -> bool:
        """Whether the plant has failed."""


class Plant(Protocol):
    """A plant that does not wait: it goes on with the last command that was written."""

    def read(self) -> Reading:
        """The newest observation; the same again where there is no newer one."""

    def write(self, command: Vector) -> None:
        """Have a command (A,) applied from the next period on."""


@dataclass
class LoopRecord:
    """What a loop did, cycle by cycle; written without locks while it runs, `cycles` last."""

    woke: NDArray[np.float64]
    """Time from the tick until the loop ran (cycles,) [s]."""
    wrote: NDArray[np.float64]
    """Time from the tick until the command was written (cycles,) [s]."""
    source: NDArray[np.int8]
    """Of the command, in SOURCES (cycles,)."""
    rung: NDArray[np.int8]
    """That was stood on, a `Rung` (cycles,)."""
    iterations: NDArray[np.int16]
    """Of the planner (cycles,)."""
    missed: NDArray[np.int32]
    """Ticks that passed while the cycle before took too long (cycles,)."""
    cycles: int = 0
    """How many are over."""
    reason: str = ""
    """Why the last command is not what was decided, where it is not."""

    @classmethod
    def of(cls, cycles: int) -> "LoopRecord":
        """Room for some cycles."""
        return cls(
            woke=np.zeros(cycles),
            wrote=np.zeros(cycles),
            source=np.zeros(cycles, np.int8),
            rung=np.zeros(cycles, np.int8),
            iterations=np.zeros(cycles, np.int16),
            missed=np.zeros(cycles, np.int32),
        )


class Loop:
    """Drives a plant that does not wait."""

    def __init__(
        self,
        assured: Assured,
        plant: Plant,
        period: float,
        budget: float | None,
        adapter: Adapter | None = None,
        goal: Callable[[Observation], Vector | None] = lambda observation: None,
    ) -> None:
        """
        Args:
            period: Of the loop [s].
            budget: Time from a tick until the command is wanted [s]; None where planning goes on beside.
            adapter: What learns from the steps.
            goal: The goal (G,) to drive for instead of an observation's; None leaves it.
        """
        self.goal = goal
        self.assured, self.plant, self.period, self.budget = assured, plant, period, budget
        self.adapter = adapter
        self._forget()

    def run(self, record: LoopRecord, first: float | None = None) -> None:
        """Go on until the record is full, or the plant's episode is over.

        Whatever is raised, Ctrl-C say, the plant is told to come to rest first.

        Args:
            first: The first tick, a time of `time.monotonic` [s].
        """
        self._forget()
        try:
            self._run(record, Ticker(self.period, first))
        except BaseException:
            with contextlib.suppress(Exception):  # the plant may be what is broken
                self.plant.write(self.assured.stopping())
            raise

    def _forget(self) -> None:
        """Know nothing of what was noted or written, before a run."""
        self.noted, self.earned = -2, 0.0
        known = len(self.assured.controller.state.track.sent)
        self.wrote = deque([math.inf] * known, known)
        """When the command of every tick was written that the track remembers, after that tick [s]."""

    def _run(self, record: LoopRecord, ticker: Ticker) -> None:
        controller = self.assured.controller
        for cycle in range(record.cycles, len(record.woke)):
            missed = ticker.wait()
            record.woke[cycle] = time.monotonic() - ticker.tick
            for _ in range(missed):  # the plant went on with the last command
                controller.send(controller.state.last, None)
                self.wrote.append(self.wrote[-1] - self.period)
            reading = self.plant.read()
            cause = self._cause(reading.step)
            if reading.over:
                self._note(reading, cause, None)
                return
            deadline = None if self.budget is None else ticker.tick + self.budget
            # By its own clock a plant can be ahead of this one: what it shows is then the newest there is.
            seen, taken = reading.observation, min(reading.step, controller.state.track.now)
            action = self.assured.act(seen, self.goal(seen), taken=taken, deadline=deadline)
            self.plant.write(action.command)
            record.wrote[cycle] = time.monotonic() - ticker.tick
            self.wrote.append(float(record.wrote[cycle]))
            self._note(reading, cause, action.surprise)
            record.source[cycle] = SOURCES.index(action.source)
            record.rung[cycle] = self.assured.monitor.rung
            record.iterations[cycle], record.missed[cycle] = action.iterations, missed
            record.reason, record.cycles = action.reason, cycle + 1

    def _cause(self, step: int) -> Vector | None:
        """The command (A,) that led to a step; None where it came too late for that, or nobody knows."""
        track = self.assured.controller.state.track
        old = track.now - step  # a plant that is slow to show what it did is read a step late
        if not 0 <= old < len(track.sent) or self.wrote[-1 - old] > (1.0 - SETTLING) * self.period:
            return None
        return track.sent[-1 - old]

    def _note(self, reading: Reading, cause: Vector | None, surprise: float | None) -> None:
        """Have a step learned from, once, after its command was written.

        Args:
            cause: The command that led to it (A,); without one, nothing is learned of how it came about.
        """
        if self.adapter is None or reading.step == self.noted:
            return
        try:
            self._learn_from(self.adapter, reading, cause, surprise)
        except Exception as error:  # of whatever kind: what cannot be learned from must not stop the loop
            self.adapter.missed(in_a_line(error))

    def _learn_from(self, adapter: Adapter, reading: Reading, cause: Vector | None, surprise: float | None) -> None:
        known = cause is not None and reading.step == self.noted + 1
        if not known and reading.step:
            adapter.missed()
        earned = reading.reward - self.earned if known else 0.0
        action = np.zeros_like(self.assured.controller.state.last) if cause is None else cause
        outcome = {"reward": earned, "terminated": reading.terminated, "failure": reading.failure}
        adapter.note(step_of(reading.observation, action, first=not known, **outcome), surprise)
        self.noted, self.earned = reading.step, reading.reward

"""A course: a controller drives a plant that is nominal, shifted, and nominal again, and may learn meanwhile."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wmctrl_envs.task import PlantError, Task

from wmctrl.runtime.adaptation import Event
from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.experience import step_of
from wmctrl.stress.suite import Shift, Suite, strength

WORK = 0.5
"""Pieces of learning for every control step of a simulator that waits, however long its control period is.

In real time, pieces of 65 ms would take 0.8 of a core for that where a step is 40 ms, and 0.16 where it is 200 ms.
"""
LATE = 1.0 / 3.0
"""Share of a phase, its last, that is late in it."""
DIGITS = 3
"""Of a surprise, behind the point."""


@dataclass(frozen=True)
class Episode:
    """An episode of a course."""

    phase: str
    begins: int
    """Step of the course."""
    length: int
    reward: float
    success: bool
    failure: bool
    """At the last step, or by a breakdown."""
    breakdown: str = ""
    """What went wrong with the plant itself, where something did: in its last step, of which nothing was seen."""


@dataclass(frozen=True)
class Trace:
    """How a course went."""

    episodes: tuple[Episode, ...]
    events: tuple[Event, ...]
    """Of learning."""
    phases: tuple[int, ...]
    """Steps at which the phases began."""
    surprises: tuple[float, ...]
    """Of the observation after every step [nats]."""
    seconds: float


class Course:
    """Drives one controller."""

    def __init__(
        self,
        controller: Controller,
        task: Task,
        adapter: Adapter | None,
        seed: int,
        watch: Callable[["Course"], None] | None = None,
        budget: float | None = None,
    ) -> None:
        """
        Args:
            watch: Looks on at every observation.
            budget: Time for a decision [s]; None leaves the controller all it takes.
        """
        self.controller, self.task, self.adapter, self.seed = controller, task, adapter, seed
        self.watch, self.budget = watch, budget
        nominal = {parameter.name: parameter.nominal for parameter in task.task_spec.parameters}
        self.nominal, self.step, self.owed = nominal, 0, 0.0
        self.reward = 0.0
        """Of the episode that is driven, so far."""
        self.phase, self.closing = "", False
        """Where it is, and whether the episode that is driven began in the last part of its phase."""
        self.episodes: list[Episode] = []
        """Those that are over."""
        self.events: list[Event] = []
        """Of learning, each at the step of the course at which it happened."""
        self.surprises: list[float] = []

    def drive(self, suite: Suite, shift: Shift) -> Trace:
        """The whole course; a phase ends with the episode in which its steps are over.

        Raises:
            PlantError: The plant broke down in the first step of all.
        """
        began, phases = time.monotonic(), []
        for phase, steps, changed in legs(suite, shift):
            self.phase, begins = phase, self.step
            phases.append(begins)
            while self.step - begins < steps:
                self.closing = self.step - begins >= round((1.0 - LATE) * steps)
                self.episodes.append(self._episode(begins, steps, changed))
        return Trace(
            episodes=tuple(self.episodes),
            events=tuple(self.events),
            phases=tuple(phases),
            surprises=tuple(self.surprises),
            seconds=time.monotonic() - began,
        )

    def _parameters(self, shift: Shift | None, step: int, steps: int) -> dict[str, float]:
        """Of the plant at a step of a phase."""
        if shift is None:
            return {}
        share = strength(shift.schedule, step, steps, self.seed)
        return {name: (1.0 - share) * self.nominal[name] + share * to for name, to in shift.parameters.items()}

    def _episode(self, begins: int, steps: int, shift: Shift | None) -> Episode:
        """Drive an episode; where the plant breaks down, that is how it went, and no error."""
        first, self.reward, breakdown = self.step, 0.0, ""
        try:
            told = self._driven(begins, steps, shift)
        except PlantError as error:
            if not self.step:  # such a plant can be driven by nobody
                raise
            told, breakdown = {"success": False, "failure": True}, str(error)
            # It counts as a step, so that phases end in which the plant breaks down whatever is done.
            self.step += 1
            self.surprises.append(0.0)
        success, failure = bool(told["success"]), bool(told["failure"])
        return Episode(self.phase, first, self.step - first, self.reward, success, failure, breakdown)

    def _driven(self, begins: int, steps: int, shift: Shift | None) -> dict[str, Any]:
        """Drive an episode to its end, and return what the plant told of it there."""
        parameters = self._parameters(shift, self.step - begins, steps)
        start = 1000 * self.seed + len(self.episodes)
        self.controller.reset(start)
        observation, info = self.task.reset(seed=start, options={"parameters": parameters})
        step, over = step_of(observation, self.controller.state.last, first=True), False
        while True:
            action = self.controller.act(observation, deadline=self._deadline())
            if not step["is_first"]:
                self.surprises.append(round(action.surprise or 0.0, DIGITS))
            self._learn(step, action.surprise)
            if self.watch is not None:
                self.watch(self)
            if over:
                return info
            observation, reward, terminated, truncated, info = self.task.step(action.command)
            self.step, self.reward, over = self.step + 1, self.reward + float(reward), terminated or truncated
            outcome: dict[str, Any] = {"reward": float(reward), "terminated": terminated, "failure": info["failure"]}
            step = step_of(observation, action.command, first=False, **outcome)
            if shift is not None and shift.schedule != "step":
                self.task.set_parameters(self._parameters(shift, self.step - begins, steps))

    def _deadline(self) -> float | None:
        """When the next command is wanted, a time of `time.monotonic` [s]."""
        return None if self.budget is None else time.monotonic() + self.budget

    def _learn(self, step: dict[str, Any], surprise: float | None) -> None:
        """Remember a step, and do what learning is due by then."""
        if self.adapter is None:
            return
        self.adapter.note(step, surprise)
        self.owed += WORK
        while self.owed >= 1.0:
            self.owed = self.owed - 1.0 if self.adapter.work() else 0.0
        self.events += [event._replace(step=self.step) for event in self.adapter.state.events[len(self.events) :]]


def legs(suite: Suite, shift: Shift) -> Iterator[tuple[str, int, Shift | None]]:
    """Phases of a course: their names, steps and shifts; None is the nominal plant."""
    yield "nominal", suite.nominal, None
    yield "shifted", suite.shifted, shift
    yield "after", suite.after, None
    if shift.then is not None:
        yield "then", suite.shifted, shift.then
        yield "again", suite.after, None

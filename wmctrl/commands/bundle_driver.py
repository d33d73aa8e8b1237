"""A bundle's controller among the drivers that are evaluated, bare or behind its monitor."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmctrl_envs.faults import FaultySensors

from wmctrl.runtime.assurance import Assured, Rung
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import Action
from wmctrl.runtime.limits import Vector
from wmctrl.runtime.track import Observation


@dataclass
class BundleDriver:
    """A bundle's controller as a driver."""

    controller: Controller
    goal: Callable[[Observation], Vector | None] = lambda observation: None
    """The goal (G,) to drive for instead of an observation's; None leaves it."""
    decisions: list[Action] = field(default_factory=list)
    """Of the episode that is driven."""

    def start(self) -> bool:
        """Whether the next decision is an episode's first."""
        return True

    def act(
        self, first: bool, observation: Mapping[str, NDArray[Any]], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], bool]:
        """Action (A,) in [-1, 1]; an episode's first decision forgets what was before, and takes a seed."""
        if first:
            self.controller.reset(int(generator.integers(2**63)))
            self.decisions.clear()
        self.decisions.append(self.controller.act(observation, self.goal(observation)))
        return self.decisions[-1].command, False


@dataclass
class AssuredDriver:
    """A controller behind its monitor as a driver."""

    assured: Assured
    sensors: FaultySensors | None = None
    """Between the plant and the controller; None shows everything as it is."""
    budget: float | None = None
    """Time for every decision [s]; None leaves the planner all its iterations."""
    delay: int = 0
    """Control periods that a command takes to reach the plant."""
    decisions: list[Action] = field(default_factory=list)
    """Of the episode that is driven."""
    rungs: list[Rung] = field(default_factory=list)
    """What was stood on at each of them."""

    def start(self) -> bool:
        """Whether the next decision is an episode's first."""
        return True

    def act(
        self, first: bool, observation: Mapping[str, NDArray[Any]], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], bool]:
        """Action (A,) in [-1, 1]; an episode's first decision forgets what was before, and takes a seed."""
        if first:
            seed = int(generator.integers(2**63))
            self.assured.reset(seed)
            if self.sensors is not None:
                self.sensors.reset(seed)
            self.decisions.clear()
            self.rungs.clear()
        shown: Observation = observation
        taken = len(self.decisions)
        if self.sensors is not None:
            shown, taken = self.sensors.arrives(observation)
        deadline = None if self.budget is None else time.monotonic() + self.budget
        self.decisions.append(self.assured.act(shown, taken=taken, deadline=deadline))
        self.rungs.append(self.assured.monitor.rung)
        arriving = len(self.decisions) - 1 - self.delay
        at_rest = np.zeros_like(self.decisions[-1].command)
        return self.decisions[arriving].command if arriving >= 0 else at_rest, False

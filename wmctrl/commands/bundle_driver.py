"""A bundle's controller among the drivers that are evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import Action


@dataclass
class BundleDriver:
    """A bundle's controller as a driver."""

    controller: Controller
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
        self.decisions.append(self.controller.act(observation))
        return self.decisions[-1].command, False

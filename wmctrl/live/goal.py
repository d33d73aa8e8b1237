"""A goal that whoever watches moves while it is driven for."""

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray


class MovedGoal:
    """How far the goal was moved away from the one that the plant asks for."""

    def __init__(self, elements: Sized) -> None:
        self.offset = np.zeros(len(elements), np.float32)
        """(G,)"""

    def wanted(self, observation: Mapping[str, Any]) -> NDArray[np.float32] | None:
        """The goal (G,) to drive for; None where an observation has none."""
        goal = observation.get("goal")
        return None if goal is None else np.asarray(goal + self.offset, np.float32)

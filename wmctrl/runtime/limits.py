"""What is asked of commands, whoever decides them: range, rate, and risk."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.arguments import numbers, single
from wmctrl.runtime.records import shown

Vector = NDArray[np.float32]
LARGEST_RATE = 2.0
"""Change of an action from one step to the next that takes it through its whole range."""


class Limits(NamedTuple):
    """What candidates and commands are held to."""

    low: Vector
    """(A,)"""
    high: Vector
    """(A,)"""
    rate: Vector
    """Largest change from one step to the next (A,)."""
    risk: NDArray[np.float32]
    """Largest probability of failing, a scalar."""

    @classmethod
    def none(cls, actions: int) -> "Limits":
        """The whole range, at any rate and risk."""
        ones = np.ones(actions, np.float32)
        return cls(-ones, ones, LARGEST_RATE * ones, np.ones((), np.float32))

    def changed(self, **given: Any) -> "Limits":
        """These limits, some of them changed; None leaves one as it is.

        Raises:
            ValueError: They are no numbers, of another length, out of range or the wrong way round.
        """
        found = {
            name: single(numbers(f"the limit {name}", limit, getattr(self, name).shape))
            for name, limit in given.items()
            if limit is not None
        }
        return self._replace(**found).checked()

    def checked(self) -> "Limits":
        """These limits.

        Raises:
            ValueError: They are out of range or the wrong way round.
        """
        if not ((self.low >= -1.0) & (self.low <= self.high) & (self.high <= 1.0)).all():
            raise ValueError("limits must be within [-1, 1], the lower at most the upper")
        if not (self.rate >= 0.0).all():
            raise ValueError(f"a rate must be at least 0, came {shown(self.rate)}")
        if not 0.0 <= self.risk <= 1.0:
            raise ValueError(f"a risk must be from 0 to 1, came {shown(self.risk)}")
        return self

    def held(self, command: Vector, last: Vector) -> Vector:
        """A command (A,) within the limits that comes closest to one, where another (A,) was the last."""
        return np.clip(np.clip(command, last - self.rate, last + self.rate), self.low, self.high)

"""How long decisions take, in few figures."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Latency(NamedTuple):
    """How long decisions took."""

    p50: float
    """Median [ms]."""
    p99: float
    """99th percentile [ms]."""
    longest: float
    """[ms]"""

    @classmethod
    def of(cls, seconds: ArrayLike) -> "Latency":
        """Figures of the times that decisions took (decisions,) [s].

        Raises:
            ValueError: There are none.
        """
        taken = np.asarray(seconds, np.float64)
        if not taken.size:
            raise ValueError("the time of at least one decision is needed, came none")
        p50, p99, longest = 1000.0 * np.quantile(taken, [0.5, 0.99, 1.0])
        return cls(float(p50), float(p99), float(longest))

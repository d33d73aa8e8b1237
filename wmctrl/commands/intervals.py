"""How far a figure from a few episodes can be from the truth."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Z = 1.959964
"""The standard normal distribution has 95 % within +-Z."""
RESAMPLES = 4000
"""Bootstrap means; their 2.5 % quantile then repeats to about a twentieth of the interval's width."""


class Estimate(NamedTuple):
    """A figure and the interval that holds the truth 95 times in 100."""

    value: float
    low: float
    high: float


def rate(hits: int, trials: int) -> Estimate:
    """Share of hits with Wilson's interval (Wilson 1927), which stays in [0, 1] and is honest about 0 and all.

    Raises:
        ValueError: No trials.
    """
    if trials < 1:
        raise ValueError("a rate needs at least one trial; evaluate some episodes")
    share, weight = hits / trials, Z**2 / trials
    centre = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def mean(values: Sequence[float] | NDArray[np.float64]) -> Estimate:
    """Mean with the percentile bootstrap's interval (Efron 1979); the same values always give the same one.

    Raises:
        ValueError: No values.
    """
    array = np.asarray(values, np.float64)
    if array.size == 0:
        raise ValueError("a mean needs at least one value; evaluate some episodes")
    drawn = np.random.default_rng(0).integers(array.size, size=(RESAMPLES, array.size))
    low, high = np.quantile(array[drawn].mean(1), [0.025, 0.975])
    return Estimate(float(array.mean()), float(low), float(high))

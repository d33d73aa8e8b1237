"""Figures of a few episodes: how far they can be from the truth, and how people read them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

FIGURES = ("success", "failure", "return", "length")
"""What a table tells of episodes."""
RATES = ("success", "failure")
"""Figures that are shares of the episodes."""
Z = 1.959964
"""The standard normal distribution has 95 % within +-Z."""


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
    """Mean with Student's interval (Student 1908); a single value, which tells nothing of its spread, has none.

    Raises:
        ValueError: No values.
    """
    array = np.asarray(values, np.float64)
    if array.size == 0:
        raise ValueError("a mean needs at least one value; evaluate some episodes")
    centre = float(array.mean())
    if array.size == 1:
        return Estimate(centre, centre, centre)
    half = float(stdtrit(array.size - 1, 0.975) * array.std(ddof=1) / math.sqrt(array.size))
    return Estimate(centre, centre - half, centre + half)


def in_digits(value: float) -> str:
    """A figure as people read it: three digits, and all of them before the point of a larger one."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def shown(name: str, figure: Estimate) -> str:
    """A figure with its interval, such as `0.98 (0.93 to 0.99)`."""
    if name in RATES:
        return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
    decimals = 2 if max(map(abs, figure)) < 100 else 0
    return f"{figure.value:.{decimals}f} ({figure.low:.{decimals}f} to {figure.high:.{decimals}f})"


def cells(found: Mapping[str, Estimate], show: Callable[[str, Estimate], str] = shown) -> list[str]:
    """Figures under FIGURES, a dash where the task does not define one."""
    return [show(name, found[name]) if name in found else "-" for name in FIGURES]

"""Whether the plant is still the one that was learned: a sequential test on how much observations surprise.

A model errs more here than there, and so ordinary surprise is first told from where the plant is and what is commanded
(`Expectation`); what exceeds that is put on the scale of what is ordinary, where a score of s is exceeded by exp(-s) of
the ordinary ones (`OrdinaryExcess`). Page's cumulative sum (1954) of scores above an allowance rings when it gets too
high. How high is too high follows from how far sums of ordinary scores run (Lundberg's exponent), measured over whole
stretches of them, since ordinary surprises come in clusters.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.experience import Columns

FAINT = 0.5
"""Surprise that makes no difference [nats]."""
RIDGE = 10.0
"""What holds the weights of an expectation, in steps that say nothing."""
PARTS = 5
"""Into which the ordinary steps are cut, so that what is expected of one is learned from the others."""
FURTHEST = 4.0
"""Beyond which a feature is cut off, in standard deviations."""
SHARES = np.linspace(0.0, 1.0, 129)
"""Of the ordinary excesses that are below each in the table of them."""
ALLOWANCE = 1.5
"""Mean score that is still ordinary: half again as much as it is on average."""
LARGEST_SCORE = 8.0
"""Rarer observations count no more, so that a single one never rings."""
STRETCH = 25
"""Steps whose scores are summed to measure how ordinary ones cluster."""
LARGEST_EXPONENT = 0.5828
"""Lundberg's of scores that do not cluster: exp(-r ALLOWANCE) / (1 - r) = 1."""
BETWEEN_ALARMS = 1e5
"""Steps until a false alarm, on average."""


@dataclass(frozen=True)
class Expectation:
    """How much an observation surprises on the plant that was learned.

    The logarithm, with FAINT added, is linear in features of where it was and what was done, and in their squares.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[Any], surprises: NDArray[Any]) -> "Expectation":
        """From ordinary steps' features (n, F) and surprises (n,) [nats]."""
        mean, std = features.mean(0), features.std(0) + 1e-6
        known = cls(mean, std, np.zeros(2 * len(mean) + 1))
        terms = known._terms(features)
        ridge = RIDGE * np.eye(terms.shape[1])
        ridge[0, 0] = 0.0
        weights = np.linalg.solve(terms.T @ terms + ridge, terms.T @ np.log(surprises + FAINT))
        return cls(mean, std, weights.astype(np.float64))

    def excess(self, features: NDArray[Any], surprises: NDArray[Any]) -> NDArray[np.float64]:
        """Logarithm of how many times surprises (n,) are as large as is expected of features (n, F)."""
        found: NDArray[np.float64] = np.log(surprises + FAINT) - self._terms(features) @ self.weights
        return found

    def _terms(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """What is weighed: 1, features and their squares (n, 2 F + 1)."""
        normal = np.clip((features - self.mean) / self.std, -FURTHEST, FURTHEST)
        return np.concatenate([np.ones((len(normal), 1)), normal, normal**2], 1)


def features(steps: Columns) -> NDArray[np.float64]:
    """Where the plant was before each step but the first two, and what was done last and before (n - 2, F)."""
    parts = [steps["proprio"][1:-1]] if "proprio" in steps else []
    return np.concatenate([*parts, steps["action"][2:], steps["action"][1:-1]], 1).astype(np.float64)


def ordinary_excess(steps: Columns) -> tuple[Expectation, NDArray[np.float64]]:
    """What is expected of ordinary steps, and what exceeds it of each, told from the others; in their order.

    Steps right behind an episode's start are left out: until then little is known.
    """
    early = (np.convolve(steps["is_first"], np.ones(3))[: len(steps["is_first"])] > 0.0)[2:]
    known, surprises = features(steps)[~early], steps["surprise"][2:][~early]
    part = np.arange(len(surprises)) * PARTS // max(1, len(surprises))
    found = np.zeros(len(surprises))
    for number in range(PARTS):
        inside = part == number
        if inside.any():
            found[inside] = Expectation.of(known[~inside], surprises[~inside]).excess(known[inside], surprises[inside])
    return Expectation.of(known, surprises), found


@dataclass(frozen=True)
class OrdinaryExcess:
    """What exceeds the expected surprise on the plant that was learned."""

    excesses: NDArray[np.float64]
    """Quantiles of it at SHARES."""
    threshold: float
    """Height of the sum that rings."""

    @classmethod
    def of(cls, excesses: NDArray[np.float64], between_alarms: float = BETWEEN_ALARMS) -> "OrdinaryExcess":
        """From what exceeded the expected in ordinary steps (n,), in their order.

        Args:
            between_alarms: Steps until a false alarm, on average.

        Raises:
            ValueError: There are too few.
        """
        if len(excesses) < 10 * STRETCH:
            raise ValueError(f"at least {10 * STRETCH} ordinary steps are needed, came {len(excesses)}")
        found = cls(np.quantile(excesses, SHARES), np.inf)
        scores = np.array([found.score(float(one)) for one in excesses])
        return cls(found.excesses, height(scores, between_alarms))

    def score(self, excess: float) -> float:
        """How rare it is: -ln of the share of ordinary ones that exceed it, 1 on average."""
        table = self.excesses
        beyond = 1.0 - np.interp(excess, table, SHARES)
        score = -np.log(max(beyond, 0.5 / len(table)))
        if excess > table[-1]:  # rarer than any that was seen: by how much, its distance from the middle says
            score += (excess - table[-1]) / max(table[-1] - table[len(table) // 2], 1e-9)
        return float(min(score, LARGEST_SCORE))


def height(scores: NDArray[np.float64], between_alarms: float) -> float:
    """Threshold of the sum under which ordinary scores (n,) ring once in so many steps.

    The sum exceeds h about once in exp(r h) steps, r > 0 solving E[exp(r X)] = 1 for the sum X of a stretch's scores
    above the allowance.
    """
    sums = np.convolve(scores - ALLOWANCE, np.ones(STRETCH), "valid")
    low, high = 0.0, LARGEST_EXPONENT  # a few thousand scores hardly show how far their sums can run
    for _ in range(60):
        middle = 0.5 * (low + high)
        with np.errstate(over="ignore"):
            low, high = (middle, high) if np.exp(middle * sums).mean() < 1.0 else (low, middle)
    return float(np.log(between_alarms) / max(low, 1e-3))


class Drift(NamedTuple):
    """How the test stands."""

    height: float = 0.0
    """Of the sum."""
    since: int = 0
    """Step after which it last was at zero: where the change would have been."""
    step: int = 0
    """Next."""
    rings: bool = False

    def watched(self, excess: float | None, ordinary: OrdinaryExcess) -> "Drift":
        """After another observation, and what exceeded the expected of it; None where nothing is known of that."""
        if excess is None:
            return self._replace(step=self.step + 1, rings=False)
        total = max(0.0, self.height + ordinary.score(excess) - ALLOWANCE)
        since = self.step + 1 if total == 0.0 else self.since
        return Drift(total, since, self.step + 1, total > ordinary.threshold)

    def restarted(self) -> "Drift":
        """Beginning again, after an alarm was answered."""
        return Drift(step=self.step, since=self.step)

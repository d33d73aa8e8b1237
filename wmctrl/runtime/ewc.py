"""Elastic weight consolidation: what was learned holds parameters the tighter, the more it depends on them.

Kirkpatrick et al. 2017. Of any function with gradients: nothing here knows what it computes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Parameters, or what belongs to each of them, by name."""


def fisher_diagonal(gradients: Iterable[Arrays]) -> dict[str, NDArray[np.float32]]:
    """Diagonal of the empirical Fisher information: mean square of the log-likelihood's gradients.

    Args:
        gradients: Of single samples. Those of batches would not do: what all samples agree on, which is not nothing
            where the loss is not at its least, would count as many times as a batch has samples.

    Raises:
        ValueError: There are none.
    """
    total: dict[str, NDArray[np.float32]] = {}
    count = 0
    for found in gradients:
        count += 1
        for name, gradient in found.items():
            total[name] = total.get(name, np.float32(0.0)) + gradient**2
    if not count:
        raise ValueError("importance needs the gradients of at least one sample, came none")
    return {name: value / np.float32(count) for name, value in total.items()}


class Anchor:
    """Parameters as they were when something was known, and how much each mattered to it."""

    def __init__(self, parameters: Arrays, importance: Arrays) -> None:
        """
        Args:
            importance: Their `fisher_diagonal`; of those that are missing, none.
        """
        self.parameters = {name: np.array(parameters[name], np.float32) for name in importance}
        self.importance = {name: np.array(value, np.float32) for name, value in importance.items()}


class Consolidation:
    """What holds parameters: an anchor for everything that is to be kept, or one that follows (online EWC)."""

    def __init__(self, strength: float, decay: float | None = None) -> None:
        """
        Args:
            strength: lambda, of the penalty 1/2 lambda sum F (theta - theta*)^2.
            decay: Share of the importance that stays when something new is consolidated, about its newest parameters
                (online EWC, Schwarz et al. 2018); None keeps an anchor of its own for everything.

        Raises:
            ValueError: The strength is negative, or the decay no share.
        """
        if not strength >= 0.0:
            raise ValueError(f"strength must be at least 0, came {strength:g}")
        if decay is not None and not 0.0 <= decay <= 1.0:
            raise ValueError(f"decay must be from 0 to 1, came {decay:g}")
        self.strength, self.decay = strength, decay
        self.anchors: list[Anchor] = []

    def keep(self, parameters: Arrays, importance: Arrays) -> None:
        """Hold on to what is known now."""
        if self.decay is not None and self.anchors:
            (old,) = self.anchors
            kept = {name: self.decay * value for name, value in old.importance.items()}
            importance = {name: value + kept.get(name, 0.0) for name, value in importance.items()}
            self.anchors.clear()
        self.anchors.append(Anchor(parameters, importance))

    def hold(self, parameters: Arrays, importance: Arrays) -> None:
        """Hold on to this alone, whatever was known before."""
        self.anchors = [Anchor(parameters, importance)]

    def gradient(self, parameters: Arrays) -> dict[str, NDArray[np.float32]]:
        """Of the penalty, by name: lambda F (theta - theta*). Parameters that nothing holds are not in it."""
        found: dict[str, NDArray[np.float32]] = {}
        for anchor in self.anchors:
            for name, importance in anchor.importance.items():
                pull = self.strength * importance * (parameters[name] - anchor.parameters[name])
                found[name] = np.asarray(found.get(name, 0.0) + pull, np.float32)
        return found

    def added(self, parameters: Arrays, gradients: Arrays) -> dict[str, NDArray[np.float32]]:
        """Gradients of a loss at some parameters, the penalty's added to them."""
        pulls = self.gradient(parameters)
        return {name: gradient + pulls.get(name, np.float32(0.0)) for name, gradient in gradients.items()}

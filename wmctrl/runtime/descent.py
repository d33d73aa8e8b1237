"""Gradient descent in numpy: orthogonal steps for matrices, Adam's for the rest, with the gradient's norm held."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Parameters = dict[str, NDArray[np.float32]]
"""Of the networks, by name."""
FIRST, SECOND, LEAST = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
"""Adam's decays of both moments, and what keeps it from dividing by zero (Kingma and Ba 2015)."""
MOMENTUM = np.float32(0.95)
"""Share of Muon's running gradient that is kept at every step (Jordan et al. 2024)."""
COEFFICIENTS = (np.float32(3.4445), np.float32(-4.7750), np.float32(2.0315))
"""Of the quintic a x + b x^3 + c x^5 that every iteration applies to the singular values (Jordan et al. 2024)."""
ITERATIONS = 5
LEAST_NORM = np.float32(1e-7)
"""A matrix shorter than this is not lengthened to unit norm."""
OTHERS = 1.0 / 3.0
"""Adam's learning rate for what is no matrix, as a share of the matrices'."""
CLIP = 100.0
"""Largest norm of a gradient where nothing else is said."""


class Adam:
    """Adam; every step returns new arrays, and changes none in place."""

    def __init__(self, rate: float, clip: float) -> None:
        """
        Args:
            rate: Learning rate.
            clip: Largest norm of a gradient.
        """
        self.rate, self.clip = np.float32(rate), clip
        self.steps = 0
        self.first: dict[str, NDArray[np.float32]] = {}
        self.second: dict[str, NDArray[np.float32]] = {}

    def step(self, parameters: Arrays, gradients: Arrays) -> Parameters:
        """Parameters one step down their gradients; those without one stay.

        Raises:
            ValueError: A gradient is not finite; nothing has moved.
        """
        return self.moved(parameters, bounded(gradients, self.clip))

    def moved(self, parameters: Arrays, gradients: Parameters) -> Parameters:
        """Parameters one step down gradients that are bounded already."""
        self.steps += 1
        bias_first, bias_second = (np.float32(1.0 - float(decay) ** self.steps) for decay in (FIRST, SECOND))
        moved = dict(parameters)
        for name, gradient in gradients.items():
            first = self.first.get(name, np.float32(0.0)) * FIRST + (1 - FIRST) * gradient
            second = self.second.get(name, np.float32(0.0)) * SECOND + (1 - SECOND) * gradient**2
            self.first[name], self.second[name] = first, second
            moved[name] = parameters[name] - self.rate * (first / bias_first) / (np.sqrt(second / bias_second) + LEAST)
        return moved


class Descent:
    """Muon for matrices and Adam for the rest; every step returns new arrays.

    A step of Muon's is as long from the first one on, whatever it descends, where Adam's first ones go by the signs of
    a noisy gradient: a trained arm's model, at a thousandth a step, erred eight times as much after ten of them.
    """

    def __init__(self, rate: float, clip: float) -> None:
        """
        Args:
            rate: Learning rate of matrices.
            clip: Largest norm of a gradient.
        """
        self.rate, self.clip = np.float32(rate), clip
        self.running: dict[str, NDArray[np.float32]] = {}
        self.adam = Adam(OTHERS * rate, clip)

    def step(self, parameters: Arrays, gradients: Arrays) -> Parameters:
        """Parameters one step down their gradients; those without one stay.

        Raises:
            ValueError: A gradient is not finite; nothing has moved.
        """
        held = bounded(gradients, self.clip)
        matrices = {name: one for name, one in held.items() if one.ndim == 2}
        moved = self.adam.moved(parameters, {name: one for name, one in held.items() if one.ndim != 2})
        for name, gradient in matrices.items():
            running = self.running.get(name, np.float32(0.0)) * MOMENTUM + (1 - MOMENTUM) * gradient
            self.running[name] = running
            direction = orthogonalised((1 - MOMENTUM) * gradient + MOMENTUM * running)
            rows, columns = gradient.shape
            moved[name] = parameters[name] - self.rate * np.float32(math.sqrt(max(1.0, rows / columns))) * direction
        return moved


def bounded(gradients: Arrays, most: float) -> Parameters:
    """Gradients shortened to a norm, all by the same factor, where they are longer.

    Raises:
        ValueError: One is not finite.
    """
    norm = float(np.sqrt(sum(float(np.vdot(one, one)) for one in gradients.values())))
    if not np.isfinite(norm):
        raise ValueError(f"the gradient's norm became {norm}")
    scale = np.float32(min(1.0, most / max(norm, 1e-12)))
    return {name: scale * one for name, one in gradients.items()}


def orthogonalised(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """A matrix (m, n) of the same singular vectors, whose values are near 1 unless they are tiny (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / np.maximum(np.linalg.norm(wide), LEAST_NORM)  # then no singular value is above 1
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * (gram @ gram)) @ wide
    found: NDArray[np.float32] = wide if matrix.shape[0] <= matrix.shape[1] else wide.T
    return found

"""Gradient descent in numpy: Adam, with the gradient's norm held."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Parameters = dict[str, NDArray[np.float32]]
"""Of the networks, by name."""
FIRST, SECOND, LEAST = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
"""Adam's decays of both moments, and what keeps it from dividing by zero (Kingma and Ba 2015)."""
CLIP = 100.0
"""Largest norm of a gradient where nothing else is said."""


class Adam:
    """Moves parameters, in place of nothing: every step returns new ones."""

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
        norm = float(np.sqrt(sum(float(np.vdot(one, one)) for one in gradients.values())))
        if not np.isfinite(norm):
            raise ValueError(f"the gradient's norm became {norm}")
        scale = np.float32(min(1.0, self.clip / max(norm, 1e-12)))
        self.steps += 1
        bias_first, bias_second = (np.float32(1.0 - float(decay) ** self.steps) for decay in (FIRST, SECOND))
        moved = dict(parameters)
        for name, gradient in gradients.items():
            held = scale * gradient
            first = self.first.get(name, np.float32(0.0)) * FIRST + (1 - FIRST) * held
            second = self.second.get(name, np.float32(0.0)) * SECOND + (1 - SECOND) * held**2
            self.first[name], self.second[name] = first, second
            moved[name] = parameters[name] - self.rate * (first / bias_first) / (np.sqrt(second / bias_second) + LEAST)
        return moved

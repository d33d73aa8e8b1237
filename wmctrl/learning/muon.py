"""Muon: momentum whose steps are made orthogonal, for matrices (Jordan et al. 2024)."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from wmctrl.runtime.descent import COEFFICIENTS, ITERATIONS, LEAST_NORM


class Muon(torch.optim.Optimizer):
    """As torch's, but in the precision of the weights.

    torch's rounds every product to bfloat16, which is slow on a processor without bfloat16 arithmetic: on one with AVX2
    a step of a world model's 21 matrices took 594 ms, and takes 25 ms in fp32; its whole update took 4 times as long.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        """
        Args:
            matrices: Parameters of two dimensions.
            momentum: Share of the running gradient that is kept at every step (Nesterov's variant).
        """
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # there is no loss here
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, matrix.grad, group["lr"], group["momentum"])

    def _move(self, matrix: Tensor, gradient: Tensor, rate: float, momentum: float) -> None:
        kept = self.state[matrix]
        if "momentum_buffer" not in kept:
            kept["momentum_buffer"] = torch.zeros_like(matrix)
        running = kept["momentum_buffer"].lerp_(gradient, 1.0 - momentum)
        direction = orthogonalised(gradient.lerp(running, momentum))
        rows, columns = matrix.shape
        matrix.add_(direction, alpha=-rate * math.sqrt(max(1.0, rows / columns)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix (m, n) of the same singular vectors, whose values are near 1 unless they are tiny (Newton-Schulz)."""
    a, b, c = map(float, COEFFICIENTS)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(float(LEAST_NORM))  # then no singular value is above 1
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T

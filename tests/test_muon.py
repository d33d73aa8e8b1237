"""Muon: orthogonal steps, as torch's own but in full precision."""

import math

import pytest
import torch

from wmctrl.learning.muon import Muon, orthogonalised
from wmctrl.runtime.descent import COEFFICIENTS

SHAPES = ((24, 8), (8, 24), (12, 12))


def drawn(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_quintic_acts_on_the_singular_values_and_leaves_the_vectors(shape: tuple[int, int]) -> None:
    matrix = drawn(*shape).double()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    a, b, c = map(float, COEFFICIENTS)
    values = values / math.sqrt(float((values**2).sum()))
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonalised(matrix), left @ values.diag() @ right)
    assert float(values.min()) > 0.65
    assert float(values.max()) < 1.25


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_those_of_torch_up_to_its_rounding(shape: tuple[int, int]) -> None:
    ours, theirs = (torch.nn.Parameter(drawn(*shape)) for _ in range(2))
    muon = Muon([ours], lr=0.1)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0)
    for seed in range(1, 4):
        before = ours.detach().clone()
        ours.grad, theirs.grad = drawn(*shape, seed), drawn(*shape, seed)
        muon.step()
        reference.step()  # type: ignore[no-untyped-call]
        moved = float((ours.detach() - before).norm())
        assert float((ours - theirs).detach().norm()) < 0.02 * moved * seed


def test_what_has_no_gradient_stays() -> None:
    still, moving = (torch.nn.Parameter(drawn(4, 4)) for _ in range(2))
    moving.grad = torch.zeros(4, 4)
    Muon([still, moving], lr=0.1).step()
    assert torch.equal(still, drawn(4, 4))
    assert torch.equal(moving, drawn(4, 4)), "a gradient of zero has no direction"

"""Descent in numpy: the steps of training's own optimisers, and nothing that is not finite."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wmctrl.learning.muon import Muon
from wmctrl.runtime.descent import OTHERS, Descent, bounded, orthogonalised

SHAPES = {"wide": (8, 24), "tall": (24, 8), "square": (12, 12), "vector": (7,), "stack": (2, 3, 4)}
CLIP = 1e9


def drawn(seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def test_steps_are_those_of_muon_for_matrices_and_of_adam_for_the_rest() -> None:
    rate, moved, descent = 0.03, drawn(0), Descent(0.03, CLIP)
    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in moved.items()}
    muon = Muon([one for one in theirs.values() if one.ndim == 2], rate)
    adam = torch.optim.Adam([one for one in theirs.values() if one.ndim != 2], OTHERS * rate)
    for seed in range(1, 4):
        gradients = drawn(seed)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(gradients[name])
        muon.step()
        adam.step()
        moved = descent.step(moved, gradients)
    for name, parameter in theirs.items():
        assert float(np.abs(moved[name] - drawn(0)[name]).max()) > 0.5 * OTHERS * rate
        np.testing.assert_allclose(moved[name], parameter.detach().numpy(), atol=1e-5)


def test_a_gradient_of_any_length_moves_a_matrix_as_far() -> None:
    before, gradients = drawn(0), drawn(1)
    near, far = (
        Descent(0.1, CLIP).step(before, {"wide": np.float32(scale) * gradients["wide"]}) for scale in (1e-3, 1e3)
    )
    np.testing.assert_allclose(near["wide"], far["wide"], atol=1e-5)


def test_singular_values_come_near_one_and_nothing_stays_nothing() -> None:
    values = np.linalg.svd(orthogonalised(drawn(2)["wide"]), compute_uv=False)
    assert 0.65 < values.min() <= values.max() < 1.25
    assert not orthogonalised(np.zeros((3, 4), np.float32)).any()


def test_gradients_are_shortened_by_one_factor() -> None:
    found = bounded({"a": np.array([3.0], np.float32), "b": np.array([[0.0, 4.0]], np.float32)}, 1.0)
    np.testing.assert_allclose(found["a"], [0.6])
    np.testing.assert_allclose(found["b"], [[0.0, 0.8]])


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["wide", "vector"])
def test_what_is_not_finite_moves_nothing(wrong: float, where: str) -> None:
    descent, gradients = Descent(0.1, CLIP), drawn(1)
    gradients[where].flat[0] = wrong
    with pytest.raises(ValueError, match="norm became"):
        descent.step(drawn(0), gradients)
    assert not descent.running
    assert not descent.adam.steps

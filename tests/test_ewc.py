"""Elastic weight consolidation: formulas by hand, and a network that keeps what it knew."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wmctrl.runtime.descent import Adam
from wmctrl.runtime.ewc import Anchor, Arrays, Consolidation, fisher_diagonal

Vector = NDArray[np.float32]


def array(*values: float) -> Vector:
    return np.array(values, np.float32)


def test_importance_is_the_mean_square_of_the_gradients_of_single_samples() -> None:
    found = fisher_diagonal([{"w": array(1.0, 2.0)}, {"w": array(3.0, 0.0)}])
    np.testing.assert_allclose(found["w"], [5.0, 2.0])


def test_importance_of_a_gaussians_mean_is_one_over_its_variance() -> None:
    rng = np.random.default_rng(0)
    deviations = 0.5 * rng.standard_normal(20_000).astype(np.float32)
    found = fisher_diagonal({"mean": array(-one / 0.25)} for one in deviations)
    assert found["mean"][0] == pytest.approx(4.0, rel=0.05)


def test_importance_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        fisher_diagonal([])


def penalty(held: Consolidation, parameters: Arrays) -> float:
    """1/2 lambda sum F (theta - theta*)^2 (Kirkpatrick et al. 2017, eq. 3)."""
    squares = (
        float((importance * (parameters[name] - anchor.parameters[name]) ** 2).sum(dtype=np.float64))
        for anchor in held.anchors
        for name, importance in anchor.importance.items()
    )
    return 0.5 * held.strength * sum(squares)


def test_the_penalty_and_its_gradient_are_those_of_the_formula() -> None:
    held = Consolidation(strength=10.0)
    held.keep({"w": array(1.0, 2.0), "free": array(0.0)}, {"w": array(3.0, 0.5)})
    held.keep({"w": array(0.0, 0.0)}, {"w": array(1.0, 1.0)})
    now = {"w": array(2.0, 1.0), "free": array(9.0)}
    # 1/2 10 (3 (2-1)^2 + 0.5 (1-2)^2 + 1 2^2 + 1 1^2)
    assert penalty(held, now) == pytest.approx(42.5)
    # 10 (3 (2-1) + 1 2), 10 (0.5 (1-2) + 1 1)
    np.testing.assert_allclose(held.gradient(now)["w"], [50.0, 5.0])
    assert "free" not in held.gradient(now)


def test_the_gradient_is_the_penaltys() -> None:
    rng = np.random.default_rng(1)
    held = Consolidation(strength=3.0)
    for _ in range(2):
        held.keep({"w": rng.standard_normal(4).astype(np.float32)}, {"w": rng.random(4).astype(np.float32)})
    at = rng.standard_normal(4).astype(np.float32)
    step = 1e-2
    for index in range(4):
        ahead, behind = at.copy(), at.copy()
        ahead[index] += step
        behind[index] -= step
        slope = (penalty(held, {"w": ahead}) - penalty(held, {"w": behind})) / (2 * step)
        assert held.gradient({"w": at})["w"][index] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_online_there_is_one_anchor_about_the_newest_parameters() -> None:
    held = Consolidation(strength=1.0, decay=0.5)
    held.keep({"w": array(1.0)}, {"w": array(4.0)})
    held.keep({"w": array(3.0)}, {"w": array(1.0)})
    (anchor,) = held.anchors
    assert anchor.parameters["w"] == 3.0
    assert anchor.importance["w"] == 1.0 + 0.5 * 4.0


def test_what_is_held_on_to_alone_has_the_only_anchor() -> None:
    held = Consolidation(strength=1.0)
    for value in (1.0, 2.0):
        held.keep({"w": array(value)}, {"w": array(1.0)})
    held.hold({"w": array(5.0)}, {"w": array(3.0)})
    assert held.gradient({"w": array(6.0)})["w"].tolist() == [3.0]


def test_an_anchor_does_not_move_with_what_it_was_made_of() -> None:
    parameters, importance = {"w": array(1.0)}, {"w": array(2.0)}
    anchor = Anchor(parameters, importance)
    parameters["w"] += 1.0
    importance["w"] += 1.0
    assert anchor.parameters["w"].tolist() == [1.0]
    assert anchor.importance["w"].tolist() == [2.0]


@pytest.mark.parametrize(("arguments", "message"), [((-1.0,), "at least 0"), ((1.0, 2.0), "from 0 to 1")])
def test_what_cannot_be_is_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Consolidation(*arguments)


def slope(weights: Vector, inputs: Vector, targets: Vector) -> Vector:
    """Gradient of half the mean squared error of a linear function."""
    return np.asarray(inputs.T @ (inputs @ weights - targets) / len(inputs), np.float32)


def error(weights: Vector, inputs: Vector, targets: Vector) -> float:
    return float(np.mean((inputs @ weights - targets) ** 2))


@pytest.mark.parametrize(("strength", "kept"), [(0.0, False), (100.0, True)])
def test_what_is_learned_second_leaves_what_was_learned_first(strength: float, kept: bool) -> None:
    """Two tasks that use different inputs: a linear function of all of them can do both."""
    rng = np.random.default_rng(2)
    truth = rng.standard_normal(20).astype(np.float32)
    # The second's inputs are mostly its own; what they leak into the first's has another effect there.
    first, second = (rng.standard_normal((200, 20)).astype(np.float32) for _ in range(2))
    first[:, 10:] = 0.0
    second[:, :10] *= 0.1
    other = np.concatenate([-truth[:10], truth[10:]])
    weights, held = {"w": np.zeros(20, np.float32)}, Consolidation(strength)
    for inputs, goal in ((first, truth), (second, other)):
        targets, adam = inputs @ goal, Adam(rate=0.02, clip=100.0)
        for _ in range(800):
            gradient = {"w": slope(weights["w"], inputs, targets)}
            pull = held.gradient(weights)
            weights = adam.step(weights, {"w": gradient["w"] + pull.get("w", np.float32(0.0))})
        # Of a Gaussian likelihood of unit variance, whose gradients are residual times input.
        held.keep(weights, {"w": (inputs**2).mean(0)})
    assert (error(weights["w"], first, first @ truth) < 0.05) == kept
    assert error(weights["w"], second, second @ other) < (0.6 if kept else 0.01)


def test_adam_is_adam() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    start = rng.standard_normal(5).astype(np.float32)
    gradients = rng.standard_normal((30, 5)).astype(np.float32)
    reference = torch.nn.Parameter(torch.tensor(start))
    optimizer = torch.optim.Adam([reference], lr=0.01)
    parameters, adam = {"w": start}, Adam(rate=0.01, clip=1e9)
    for gradient in gradients:
        parameters = adam.step(parameters, {"w": gradient})
        reference.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameters["w"], reference.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_too_long_is_shortened() -> None:
    adam = Adam(rate=1.0, clip=1.0)
    adam.step({"w": array(0.0, 0.0)}, {"w": array(30.0, 40.0)})
    np.testing.assert_allclose(adam.first["w"], [0.06, 0.08], rtol=1e-5)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    adam = Adam(rate=1.0, clip=1.0)
    with pytest.raises(ValueError, match="norm became nan"):
        adam.step({"w": array(0.0)}, {"w": array(np.nan)})
    assert (adam.steps, adam.first) == (0, {})

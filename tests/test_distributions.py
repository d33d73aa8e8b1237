"""Distributions, held to torch.distributions, to numerical integration and to numbers worked by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as reference

from wmctrl.model.distributions import Bernoulli, Gaussian, TanhGaussian, TwoHot, symexp, symlog

B, D, BINS = 7, 3, 101


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian() -> Gaussian:
    return Gaussian(draws(B, D), 0.5 * draws(B, D, seed=1))


def two_hot(logits: Tensor) -> TwoHot:
    return TwoHot(logits, torch.linspace(-10.0, 10.0, BINS))


def test_symlog_compresses_and_symexp_undoes_it() -> None:
    x = torch.tensor([-1000.0, -1.0, 0.0, 1e-3, math.e - 1.0, 2e4])
    torch.testing.assert_close(symlog(x[[1, 2, 4]]), torch.tensor([-math.log(2.0), 0.0, 1.0]))
    torch.testing.assert_close(symexp(symlog(x)), x)


def test_gaussian_agrees_with_torch() -> None:
    ours, value = gaussian(), draws(B, D, seed=2)
    theirs: Any = reference.Independent(reference.Normal(ours.mean, ours.std), 1)
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))


def test_gaussian_sample_is_the_mean_moved_by_std_times_noise() -> None:
    ours = Gaussian(torch.tensor([1.0, -2.0]), torch.tensor([math.log(3.0), 0.0]))
    torch.testing.assert_close(ours.sample(torch.tensor([2.0, -1.0])), torch.tensor([7.0, -3.0]))


def test_a_damped_gaussian_is_the_same_and_passes_on_its_share() -> None:
    leaf = torch.full((D,), 0.5, requires_grad=True)
    damped = Gaussian(leaf, leaf).damped(0.25)
    assert torch.equal(damped.mean, leaf)
    (gradient,) = torch.autograd.grad(damped.mean.sum() + 2.0 * damped.log_std.sum(), leaf)
    torch.testing.assert_close(gradient, torch.full((D,), 0.75))


def test_tanh_gaussian_log_prob_agrees_with_torch_up_to_near_the_border() -> None:
    base = Gaussian(torch.tensor([[-0.3], [4.0], [-6.0]]), torch.tensor([[-0.5], [0.2], [0.0]]))
    action = torch.tensor([[0.9], [0.9999], [-0.99999]])
    theirs: Any = reference.TransformedDistribution(
        reference.Normal(base.mean.double(), base.std.double()), [reference.TanhTransform(cache_size=1)]
    )
    expected = theirs.log_prob(action.double()).sum(-1).float()
    torch.testing.assert_close(TanhGaussian(base).log_prob(action), expected, rtol=1e-3, atol=1e-3)


def test_tanh_gaussian_density_integrates_to_one() -> None:
    ours = TanhGaussian(Gaussian(torch.tensor([0.7], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)))
    grid = torch.linspace(-1.0 + 1e-6, 1.0 - 1e-6, 200_001, dtype=torch.float64)
    density = ours.log_prob(grid.unsqueeze(-1)).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("border", [-1.0, 1.0])
def test_an_action_on_the_border_has_a_finite_log_prob_and_gradient(border: float) -> None:
    mean = torch.zeros(1, requires_grad=True)
    log_prob = TanhGaussian(Gaussian(mean, torch.zeros(1))).log_prob(torch.tensor([border]))
    (gradient,) = torch.autograd.grad(log_prob, mean)
    assert bool(log_prob.isfinite())
    assert bool(gradient.isfinite().all())


def test_tanh_gaussian_entropy_estimate_converges_to_the_integral() -> None:
    ours = TanhGaussian(Gaussian(torch.tensor([0.4]), torch.tensor([-0.2])))
    grid = torch.linspace(-1.0 + 1e-5, 1.0 - 1e-5, 100_001)
    log_density = ours.log_prob(grid.unsqueeze(-1))
    expected = -torch.trapezoid(log_density.exp() * log_density, grid)
    # The estimate's standard deviation is about 0.6, so the mean of 100,000 is within 0.008 (4 sigma).
    assert float(ours.entropy_at(draws(100_000, 1)).mean()) == pytest.approx(float(expected), abs=0.008)


def test_tanh_gaussian_entropy_at_a_sample_is_its_negative_log_prob() -> None:
    ours, noise = TanhGaussian(gaussian()), draws(B, D, seed=3)
    torch.testing.assert_close(ours.entropy_at(noise), -ours.log_prob(ours.sample(noise)), rtol=1e-3, atol=1e-3)


def test_tanh_gaussian_entropy_is_finite_far_in_the_saturated_range() -> None:
    ours = TanhGaussian(Gaussian(torch.tensor([[60.0], [-60.0]]), torch.zeros(2, 1)))
    # ln(1 - tanh(60)^2) = 2 (ln 2 - 60), where the naive formula gives -inf; minus ln N(0) = 0.5 ln 2 pi.
    expected = 2.0 * (math.log(2.0) - 60.0) + 0.5 * math.log(2.0 * math.pi)
    torch.testing.assert_close(ours.entropy_at(torch.zeros(2, 1)), torch.full((2,), expected))


def test_bernoulli_agrees_with_torch() -> None:
    logit = torch.tensor([-40.0, -2.0, 0.0, 3.0, 40.0])
    ours = Bernoulli(logit)
    theirs: Any = reference.Bernoulli(logits=logit)
    for value in (torch.zeros(5), torch.ones(5)):
        torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.mean, theirs.probs)


def test_two_hot_spreads_a_value_over_its_neighbours_by_distance() -> None:
    ours = TwoHot(torch.zeros(5), torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    value = symexp(torch.tensor([0.25, -1.0]))
    expected = torch.tensor([[0.0, 0.0, 0.75, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(ours.encode(value), expected)


def test_two_hot_weights_are_a_distribution_whose_mean_is_the_value() -> None:
    value = torch.tensor([-2e4, -3.3, -1e-3, 0.0, 0.17, 5.0, 777.0])
    encoded = two_hot(torch.zeros(BINS)).encode(value)
    torch.testing.assert_close(encoded.sum(-1), torch.ones(7))
    assert int((encoded > 0.0).sum(-1).max()) <= 2
    torch.testing.assert_close(two_hot((encoded + 1e-20).log()).mean, value, rtol=1e-4, atol=1e-4)


def test_a_uniform_two_hot_predicts_zero() -> None:
    assert float(two_hot(torch.zeros(BINS)).mean) == pytest.approx(0.0, abs=1e-6)


def test_a_value_beyond_the_bins_takes_the_outer_bin() -> None:
    encoded = two_hot(torch.zeros(BINS)).encode(torch.tensor([-1e9, 1e9]))
    torch.testing.assert_close(encoded[:, [0, -1]], torch.eye(2))


def test_two_hot_score_is_the_cross_entropy_and_best_at_the_target() -> None:
    ours, value = two_hot(draws(B, BINS)), 10.0 * draws(B, seed=1)
    target = ours.encode(value)
    expected = -torch.nn.functional.cross_entropy(ours.logits, target, reduction="none")
    torch.testing.assert_close(ours.log_prob(value), expected)
    assert bool((two_hot((target + 1e-9).log()).log_prob(value) > ours.log_prob(value)).all())

"""Mixtures held to torch.distributions and scipy, and a plant on which one Gaussian is not enough."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as reference

from wmctrl.model.distributions import Gaussian
from wmctrl.model.mdn import MDNHead, Mixture, MixtureNoise, kl_to_mixture
from wmctrl.model.nets import squashed_log_std

B, K, D = 7, 5, 3


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixture_noise(count: int, components: int, size: int) -> MixtureNoise:
    return MixtureNoise.draw((count,), components, size, torch.Generator().manual_seed(0))


def mixture(*batch: int) -> Mixture:
    return Mixture(draws(*batch, K), 2.0 * draws(*batch, K, D, seed=1), 0.5 * draws(*batch, K, D, seed=2))


def repeated(ours: Mixture, count: int) -> Mixture:
    """The same mixture `count` times along a new first axis."""
    return Mixture(*(part.expand(count, *part.shape) for part in (ours.logits, ours.means, ours.log_stds)))


def test_log_prob_and_mean_agree_with_torch() -> None:
    ours, value = mixture(B), draws(B, D, seed=3)
    components = reference.Independent(reference.Normal(ours.means, ours.log_stds.exp()), 1)
    theirs: Any = reference.MixtureSameFamily(reference.Categorical(logits=ours.logits), components)
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.mean, theirs.mean)


def test_samples_have_the_mixtures_frequencies_and_moments() -> None:
    count = 40_000
    logits = torch.tensor([0.2, 0.3, 0.5]).log()
    ours = Mixture(logits, torch.tensor([[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]), torch.zeros(3, 2))
    sample = repeated(ours, count).sample(mixture_noise(count, components=3, size=2))
    nearest = (sample.unsqueeze(1) - ours.means).norm(dim=-1).argmin(-1)
    shares = torch.bincount(nearest, minlength=3) / count
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.3, 0.5]), rtol=0.0, atol=0.01)  # 4 sigma
    torch.testing.assert_close(sample.mean(0), ours.mean, rtol=0.0, atol=0.15)
    # Within a component 1; between them 0.7 * 81 - 2.7^2 and 0.3 * 81 - 2.7^2.
    torch.testing.assert_close(sample.var(0), torch.tensor([50.41, 18.01]), rtol=0.03, atol=0.0)


def test_drawn_noise_is_gumbel_and_normal_and_told_step_by_step() -> None:
    noise = MixtureNoise.draw((300, 40), 3, 2, torch.Generator().manual_seed(0))
    assert stats.kstest(noise.component.flatten().numpy(), stats.gumbel_r.cdf).pvalue > 0.01
    assert stats.kstest(noise.value.flatten().numpy(), stats.norm.cdf).pvalue > 0.01
    step = noise.at(7)
    torch.testing.assert_close(step.component, noise.component[:, 7])
    torch.testing.assert_close(step.value, noise.value[:, 7])


def test_zero_noise_gives_the_mean_of_the_most_probable_component() -> None:
    ours = mixture(B)
    sample = ours.sample(MixtureNoise(torch.zeros(B, K), torch.zeros(B, D)))
    torch.testing.assert_close(sample, ours.means[torch.arange(B), ours.logits.argmax(-1)])


def test_a_sample_carries_gradient_to_its_own_component_alone() -> None:
    means = torch.zeros(K, D, requires_grad=True)
    logits = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0])
    sample = Mixture(logits, means, torch.zeros(K, D)).sample(MixtureNoise(torch.zeros(K), torch.ones(D)))
    (gradient,) = torch.autograd.grad(sample.sum(), means)
    assert gradient.sum(-1).tolist() == [0.0, 0.0, 3.0, 0.0, 0.0]


def test_cdf_is_the_weighted_normal_cdf_of_scipy() -> None:
    ours, value = mixture(B), draws(B, D, seed=3)
    parts = stats.norm.cdf(value[:, None].numpy(), ours.means.numpy(), ours.log_stds.exp().numpy())  # (B, K, D)
    expected = np.einsum("bk,bkd->bd", ours.weights.numpy(), parts)
    np.testing.assert_allclose(ours.cdf(value).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_kl_to_one_component_agrees_with_torch() -> None:
    posterior = Gaussian(draws(B, D), 0.5 * draws(B, D, seed=1))
    prior = Mixture(draws(B, 1, seed=2), draws(B, 1, D, seed=3), 0.5 * draws(B, 1, D, seed=4))
    theirs = reference.kl_divergence(
        reference.Independent(reference.Normal(posterior.mean, posterior.std), 1),
        reference.Independent(reference.Normal(prior.means[:, 0], prior.log_stds[:, 0].exp()), 1),
    )
    torch.testing.assert_close(kl_to_mixture(posterior, prior), theirs)


def test_kl_to_a_mixture_bounds_the_true_kl_from_above() -> None:
    posterior, prior = Gaussian(draws(B, D), 0.3 * draws(B, D, seed=5)), mixture(B)
    sample = posterior.sample(draws(8000, B, D, seed=6))
    estimate = posterior.log_prob(sample) - prior.log_prob(sample)
    slack = 4.0 * estimate.std(0) / math.sqrt(8000)
    assert bool((kl_to_mixture(posterior, prior) > estimate.mean(0) - slack).all())


def test_kl_pays_only_for_choosing_among_components_far_apart() -> None:
    prior = Mixture(torch.zeros(4), 100.0 * torch.arange(4.0).unsqueeze(-1), torch.zeros(4, 1))
    kl = kl_to_mixture(Gaussian(torch.tensor([200.0]), torch.zeros(1)), prior)
    torch.testing.assert_close(kl, torch.tensor(math.log(4.0)))


def test_kl_is_zero_when_the_posterior_equals_all_components() -> None:
    posterior = Gaussian(draws(B, D), draws(B, D, seed=1))
    copies = posterior.mean.unsqueeze(1).expand(B, K, D), posterior.log_std.unsqueeze(1).expand(B, K, D)
    kl = kl_to_mixture(posterior, Mixture(draws(B, K), *copies))
    torch.testing.assert_close(kl, torch.zeros(B), rtol=0.0, atol=1e-5)


def test_kl_and_log_prob_keep_finite_gradients_far_from_every_component() -> None:
    leaves = [part.requires_grad_() for part in (draws(K), draws(K, D), torch.full((K, D), -5.0))]
    prior, far = Mixture(*leaves), torch.full((D,), 50.0)
    loss = kl_to_mixture(Gaussian(far, torch.full((D,), 2.0)), prior) - prior.log_prob(far)
    assert all(bool(gradient.isfinite().all()) for gradient in torch.autograd.grad(loss, leaves))


def test_a_damped_mixture_is_the_same_and_passes_on_its_share() -> None:
    leaves = [draws(*shape).requires_grad_() for shape in ((B, K), (B, K, D), (B, K, D))]
    value = draws(B, D, seed=1)
    whole, part = (Mixture(*leaves).damped(share).log_prob(value).sum() for share in (1.0, 0.25))
    assert float(whole.detach()) == float(part.detach())
    for gradient, share in zip(torch.autograd.grad(whole, leaves), torch.autograd.grad(part, leaves), strict=True):
        torch.testing.assert_close(share, 0.25 * gradient)


@pytest.mark.parametrize(("low", "high"), [(-5.0, 2.0), (-2.0, 0.5)])
def test_a_log_std_is_squashed_between_its_bounds_by_a_tanh(low: float, high: float) -> None:
    raw = torch.tensor([-20.0, -1.0, 0.0, 0.5, 20.0])
    # (tanh + 1) / 2 of each: tanh(1) = 0.761594, tanh(0.5) = 0.462117.
    share = torch.tensor([0.0, 0.119203, 0.5, 0.731059, 1.0])
    torch.testing.assert_close(squashed_log_std(raw, low, high), low + (high - low) * share, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(squashed_log_std(raw)[[0, 4]], torch.tensor([-5.0, 2.0]))


def test_a_head_draws_and_expects_what_its_mixture_does() -> None:
    torch.manual_seed(3)
    head = MDNHead(4, 3, 5, 8, layers=1).requires_grad_(False)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    features, origin = torch.randn(6, 4), torch.randn(6, 3)
    mixture, noise = head(features, origin), MixtureNoise.draw((6,), 5, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(head.sample(features, origin, noise), mixture.sample(noise))
    torch.testing.assert_close(head.mode(features, origin), mixture.mode())
    torch.testing.assert_close(head.expectation(features, origin), mixture.mean)
    several = MixtureNoise.draw((2, 1), 5, 3, torch.Generator().manual_seed(0))  # the same two draws for all six
    drawn = head.sample(features, origin, several)
    for future in range(2):
        one = MixtureNoise(*(part[future].expand(6, -1) for part in several))
        torch.testing.assert_close(drawn[future], mixture.sample(one))


def test_head_gives_a_mixture_over_leading_axes() -> None:
    head = MDNHead(11, D, K, units=13, layers=2)
    ours = head.requires_grad_(False)(draws(B, 2, 11))
    assert (ours.logits.shape, ours.means.shape, ours.log_stds.shape) == ((B, 2, K), (B, 2, K, D), (B, 2, K, D))
    assert -5.0 < float(ours.log_stds.min()) <= float(ours.log_stds.max()) < 2.0


def forked(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """A plant that goes left or right by a coin the input does not show: y = x +- 1 + noise, right with P = 0.7."""
    x = 2.0 * torch.rand(count, 1, generator=torch.Generator().manual_seed(seed)) - 1.0
    coin = torch.rand(count, 1, generator=torch.Generator().manual_seed(seed + 1)) < 0.7
    return x, x + torch.where(coin, 1.0, -1.0) + 0.1 * draws(count, 1, seed=seed + 2)


def trained(components: int) -> MDNHead:
    torch.manual_seed(0)
    head = MDNHead(1, 1, components, units=31, layers=2)
    optimizer = torch.optim.Adam(head.parameters(), 2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    for step in range(500):
        x, y = forked(256, seed=1000 + 3 * step)
        optimizer.zero_grad()
        (-head(x).log_prob(y).mean()).backward()
        optimizer.step()
        schedule.step()
    return head.requires_grad_(False)


@pytest.fixture(scope="module")
def many() -> MDNHead:
    return trained(4)


@pytest.fixture(scope="module")
def single() -> MDNHead:
    return trained(1)


def test_mixture_beats_one_gaussian_on_a_forked_plant_by_a_nat(many: MDNHead, single: MDNHead) -> None:
    x, y = forked(4096, seed=7)
    gain = float((many(x).log_prob(y) - single(x).log_prob(y)).mean())
    # In theory: one Gaussian has std sqrt(0.84 + 0.01), so ln(0.922 / 0.1) less the coin's 0.611 nats = 1.61 nats.
    assert gain > 1.4
    assert gain < 1.7  # more than the theory allows would mean that held-out data leaked


def test_samples_fall_on_both_sides_of_the_fork_in_proportion(many: MDNHead) -> None:
    x, _ = forked(8192, seed=7)
    offset = many(x).sample(mixture_noise(8192, components=4, size=1)) - x
    assert float((offset > 0.0).float().mean()) == pytest.approx(0.7, abs=0.04)
    assert float(((offset.abs() - 1.0).abs() < 0.4).float().mean()) > 0.98


def test_probability_integral_transform_is_uniform_for_the_mixture_alone(many: MDNHead, single: MDNHead) -> None:
    x, y = forked(4096, seed=7)
    distances = [stats.kstest(head(x).cdf(y).flatten().numpy(), "uniform").statistic for head in (many, single)]
    assert distances[0] < 0.04
    assert distances[1] > 0.3

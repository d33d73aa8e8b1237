"""Mixture-density heads (Bishop 1994): a mixture of diagonal Gaussians whose parameters a network predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmctrl.model.distributions import Gaussian, damped
from wmctrl.model.nets import mlp, squashed_log_std


class MixtureNoise(NamedTuple):
    """The randomness of one draw from a mixture; zeros give the mean of the most probable component."""

    component: Tensor
    """Standard Gumbel draws (..., K): the arg max of logits plus Gumbel noise is a categorical draw (Gumbel 1954)."""
    value: Tensor
    """Standard normal draws (..., D)."""

    @classmethod
    def draw(cls, shape: Sequence[int], components: int, size: int, generator: torch.Generator) -> "MixtureNoise":
        """Draws (*shape, K) and (*shape, D) of a generator, on its device."""
        uniform = torch.rand(*shape, components, generator=generator, device=generator.device).clamp_min(1e-20)
        normal = torch.randn(*shape, size, generator=generator, device=generator.device)
        return cls(-torch.log(-torch.log(uniform)), normal)

    def at(self, step: int) -> "MixtureNoise":
        """The draws (N, ...) of one step, of (N, H, ...)."""
        return MixtureNoise(self.component[:, step], self.value[:, step])


@dataclass(frozen=True)
class Mixture:
    """Mixture of K diagonal Gaussians over a vector, joint in all its D elements."""

    logits: Tensor
    """(..., K)"""
    means: Tensor
    """(..., K, D)"""
    log_stds: Tensor
    """(..., K, D)"""

    @property
    def weights(self) -> Tensor:
        """Mixing weights (..., K), summing to one."""
        return self.logits.softmax(-1)

    @property
    def components(self) -> Gaussian:
        """All components as one batch of Gaussians (..., K, D)."""
        return Gaussian(self.means, self.log_stds)

    @property
    def mean(self) -> Tensor:
        """Expectation (..., D)."""
        return (self.weights.unsqueeze(-1) * self.means).sum(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (...,) of values (..., D): ln sum_k pi_k N(value; mean_k, std_k) (Bishop 1994, eq. 22-24)."""
        return torch.logsumexp(self.logits.log_softmax(-1) + self.components.log_prob(value.unsqueeze(-2)), -1)

    def sample(self, noise: MixtureNoise) -> Tensor:
        """One draw (..., D); reparameterised within the component, no gradient through the choice of component."""
        choice = (self.logits + noise.component).argmax(-1)
        return Gaussian(chosen(self.means, choice), chosen(self.log_stds, choice)).sample(noise.value)

    def mode(self) -> Tensor:
        """The mean of the most probable component (..., D)."""
        return chosen(self.means, self.logits.argmax(-1))

    def cdf(self, value: Tensor) -> Tensor:
        """Marginal distribution functions (..., D) at values (..., D), for the probability-integral transform."""
        z = (value.unsqueeze(-2) - self.means) * torch.exp(-self.log_stds)
        return (self.weights.unsqueeze(-1) * torch.special.ndtr(z)).sum(-2)

    def damped(self, share: float) -> "Mixture":
        """The same distribution, that passes on this share of its gradient."""
        return Mixture(*(damped(part, share) for part in (self.logits, self.means, self.log_stds)))


def component_kl(posterior: Gaussian, prior: Mixture) -> Tensor:
    """KL(posterior || prior_k) for every component k (..., K), in nats.

    ln(s_k / s) + (s^2 + (m - m_k)^2) / (2 s_k^2) - 1/2, summed over elements (Bishop 2006, exercise 2.13).
    """
    mean, log_std = posterior.mean.unsqueeze(-2), posterior.log_std.unsqueeze(-2)  # (..., 1, D)
    inverse_var = torch.exp(-2.0 * prior.log_stds)
    spread = (torch.exp(2.0 * log_std) + (mean - prior.means) ** 2) * inverse_var
    return (prior.log_stds - log_std + 0.5 * spread - 0.5).sum(-1)


def kl_to_mixture(posterior: Gaussian, prior: Mixture) -> Tensor:
    """Upper bound (...,) in nats on KL(posterior || prior), exact for one component.

    -ln sum_k pi_k exp(-KL(posterior || prior_k)) (Hershey and Olsen 2007, eq. 20, with a single Gaussian on the left).
    Unlike a one-sample estimate it has no variance, so the free nats can be applied to it.
    """
    return -torch.logsumexp(prior.logits.log_softmax(-1) - component_kl(posterior, prior), -1)


class MDNHead(nn.Module):
    """Network from features to a mixture over a vector of `size` elements.

    A linear path runs beside the network: what the features hold in proportion need not pass through its normalisation,
    which costs precision. At the start it is zero and the network's part small, so the mixture starts near its origin.

    The components' logits have a matrix of their own. As rows of the means' matrix they were not learned at all: Muon
    makes a matrix's step orthogonal as a whole, and a mean's gradient is a logit's times the distance in standard
    deviations.
    """

    def __init__(self, inputs: int, size: int, components: int, units: int, layers: int) -> None:
        super().__init__()
        self.size, self.count = size, components
        self.net = mlp(inputs, units, layers)
        width = units if layers else inputs
        self.choice = nn.Linear(width, components)
        self.places = nn.Linear(width, components * size)
        self.spreads = nn.Linear(width, components * size)
        self.skip = nn.Linear(inputs, size, bias=False)
        nn.init.zeros_(self.skip.weight)
        with torch.no_grad():
            for layer in (self.choice, self.places, self.spreads):
                layer.weight.mul_(0.1)
                layer.bias.zero_()

    def forward(self, features: Tensor, origin: Tensor | None = None) -> Mixture:
        """Mixture over (..., size) from features (..., inputs), with means relative to `origin` (..., size)."""
        hidden = self.net(features)
        logits, offsets = self._places(hidden)
        means = offsets + self._centre(features, origin).unsqueeze(-2)
        return Mixture(logits, means, squashed_log_std(self.spreads(hidden).unflatten(-1, means.shape[-2:])))

    def sample(self, features: Tensor, origin: Tensor, noise: MixtureNoise) -> Tensor:
        """One draw (..., size), as `Mixture.sample`, for which only the component that is drawn is worked out.

        The noise may have a further axis in front: (P, ...) gives P draws of every mixture.
        """
        hidden = self.net(features)
        logits, offsets = self._places(hidden)
        choice = (logits + noise.component).argmax(-1)
        mean = chosen(offsets, choice) + self._centre(features, origin)
        raw = self.spreads(hidden).unflatten(-1, offsets.shape[-2:])
        return Gaussian(mean, squashed_log_std(chosen(raw, choice))).sample(noise.value)

    def mode(self, features: Tensor, origin: Tensor | None = None) -> Tensor:
        """The mean of the most probable component (..., size), without computing how sure it is."""
        logits, offsets = self._places(self.net(features))
        return chosen(offsets, logits.argmax(-1)) + self._centre(features, origin)

    def expectation(self, features: Tensor, origin: Tensor | None = None) -> Tensor:
        """The mixture's mean (..., size), without computing how sure it is."""
        logits, offsets = self._places(self.net(features))
        return (logits.softmax(-1).unsqueeze(-1) * offsets).sum(-2) + self._centre(features, origin)

    def _places(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (..., K), and how far every mean is from the centre (..., K, size)."""
        return self.choice(hidden), self.places(hidden).unflatten(-1, (self.count, self.size))

    def _centre(self, features: Tensor, origin: Tensor | None) -> Tensor:
        """What all means are told from (..., size)."""
        return self.skip(features) if origin is None else self.skip(features) + origin


def chosen(values: Tensor, choice: Tensor) -> Tensor:
    """One component's part (..., D) of values (..., K, D), for a choice (...,) of component from 0 to K - 1.

    The choice may have further axes in front, of several choices for the same values. Whole rows are looked up, which
    ONNX Runtime copies several times faster than it gathers single elements.
    """
    *rest, K, D = values.shape
    rows = values.reshape(-1, D)
    first = torch.arange(0, len(rows), K, device=rows.device).view(rest)
    return F.embedding(first + choice, rows)

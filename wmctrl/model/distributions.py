"""What heads return: distributions that share the names `log_prob` and `mean`, and, where drawn, `sample(noise)`."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(|x| + 1): compresses large magnitudes, keeps small ones (Hafner et al. 2023)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """Inverse of `symlog` (Hafner et al. 2023)."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def damped(x: Tensor, share: float) -> Tensor:
    """`x` itself, its gradient scaled by `share`."""
    return torch.lerp(x.detach(), x, share)


@dataclass(frozen=True)
class Gaussian:
    """Diagonal Gaussian over the last axis."""

    mean: Tensor
    """(..., D)"""
    log_std: Tensor
    """(..., D)"""

    @property
    def std(self) -> Tensor:
        """(..., D)"""
        return self.log_std.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (...,) of values (..., D)."""
        z = (value - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * z * z + self.log_std + 0.5 * LOG_2PI).sum(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, for standard normal noise (..., D); reparameterised."""
        return self.mean + self.std * noise

    def damped(self, share: float) -> "Gaussian":
        """The same distribution, that passes on this share of its gradient."""
        return Gaussian(damped(self.mean, share), damped(self.log_std, share))


@dataclass(frozen=True)
class TanhGaussian:
    """Gaussian pushed through tanh: actions in (-1, 1) (Haarnoja et al. 2018, appendix C)."""

    base: Gaussian

    @property
    def mean(self) -> Tensor:
        """tanh of the base mean (..., A): the deterministic action."""
        return torch.tanh(self.base.mean)

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised action (..., A) from standard normal noise (..., A)."""
        return torch.tanh(self.base.sample(noise))

    def log_prob(self, action: Tensor) -> Tensor:
        """Log density (...,) of actions (..., A), which `entropy_at` estimates the mean of."""
        raw = torch.atanh(action.clamp(-1.0 + 1e-6, 1.0 - 1e-6))
        return self.base.log_prob(raw) - _tanh_log_slope(raw).sum(-1)

    def entropy_at(self, noise: Tensor) -> Tensor:
        """One-sample estimate (...,) of the entropy, which has no closed form, at the action `sample(noise)`."""
        raw = self.base.sample(noise)
        return _tanh_log_slope(raw).sum(-1) - self.base.log_prob(raw)


def _tanh_log_slope(raw: Tensor) -> Tensor:
    """ln(1 - tanh(x)^2) without the cancellation: 2 (ln 2 - x - softplus(-2x))."""
    return 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))


@dataclass(frozen=True)
class Bernoulli:
    """Probability of a yes, from a logit."""

    logit: Tensor
    """(...,)"""

    @property
    def mean(self) -> Tensor:
        """P(yes) (...,)."""
        return torch.sigmoid(self.logit)

    def log_prob(self, value: Tensor) -> Tensor:
        """value ln p + (1 - value) ln(1 - p), for values in [0, 1] (...,)."""
        return -F.binary_cross_entropy_with_logits(self.logit, value, reduction="none")


@dataclass(frozen=True)
class TwoHot:
    """A real number as a categorical over bins that are even in symlog space (Hafner et al. 2023, arXiv version 1)."""

    logits: Tensor
    """(..., bins)"""
    bins: Tensor
    """Bin positions in symlog space, even and increasing (bins,)."""

    @property
    def mean(self) -> Tensor:
        """symexp of the expected bin (...,), so that a uniform start predicts zero."""
        return symexp((self.logits.softmax(-1) * self.bins).sum(-1))

    def log_prob(self, value: Tensor) -> Tensor:
        """Cross-entropy score (...,) of values (...,) spread over their two neighbouring bins."""
        return (self.encode(value) * self.logits.log_softmax(-1)).sum(-1)

    def encode(self, value: Tensor) -> Tensor:
        """Two-hot target (..., bins) of values (...,); values beyond the outer bins take the outer bin."""
        low, high = self.bins[0], self.bins[-1]
        width = (high - low) / (self.bins.numel() - 1)  # bins[1] - bins[0] is too coarse: its rounding adds up
        position = (symlog(value).clamp(low, high) - low) / width
        index = torch.arange(self.bins.numel(), dtype=position.dtype, device=position.device)
        # The hat function of width one around `position`: 1 - |position - index| where that is positive.
        return torch.relu(1.0 - (position.unsqueeze(-1) - index).abs())

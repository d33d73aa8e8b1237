"""Sampling planners as pure functions: an explicit plan and explicit noise in, a better plan and its health out."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wmctrl.limits import require_at_least, require_positive, require_share


class Worth(NamedTuple):
    """What action sequences are worth."""

    returns: Tensor
    """(N,)"""
    failure: Tensor
    """Probability that the plant fails on the way (N,)."""


Objective = Callable[[Tensor], Worth]
"""Worth of action sequences (N, H, A): through a model, a simulator or a test's closed form."""

BOUND = 1e6
"""Returns larger than this in magnitude come from a model that has broken down; they count as not finite."""
FORBIDDEN = BOUND / 2.0
"""Plans that are too likely to fail score below minus this, the likelier the lower; no plan earns as little."""


class Plan(NamedTuple):
    """A distribution over action sequences, and the best ones found so far."""

    mean: Tensor
    """(H, A)"""
    std: Tensor
    """(H, A)"""
    elites: Tensor
    """The best candidates of the last iteration, best first (E, H, A)."""


class Limits(NamedTuple):
    """What plans may ask of the plant."""

    low: Tensor
    """Least of every action (A,), within [-1, 1]."""
    high: Tensor
    """Largest of every action (A,), within [-1, 1]."""
    rate: Tensor
    """Largest change of every action from one step to the next (A,)."""
    previous: Tensor
    """The action before the first (A,)."""
    failure: Tensor
    """Largest probability of failing on the way, a scalar."""

    def reachable(self, actions: Tensor) -> Tensor:
        """Action sequences (N, H, A), each step held to what can be reached from the one before."""
        last, held = self.previous, []
        for step in actions.unbind(1):
            step = torch.minimum(torch.maximum(step, last - self.rate), last + self.rate)
            last = torch.minimum(torch.maximum(step, self.low), self.high)
            held.append(last)
        return torch.stack(held, 1)


class Health(NamedTuple):
    """How much the last iteration can be trusted; scalars."""

    best: Tensor
    """Return of the best candidate."""
    worst_elite: Tensor
    """Return of the worst elite."""
    finite: Tensor
    """Fraction of the candidates whose return is finite."""
    spread: Tensor
    """Mean std of the refitted plan."""
    failure: Tensor
    """Probability of failing on the way, mean of the elites."""


@dataclass(frozen=True)
class Planner:
    """Sample around the plan, score, refit. CEM, iCEM and MPPI are this one loop with three settings, given below."""

    horizon: int = 10
    """Actions in a plan, H."""
    samples: int = 64
    """Candidates drawn in an iteration, N."""
    iterations: int = 3
    """Refits before an action is taken."""
    elites: int = 8
    """Best candidates a refit uses, E."""
    kept: int = 4
    """Elites of the last iteration, or of the last step, that are tried again."""
    init_std: float = 0.5
    """Std of a fresh plan, in the action's range [-1, 1]."""
    min_std: float = 0.05
    """The search never narrows below this."""
    reopening: float = 1.0
    """Share of the gap to `init_std` that std closes after a control step, once for each iteration of that step.

    1 begins anew with every step. Measured on parking-v0, 96 samples, one iteration a step, 50 drives: the return is
    -9.26 then, and -8.41 with 0.3.
    """
    momentum: float = 0.1
    """Weight of the old mean and std in a refit."""
    temperature: float = math.inf
    """Elites weigh exp((R - R_best) / (temperature * range of R)); infinite weighs them all the same."""
    noise_exponent: float = 2.0
    """Colour of the noise along the horizon: 0 is white, 2 wanders slowly."""

    def __post_init__(self) -> None:
        require_at_least(self, horizon=1, samples=1, iterations=1, elites=1, kept=0, min_std=0, noise_exponent=0)
        require_positive(self, "temperature", "init_std")
        require_share(self, "reopening")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, came {self.momentum:g}")
        if self.kept > self.elites:
            raise ValueError(f"kept must be at most elites ({self.elites}), came {self.kept}")

    def initial(self, like: Tensor) -> Plan:
        """The plan before anything is known: zeros. `like` is any action (A,) of the wanted type and device."""
        H, A, E = self.horizon, like.shape[-1], self.elites
        return Plan(like.new_zeros(H, A), like.new_full((H, A), self.init_std), like.new_zeros(E, H, A))

    def shift(self, plan: Plan, std: float | None = None) -> Plan:
        """The plan one step later: every action moves up, the last is held, and the search opens up again.

        Args:
            std: What it opens up to, instead of `init_std`.
        """
        opened = 1.0 - (1.0 - self.reopening) ** self.iterations
        kept = torch.cat([plan.std[1:], plan.std[-1:]])
        return Plan(
            torch.cat([plan.mean[1:], plan.mean[-1:]]),
            opened * torch.full_like(kept, std or self.init_std) + (1.0 - opened) * kept,
            torch.cat([plan.elites[:, 1:], plan.elites[:, -1:]], 1),
        )

    def refine(
        self,
        plan: Plan,
        objective: Objective,
        noise: Tensor,
        proposals: Tensor | None = None,
        limits: Limits | None = None,
    ) -> tuple[Plan, Health]:
        """One iteration: sample, score, refit.

        Args:
            noise: Draws of zero mean and unit variance (N, H, A), white or coloured.
            proposals: Action sequences to try beside the samples (P, H, A), such as a policy's.
            limits: What every candidate is held to; None is the whole range, at any rate and risk.
        """
        candidates = [plan.mean + plan.std * noise, plan.mean.unsqueeze(0), plan.elites[: self.kept]]
        candidates += [] if proposals is None else [proposals]
        actions = torch.cat(candidates)
        actions = actions.clamp(-1.0, 1.0) if limits is None else limits.reachable(actions)
        if len(actions) < self.elites:
            raise ValueError(f"elites must be at most the number of candidates ({len(actions)}), is {self.elites}")
        returns, failure = objective(actions)
        failure = failure.clamp(max=1.0)  # which sums of probabilities exceed by rounding
        finite = (returns.abs() < BOUND) & (failure <= 1.0)  # NaN fails the comparison too
        allowed = finite if limits is None else finite & (failure <= limits.failure)
        returns = torch.where(allowed, returns, -FORBIDDEN * (1.0 + failure))
        scores, index = torch.where(finite, returns, -BOUND).topk(self.elites)
        # Where all are too likely to fail, those that are least so are followed; otherwise none of them.
        sound = (finite & (allowed | ~allowed.any())).index_select(0, index)
        # Where fewer than E are sound, the plan's mean stands in: an action that is NaN would survive a zero weight.
        elites = torch.where(sound[:, None, None], actions.index_select(0, index), plan.mean)  # (E, H, A)
        weights = self._weights(scores, sound)
        total = weights.sum()
        shares = weights / total.clamp_min(1e-9)
        risk = (shares * torch.where(sound, failure.index_select(0, index), 0.0)).sum()
        shares = shares[:, None, None]
        mean = (shares * elites).sum(0)
        std = (shares * (elites - mean) ** 2).sum(0).sqrt().clamp_min(self.min_std)
        refit = Plan(torch.lerp(mean, plan.mean, self.momentum), torch.lerp(std, plan.std, self.momentum), elites)
        # Where no candidate is finite there is nothing to learn from: the plan stays as it was.
        chosen = Plan(*(torch.where(total > 0.0, new, old) for new, old in zip(refit, plan, strict=True)))
        return chosen, Health(scores[0], scores[-1], finite.to(returns.dtype).mean(), chosen.std.mean(), risk)

    def _weights(self, scores: Tensor, sound: Tensor) -> Tensor:
        """Unnormalised weight (E,) of each elite from its return (E,), best first; zero where it is not `sound`."""
        span = (scores[0] - torch.where(sound, scores, scores[0]).min()).clamp_min(1e-6)
        return sound * torch.exp((scores - scores[0]) / (self.temperature * span))


CEM = Planner(samples=256, iterations=4, elites=24, kept=0, noise_exponent=0.0)
"""Cross-entropy method (Rubinstein and Kroese 2004)."""

ICEM = Planner(samples=256, iterations=4, elites=24, kept=8)
"""Improved CEM (Pinneri et al. 2020): coloured noise, elites kept between iterations and between steps."""

MPPI = Planner(samples=256, iterations=4, elites=24, kept=0, noise_exponent=0.0, temperature=0.5)
"""Path integral control (Williams et al. 2017) as Hansen et al. 2022 plan: over elites, whose std is refitted."""

"""Recurrent state-space model (Hafner et al. 2019) with a Gaussian-mixture prior."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmctrl.model.distributions import Gaussian
from wmctrl.model.mdn import MDNHead, Mixture, MixtureNoise, chosen, component_kl
from wmctrl.model.nets import squashed_log_std


class Belief(NamedTuple):
    """What the controller knows of the plant: a deterministic memory and a stochastic guess."""

    deter: Tensor
    """(..., D)"""
    stoch: Tensor
    """(..., S)"""

    @property
    def features(self) -> Tensor:
        """Both parts side by side (..., D + S), the input of every head."""
        return torch.cat([self.deter, self.stoch], -1)


class Rollout(NamedTuple):
    """Beliefs along an observed sequence, with what was believed before and after each observation."""

    belief: Belief
    """(B, T, D) and (B, T, S)"""
    posterior: Gaussian
    """(B, T, S)"""
    prior: Mixture
    """(B, T, K, S)"""


class RSSM(nn.Module):
    """h' = GRU(h, [z, a]); prior p(z' | h', z) is a mixture around z; posterior q(z' | h', embedding) one Gaussian.

    The prior predicts the change of the stochastic state, since plants move little in one control period.
    """

    reluctance: Tensor
    """Bias of the gates: slow to overwrite (3 * D,)."""

    def __init__(self, action: int, embedding: int, deter: int, stoch: int, components: int, units: int) -> None:
        super().__init__()
        self.deter, self.stoch, self.components = deter, stoch, components
        self.input_stoch = nn.Linear(stoch, units, bias=False)
        self.input_action = nn.Linear(action, units)  # the bias lets the normalisation see the size of its inputs
        self.input_norm = nn.LayerNorm(units)
        self.gates = nn.Linear(units + deter, 3 * deter, bias=False)
        self.gates_norm = nn.LayerNorm(3 * deter)
        self.register_buffer("reluctance", torch.tensor([0.0, 0.0, -1.0]).repeat_interleave(deter), persistent=False)
        self.prior_head = MDNHead(deter + units + stoch + action, stoch, components, units, layers=1)
        self.posterior_deter = nn.Linear(deter, units, bias=False)
        self.posterior_embedding = nn.Linear(embedding, units)
        self.posterior_norm = nn.LayerNorm(units)
        self.posterior_out = nn.Linear(units, 2 * stoch)
        self.posterior_skip = nn.Linear(embedding, stoch, bias=False)
        nn.init.zeros_(self.posterior_skip.weight)
        with torch.no_grad():
            self.posterior_out.weight.mul_(0.1)

    def initial(self, *batch: int) -> Belief:
        """The belief before anything was observed: zeros."""
        weight = self.input_stoch.weight
        return Belief(weight.new_zeros(*batch, self.deter), weight.new_zeros(*batch, self.stoch))

    def observe(self, belief: Belief, action: Tensor, embedding: Tensor, noise: Tensor) -> Belief:
        """Belief after the plant answered `action` (..., A) with an observation embedded as (..., E).

        Args:
            noise: Standard normal draws (..., S); zeros take the posterior's mean.
        """
        deter, _ = self._remember(belief, self.input_action(action))
        posterior = self._posterior(deter, self.posterior_embedding(embedding), self.posterior_skip(embedding))
        return Belief(deter, posterior.sample(noise))

    def imagine(self, belief: Belief, action: Tensor, noise: MixtureNoise | None) -> Belief:
        """Belief after `action` (..., A) when nothing is observed: one draw from the prior.

        Args:
            noise: The draw's randomness; None takes the mean of the most probable component.
        """
        return self._imagine(belief, action, self.input_action(action), noise)

    def extrapolate(self, belief: Belief, action: Tensor, noise: MixtureNoise | None) -> list[Belief]:
        """`imagine` along N sequences of actions, in each of P futures: the beliefs (P * N, ...) after every step.

        Up to its draw the first step is the same in all futures, and is computed once.

        Args:
            belief: Where all of them start (D,), (S,).
            action: (N, H, A)
            noise: Draws of every future, the same for all sequences (P, H, K), (P, H, S); None for a single future, the
                most probable.
        """
        N, H, _ = action.shape
        P = 1 if noise is None else len(noise.value)
        actions, projected = action.unbind(1), self.input_action(action).unbind(1)
        start = Belief(*(part.expand(N, -1) for part in belief))
        first = None if noise is None else MixtureNoise(*(part[:, :1] for part in noise))
        drawn = self._imagine(start, actions[0], projected[0], first)
        beliefs = [Belief(*(part.flatten(0, -2) for part in drawn))]
        for t in range(1, H):
            a, p = actions[t], projected[t]
            if P > 1:
                a, p = (part.expand(P, N, -1).flatten(0, 1) for part in (a, p))
            draws = None
            if noise is not None:
                draws = MixtureNoise(*(part[:, t, None].expand(P, N, -1).flatten(0, 1) for part in noise))
            beliefs.append(self._imagine(beliefs[-1], a, p, draws))
        return beliefs

    def follow(self, belief: Belief, action: Tensor, embedding: Tensor, is_first: Tensor, noise: Tensor) -> Rollout:
        """`observe` along sequences, forgetting everything where an episode starts.

        Only what depends on the belief is inside the loop; projections of actions and embeddings, and the prior, are
        computed for all steps at once.

        Args:
            belief: Before the first step (B, D), (B, S).
            action: The action that led to each observation (B, T, A).
            embedding: (B, T, E)
            is_first: 1 where an episode starts (B, T).
            noise: Standard normal draws (B, T, S).
        """
        keep = (1.0 - is_first).unsqueeze(-1)  # (B, T, 1)
        actions = self.input_action(action * keep).unbind(1)
        embeddings = self.posterior_embedding(embedding).unbind(1)
        skips = self.posterior_skip(embedding).unbind(1)
        deters, means, log_stds, stochs, origins, inputs = [], [], [], [], [], []
        for a, e, s, k, n in zip(actions, embeddings, skips, keep.unbind(1), noise.unbind(1), strict=True):
            origins.append(belief.stoch * k)
            deter, entered = self._remember(Belief(belief.deter * k, origins[-1]), a)
            inputs.append(entered)
            posterior = self._posterior(deter, e, s)
            belief = Belief(deter, posterior.sample(n))
            deters.append(deter)
            stochs.append(belief.stoch)
            means.append(posterior.mean)
            log_stds.append(posterior.log_std)
        beliefs = Belief(torch.stack(deters, 1), torch.stack(stochs, 1))
        posterior = Gaussian(torch.stack(means, 1), torch.stack(log_stds, 1))
        origin = torch.stack(origins, 1)
        cause = _cause(beliefs.deter, torch.stack(inputs, 1), origin, action * keep)
        return Rollout(beliefs, posterior, self.prior_head(cause, origin))

    def forecast(self, belief: Belief, action: Tensor, posterior: Gaussian) -> tuple[Belief, Mixture]:
        """`imagine` along sequences without looking, taking at each step the component that what came after favours.

        Following the branch that was really taken trains long predictions without averaging over branches.

        Args:
            belief: Before the first step (B, D), (B, S).
            action: The action that led to each step (B, H, A).
            posterior: What was believed after looking (B, H, S), only to choose components.
        """
        beliefs, logits, means, log_stds = [], [], [], []
        for t, a in enumerate(self.input_action(action).unbind(1)):
            deter, entered = self._remember(belief, a)
            prior = self.prior_head(_cause(deter, entered, belief.stoch, action[:, t]), belief.stoch)
            truth = Gaussian(posterior.mean[:, t], posterior.log_std[:, t])
            choice = (prior.logits.log_softmax(-1) - component_kl(truth, prior)).argmax(-1)
            belief = Belief(deter, chosen(prior.means, choice))
            beliefs.append(belief)
            logits.append(prior.logits)
            means.append(prior.means)
            log_stds.append(prior.log_stds)
        stacked = Belief(*(torch.stack(part, 1) for part in zip(*beliefs, strict=True)))
        return stacked, Mixture(torch.stack(logits, 1), torch.stack(means, 1), torch.stack(log_stds, 1))

    def _imagine(self, belief: Belief, action: Tensor, projected: Tensor, noise: MixtureNoise | None) -> Belief:
        """`imagine`, given the action's projection; draws may have a further axis in front, of several futures."""
        deter, entered = self._remember(belief, projected)
        cause = _cause(deter, entered, belief.stoch, action)
        if noise is None:
            return Belief(deter, self.prior_head.mode(cause, belief.stoch))
        stoch = self.prior_head.sample(cause, belief.stoch, noise)
        return Belief(deter.expand(*stoch.shape[:-1], -1), stoch)

    def _remember(self, belief: Belief, projected_action: Tensor) -> tuple[Tensor, Tensor]:
        """The deterministic step (..., D): a GRU with a normalised gate layer, slow to overwrite (update's bias -1).

        Also what entered it (..., units).
        """
        x = F.silu(self.input_norm(self.input_stoch(belief.stoch) + projected_action))
        gates, norm = self.gates(torch.cat([x, belief.deter], -1)), self.gates_norm
        # The update's bias enters that of the norm, or it would be another pass over what a board computes.
        gates = F.layer_norm(gates, norm.normalized_shape, norm.weight, norm.bias + self.reluctance, norm.eps)
        reset, candidate, update = gates.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        deter = torch.lerp(belief.deter, candidate, torch.sigmoid(update))
        return deter, x

    def _posterior(self, deter: Tensor, projected_embedding: Tensor, skip: Tensor) -> Gaussian:
        """q(z | h, embedding) over (..., S), its mean relative to `skip`."""
        x = F.silu(self.posterior_norm(self.posterior_deter(deter) + projected_embedding))
        mean, raw = self.posterior_out(x).chunk(2, -1)
        return Gaussian(mean + skip, squashed_log_std(raw))


def _cause(deter: Tensor, entered: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
    """What the next stochastic state is predicted from (..., D + units + S + A).

    The new memory beside what entered it, since a memory that is slow to overwrite would blur the last state and
    action; and these two as they are, since normalisation hides the proportions that much of mechanics is.
    """
    return torch.cat([deter, entered, stoch, action], -1)

"""The planner's objective through the world model: what an action sequence is imagined to earn, and to risk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import WorldModel
from wmctrl.planning.objective import (
    GoalCost,
    ObjectiveConfig,
    Scalar,
    Weights,
    absorb,
    arrival_reward,
    conditional_value_at_risk,
    counts,
)
from wmctrl.planning.planner import Worth

Critic = Callable[[Tensor], Tensor]
"""Expected discounted return (...,) from features beside the goal (..., D + S + G)."""


class Arrival(NamedTuple):
    """What imagined arrivals bring."""

    reward: Tensor
    """Of a failure, at most what failing pays (...,)."""
    proceed: Tensor
    """Probability that the episode does not end there (...,), at most 1 - failure."""
    failure: Tensor
    """Probability that the plant fails there (...,)."""


@dataclass(frozen=True)
class Pay:
    """What an arrival pays, from the parts that are switched on; the planner and the critic are paid alike."""

    weights: Weights
    failed: Scalar
    """Reward per step of a failed plant, in the currency of the reward that is weighed."""
    goal_cost: GoalCost | None = None

    @classmethod
    def of(cls, config: ObjectiveConfig, failure_reward: Scalar, goal_cost: GoalCost | None = None) -> "Pay":
        """What settings say, and a failed plant's reward per step in the task's units."""
        return cls(config.weights, config.scale * failure_reward, goal_cost)

    def arrival(self, model: WorldModel, features: Tensor, goal: Tensor | None) -> Arrival:
        """What arrivals with features (..., D + S) bring, for goals (..., G), or one (G,), in the task's units."""
        w = self.weights
        rewards, proceed, failure = model.prospects(features, goal, rewarded=counts(w.reward))
        reward = torch.zeros_like(failure) if rewards is None else w.reward * rewards.mean
        if self.goal_cost is not None and goal is not None and self._sensed():
            proprio = model.decode_proprio(features)
            cost = self.goal_cost(proprio, goal)
            reward = reward - w.goal * cost
            proceed = proceed * self.goal_cost.missed(cost)
            if counts(w.approach):
                reward = reward - w.approach * self.goal_cost.apart(proprio)
        return Arrival(arrival_reward(reward, failure, self.failed), proceed, failure)

    def _sensed(self) -> bool:
        """Whether anything is paid by what is sensed."""
        ends = self.goal_cost is not None and self.goal_cost.ends
        return ends or counts(self.weights.goal) or counts(self.weights.approach)


@dataclass(frozen=True)
class ImaginedReturn:
    """The planner's objective: (N, H, A) action sequences to (N,) returns imagined from one belief."""

    model: WorldModel
    pay: Pay
    belief: Belief
    """Where the plan starts (D,), (S,)."""
    previous_action: Tensor
    """The last action sent (A,)."""
    noise: MixtureNoise | None
    """One draw per particle and step (P, H, K), (P, H, S), shared by all candidates so that they compare fairly.

    None follows the most probable future, for a single particle.
    """
    discount: float
    goal: Tensor | None = None
    """(G,) in the task's units."""
    critic: Critic | None = None

    def __call__(self, actions: Tensor) -> Worth:
        """Worth of action sequences (N, H, A)."""
        w, N = self.pay.weights, len(actions)
        beliefs = self.model.rssm.extrapolate(self.belief, actions, self.noise)
        returns, failure = self._value(beliefs)
        if counts(w.disagreement):
            returns = returns - w.disagreement * self._strangeness(beliefs, actions)
        worth = conditional_value_at_risk(returns.view(-1, N).mT, w.risk)
        return Worth(worth - w.action_rate * self._action_change(actions), failure.view(-1, N).mean(0))

    def _strangeness(self, beliefs: list[Belief], actions: Tensor) -> Tensor:
        """Disagreement about every step of action sequences (N, H, A) in futures (M, ...) of theirs, summed (M,)."""
        M = len(beliefs[0].stoch)
        start = Belief(*(part.expand(M, -1) for part in self.belief))
        taken = actions.transpose(0, 1).unsqueeze(1).expand(-1, M // len(actions), -1, -1).flatten(0, 2)
        features = joined([start, *beliefs[:-1]]).features
        return self.model.ensemble.disagreement(features, taken).view(-1, M).sum(0)

    def _value(self, beliefs: list[Belief]) -> Worth:
        """Discounted worth of futures with a belief (M, ...) after each of H steps."""
        w, H = self.pay.weights, len(beliefs)
        features = joined(beliefs).features  # (H * M, D + S): one after another, which is a copy of whole blocks
        arrival = self.pay.arrival(self.model, features, self.goal)
        reward, proceed, failure = (part.view(H, -1).mT for part in arrival)  # (M, H)
        reward, alive, failed = absorb(reward, proceed, failure, self.pay.failed)
        weights = self.discount ** torch.arange(H, dtype=features.dtype, device=features.device)
        weights = torch.cat([weights[:-1], weights[-1:] * w.terminal])
        returns = (weights * reward).sum(-1) - w.failure * failed
        if counts(w.value) and self.critic is not None:
            critic = self.critic(self.model.with_goal(beliefs[-1].features, self.goal))
            after = alive * critic + failed * self.pay.failed / (1.0 - self.discount)
            returns = returns + w.value * self.discount**H * after
        return Worth(returns, failed)

    def _action_change(self, actions: Tensor) -> Tensor:
        """Summed squared change (N,) along sequences (N, H, A), the step from the last action sent included."""
        first = self.previous_action.expand(actions.shape[0], 1, -1)
        return (torch.diff(actions, dim=1, prepend=first) ** 2).sum((1, 2))


def joined(beliefs: list[Belief]) -> Belief:
    """Beliefs (M, ...) of several steps one after another (H * M, ...)."""
    deter, stoch = (torch.cat(parts) for parts in zip(*beliefs, strict=True))
    return Belief(deter, stoch)

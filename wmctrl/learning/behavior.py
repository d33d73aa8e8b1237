"""Actor and critic, trained on futures the world model imagines."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wmctrl.learning.imagination import Pay
from wmctrl.limits import require_at_least, require_share
from wmctrl.model.distributions import Gaussian, TanhGaussian
from wmctrl.model.heads import TwoHotHead
from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.nets import mlp, squashed_log_std
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import WorldModel
from wmctrl.planning.objective import Scalar

MAX_LOG_STD = 0.5
"""Upper bound of the actor's log std."""


@dataclass(frozen=True)
class BehaviorConfig:
    """Sizes and schedule of actor and critic."""

    units: int = 128
    """Width of actor and critic."""
    layers: int = 2
    """Hidden layers of actor and critic."""
    horizon: int = 10
    """Imagined steps."""
    stochastic: bool = False
    """Draw every imagined arrival from the model, instead of following the most probable one.

    In the most probable future a gait on the edge of falling looks as good as a steady one; on plants that can fail,
    drawn futures can look more dangerous than they are.
    """
    starts: int = 128
    """Beliefs of a batch that imagination starts from."""
    discount: float = 0.97
    """Of the next step's return."""
    trace: float = 0.95
    """Lambda of the lambda-return (Sutton and Barto 2018, eq. 12.2)."""
    entropy: float = 1e-3
    """Price of certainty: weight of the actor's entropy in units of the normalised return."""
    updates: int = 1
    """Updates of actor and critic, each from other starts, for one of the world model."""
    slow_rate: float = 0.02
    """Share of the critic that enters its slow copy at each update."""
    average_rate: float = 0.01
    """Share of the actor that enters its running average, which drives, at each update."""
    min_log_std: float = -3.0
    """Lower bound of the actor's log std."""
    disagreement: float = 0.0
    """Price of leaving the data in imagination: per step, for one unit of the ensemble's spread.

    Measured on a cheetah's model after 26,000 steps, nothing new being gathered: a policy that earned 5,458 earned
    2,418 to 5,359 after 4,000 to 7,000 more updates, while imagination saw no change; at a price of 5 or 10 it earned
    5,375 to 5,715 after 3,000 to 5,500.
    """

    def __post_init__(self) -> None:
        if not 0.0 < self.discount < 1.0:
            raise ValueError(f"discount must be between 0 and 1, both excluded, came {self.discount:g}")
        require_at_least(self, layers=1, units=1, horizon=1, starts=1, disagreement=0, entropy=0)
        require_share(self, "slow_rate", "average_rate")
        if not (0.0 <= self.trace <= 1.0 and self.min_log_std < MAX_LOG_STD):
            raise ValueError(
                f"trace must be from 0 to 1 and min_log_std below {MAX_LOG_STD:g}, came {self.trace:g} and"
                f" {self.min_log_std:g}"
            )
        if self.updates < 1:
            raise ValueError(f"updates must be at least 1, or set agent.learn_behavior=false, came {self.updates}")


class Imagination(NamedTuple):
    """What the actor lives through in the model, index t being the arrival after action t."""

    before: Tensor
    """Features beside the goal where each action is chosen (N, H, D + S + G)."""
    after: Tensor
    """The same on each arrival (N, H, D + S + G)."""
    reward: Tensor
    """(N, H)"""
    proceed: Tensor
    """Probability of not ending on arrival (N, H)."""
    failure: Tensor
    """Probability of failing on arrival (N, H)."""
    entropy: Tensor
    """One-sample entropy of every action (N, H)."""


class BehaviorLosses(NamedTuple):
    """What an update of actor and critic descends; neither depends on the other's parameters."""

    actor: Tensor
    """Scalar."""
    critic: Tensor
    """Scalar."""
    spread: Tensor
    """The running range of returns from now on, a scalar."""
    figures: dict[str, Tensor]
    """For the log."""


def lambda_returns(
    reward: Tensor, proceed: Tensor, value: Tensor, ending: Tensor, discount: float, trace: float
) -> Tensor:
    """R_t = r_t + discount (c_t ((1 - trace) v_t + trace R_t+1) + e_t), with R_H = v_H (Hafner et al. 2023).

    Args:
        reward: On each arrival (N, H).
        proceed: Probability c_t that an arrival does not end the episode (N, H).
        value: Critic at each arrival (N, H).
        ending: Value of what follows an ending, weighted by its probability (N, H).

    Returns:
        (N, H): the return from before each arrival.
    """
    result = value[:, -1]
    results = []
    for t in reversed(range(reward.shape[1])):
        result = reward[:, t] + discount * (
            proceed[:, t] * ((1.0 - trace) * value[:, t] + trace * result) + ending[:, t]
        )
        results.append(result)
    return torch.stack(results[::-1], 1)


def quantile(ordered: Tensor, share: float) -> Tensor:
    """`torch.quantile` of values in order (n,), in operators that graphs have: linear between the two nearest."""
    rank = np.float32(share) * np.float32(len(ordered) - 1)
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], float(rank - np.float32(below)))


class Actor(nn.Module):
    """The reactive policy: features beside the goal to a squashed Gaussian over actions."""

    def __init__(self, inputs: int, action: int, config: BehaviorConfig) -> None:
        super().__init__()
        self.min_log_std = config.min_log_std
        self.net = mlp(inputs, config.units, config.layers, 2 * action, zero_last=True)

    def forward(self, inputs: Tensor) -> TanhGaussian:
        """Distribution over (..., A) from (..., D + S + G)."""
        mean, raw = self.net(inputs).chunk(2, -1)
        return TanhGaussian(Gaussian(mean, squashed_log_std(raw, self.min_log_std, MAX_LOG_STD)))


def proposed(model: WorldModel, actor: Actor, belief: Belief, goal: Tensor | None, noise: Tensor) -> Tensor:
    """Action sequences (P, H, A) of an actor followed through the model's most probable future.

    Args:
        belief: Where all of them start (D,), (S,).
        goal: (G,) in the task's units.
        noise: Standard normal draws (P, H, A).
    """
    P = noise.shape[0]
    belief = Belief(*(part.expand(P, -1) for part in belief))
    goals = None if goal is None else goal.expand(P, -1)
    actions = []
    for step in noise.unbind(1):
        actions.append(actor(model.with_goal(belief.features, goals)).sample(step))
        belief = model.rssm.imagine(belief, actions[-1], noise=None)
    return torch.stack(actions, 1)


class Behavior(nn.Module):
    """Actor and critic, and their slow copies."""

    spread: Tensor

    def __init__(self, inputs: int, action: int, config: BehaviorConfig) -> None:
        super().__init__()
        self.config = config
        self.actor = Actor(inputs, action, config)
        self.slow_actor = copy.deepcopy(self.actor).requires_grad_(False)
        """Running average of the actor's weights (Polyak and Juditsky 1992): it drives, and proposes to the planner."""
        self.critic = TwoHotHead(inputs, config.units, config.layers)
        self.slow_critic = TwoHotHead(inputs, config.units, config.layers)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.slow_critic.requires_grad_(False)
        self.register_buffer("spread", torch.ones(()))
        """Running 5-95 percentile range of returns, the unit of the actor's loss (Hafner et al. 2023)."""

    def imagine(
        self,
        model: WorldModel,
        pay: Pay,
        belief: Belief,
        goal: Tensor | None,
        noise: Tensor,
        futures: MixtureNoise | None,
    ) -> Imagination:
        """Follow the actor through the model; differentiable in the actions.

        Args:
            belief: Starts (N, D), (N, S).
            goal: (N, G) in the task's units.
            noise: Standard normal draws (N, H, A), for the actions.
            futures: Draws (N, H, K), (N, H, S), for the arrivals; None follows the most probable future.
        """
        features = [belief.features]
        actions, entropies = [], []
        for t, step in enumerate(noise.unbind(1)):
            policy = self.actor(model.with_goal(features[-1], goal))
            entropies.append(policy.entropy_at(step))
            actions.append(policy.sample(step))
            belief = model.rssm.imagine(belief, actions[-1], None if futures is None else futures.at(t))
            features.append(belief.features)
        goals = None if goal is None else goal.unsqueeze(1).expand(-1, noise.shape[1], -1)
        # Two stacks rather than slices of one: a linear layer is several times slower on a slice.
        before, after = (torch.stack(part, 1) for part in (features[:-1], features[1:]))
        arrival = pay.arrival(model, after, goals)
        if self.config.disagreement:
            strangeness = model.ensemble.disagreement(before.flatten(0, 1), torch.stack(actions, 1).flatten(0, 1))
            reward = arrival.reward - self.config.disagreement * strangeness.view_as(arrival.reward)
            arrival = arrival._replace(reward=reward)
        before, after = model.with_goal(before, goals), model.with_goal(after, goals)
        return Imagination(before, after, *arrival, torch.stack(entropies, 1))

    def losses(self, imagined: Imagination, failure_reward: Scalar) -> BehaviorLosses:
        """Losses of actor and critic; what they tell of the spread is to be kept."""
        c = self.config
        value = self.slow_critic(imagined.after).mean
        ending = imagined.failure * failure_reward / (1.0 - c.discount)
        returns = lambda_returns(imagined.reward, imagined.proceed, value, ending, c.discount, c.trace)  # (N, H)
        reached = torch.cumprod(imagined.proceed.detach(), -1)
        reached = torch.cat([torch.ones_like(reached[:, :1]), reached[:, :-1]], -1)
        ordered = returns.detach().flatten().sort().values
        spread = torch.lerp(self.spread, quantile(ordered, 0.95) - quantile(ordered, 0.05), 0.01)
        actor = -(reached * (returns / spread.clamp_min(1.0) + c.entropy * imagined.entropy)).mean()
        critic = -(reached * self.critic(imagined.before.detach()).log_prob(returns.detach())).mean()
        figures = {"imagined": returns.mean().detach(), "entropy": imagined.entropy.mean().detach()}
        return BehaviorLosses(actor, critic, spread, figures)

    @torch.no_grad()
    def follow_slowly(self) -> None:
        """Move the slow copies a little towards actor and critic."""
        for copied, learned, rate in (
            (self.slow_actor, self.actor, self.config.average_rate),
            (self.slow_critic, self.critic, self.config.slow_rate),
        ):
            for slow, fast in zip(copied.parameters(), learned.parameters(), strict=True):
                slow.lerp_(fast, rate)

"""What a plan is worth, as parts that are switched and weighted at run time."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wmctrl.limits import require_at_least


@dataclass(frozen=True)
class GoalCost:
    """cost = (sum_i w_i |achieved_i - goal_i|^order)^power over decoded proprioception, as in the task's reward."""

    achieved: tuple[int, ...]
    """Indices into proprioception, in the goal's order."""
    weights: tuple[float, ...]
    order: float
    power: float
    ends_below: float | None = None
    """The episode ends, in success, at a cost below this; None where reaching the goal ends nothing."""
    doubt: float = 0.0
    """How far imagined costs may be wrong there, as a share of `ends_below`."""
    way: tuple[int, ...] = ()
    """Indices into proprioception of the way from hand to object; empty where the hand itself has the goal."""
    reach: float = 0.0
    """Length of that way below which the hand is at the object."""

    @property
    def ends(self) -> bool:
        """Whether reaching the goal ends the episode."""
        return self.ends_below is not None

    def __call__(self, proprio: Tensor, goal: Tensor) -> Tensor:
        """Cost (...,) of proprioception (..., O) against goals (..., G), both in the task's units."""
        index = torch.tensor(self.achieved, device=proprio.device)
        distance = (proprio.index_select(-1, index) - goal).abs() ** self.order
        # The floor keeps the gradient of a root finite at the goal.
        return (distance * distance.new_tensor(self.weights)).sum(-1).clamp_min(1e-10) ** self.power

    def apart(self, proprio: Tensor) -> Tensor:
        """How far (...,) the hand is from reaching what it moves, told by proprioception (..., O)."""
        index = torch.tensor(self.way, device=proprio.device)
        return ((proprio.index_select(-1, index) ** 2).sum(-1).clamp_min(1e-10).sqrt() - self.reach).clamp_min(0.0)

    def missed(self, cost: Tensor) -> Tensor:
        """Probability (...,) that an arrival imagined at this cost (...,) does not end the episode."""
        if self.ends_below is None:
            return torch.ones_like(cost)
        if self.doubt == 0.0:
            return (cost >= self.ends_below).to(cost.dtype)
        return torch.sigmoid((cost / self.ends_below - 1.0) / self.doubt)


Scalar = float | Tensor
"""A number, or a tensor of no axes that is given when a graph runs."""


class Weights(NamedTuple):
    """What counts for how much, as in `ObjectiveConfig`; a part whose weight is the number 0 is not computed."""

    reward: Scalar
    goal: Scalar
    approach: Scalar
    value: Scalar
    terminal: Scalar
    failure: Scalar
    disagreement: Scalar
    action_rate: Scalar
    risk: Scalar


def counts(weight: Scalar) -> bool:
    """Whether a part of the objective is computed at all."""
    return isinstance(weight, Tensor) or weight != 0.0


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the parts of a plan's worth."""

    reward: float = 1.0
    """Weight of the learned reward."""
    goal: float = 0.0
    """Weight of the given goal cost; set it to 1 and `reward` to 0 where the task's reward is a goal cost."""
    approach: float = 0.0
    """Price of a hand that is away from what it moves: per step, for one unit of distance beyond its reach.

    A plan that does not touch an object earns the same wherever it leads the hand. Within reach nothing is paid, or the
    hand would press on from whichever side it came, and never go around.
    """
    value: float = 1.0
    """Weight of the critic at the end of the horizon; 0 where none is learned."""
    terminal: float = 1.0
    """Factor on the last step's reward, which stands in for what comes after where there is no critic."""
    failure: float = 0.0
    """Price of certain failure somewhere in the plan, on top of its absorbing reward."""
    disagreement: float = 0.0
    """Price of leaving the data: per step, for one unit of the ensemble's spread."""
    action_rate: float = 0.0
    """Price of changing the action: per step, for the squared change."""
    arrival_doubt: float = 0.0
    """How far an imagined goal cost may be wrong, as a share of the cost that ends the episode.

    At 0, a plan that touches the goal counts as finished there, even where it passes through at speed.
    """
    risk: float = 1.0
    """Share of the worst particles that count (CVaR); 1 is the mean, smaller is more careful."""
    particles: int = 1
    """Futures imagined for every candidate; 1 follows the most probable one."""

    def __post_init__(self) -> None:
        if not 0.0 < self.risk <= 1.0:
            raise ValueError(f"risk must be above 0 and at most 1, came {self.risk:g}")
        require_at_least(
            self, reward=0, goal=0, approach=0, value=0, terminal=0, failure=0, disagreement=0, action_rate=0
        )
        require_at_least(self, arrival_doubt=0)
        require_at_least(self, particles=1)

    @property
    def weights(self) -> Weights:
        """The weights as numbers."""
        return Weights(*(getattr(self, name) for name in Weights._fields))

    @property
    def scale(self) -> float:
        """How much one unit of the task's reward counts for."""
        return (self.reward + self.goal) or 1.0


def arrival_reward(reward: Tensor, failure: Tensor, failure_reward: Scalar) -> Tensor:
    """Rewards (...,) of arrivals that fail with some probability (...,): failing earns at most `failure_reward`.

    Otherwise a plan could gain by failing on its last step.
    """
    return torch.lerp(reward, reward.clamp(max=failure_reward), failure)


def absorb(reward: Tensor, proceed: Tensor, failure: Tensor, failure_reward: Scalar) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards when failing is for ever: the failed share of the future gets `failure_reward` at every later step.

    Args:
        reward: On each arrival, given the episode had not ended before (M, H).
        proceed: Probability that each arrival does not end the episode (M, H), at most 1 - failure.
        failure: Probability that each arrival is a failure (M, H).

    Returns:
        Rewards with the absorbing part (M, H), and the probabilities of going on and of having failed after the last
        step (M,), (M,).
    """
    after = torch.cumprod(proceed, -1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], -1)
    failed_after = torch.cumsum(before * failure, -1)
    failed_before = torch.cat([torch.zeros_like(after[:, :1]), failed_after[:, :-1]], -1)
    return before * reward + failed_before * failure_reward, after[:, -1], failed_after[:, -1]


def conditional_value_at_risk(returns: Tensor, risk: Scalar) -> Tensor:
    """Mean of the worst `risk` share of particles (Rockafellar and Uryasev 2000): (N, P) to (N,)."""
    P = returns.shape[-1]
    rank = torch.arange(P, dtype=returns.dtype, device=returns.device)
    weights = (risk * P - rank).clamp(0.0, 1.0) / (risk * P)  # the particle on the border counts in part
    return (returns.sort(-1).values * weights).sum(-1)

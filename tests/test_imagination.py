"""The return a plan is imagined to earn, on a cart whose model is known."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from wmctrl.learning.imagination import Critic, ImaginedReturn, Pay
from wmctrl.model.distributions import Bernoulli, TwoHot
from wmctrl.model.heads import Ensemble, Prospect, ProspectHead
from wmctrl.model.mdn import MDNHead, MixtureNoise
from wmctrl.model.rssm import RSSM, Belief
from wmctrl.model.world_model import Sizes, WorldModel, WorldModelConfig
from wmctrl.planning.objective import GoalCost, ObjectiveConfig
from wmctrl.planning.planner import Planner, Worth

H = 3
WALL = 1.0
WORST = -4.0
DISTANCE = GoalCost((0,), (1.0,), order=2.0, power=0.5)


class Cart(RSSM):
    """Exact dynamics of a cart: an action moves its place by itself, and noise pushes it."""

    def _imagine(self, belief: Belief, action: Tensor, projected: Tensor, noise: MixtureNoise | None) -> Belief:
        place = belief.deter + action + (0.0 if noise is None else noise.value)
        return Belief(place, belief.stoch.expand_as(place))


class Road(ProspectHead):
    """Reward -1 everywhere; certain failure at the wall; the feature before the goal is the place."""

    def forward(self, inputs: Tensor) -> Prospect:
        place = inputs[..., 0]
        reward = TwoHot(self.bins.new_zeros(1, 1), torch.tensor([-math.log(2.0)]))  # symexp of which is -1
        fails = torch.where(place >= WALL, 50.0, -50.0)
        return Prospect(TwoHot(reward.logits.expand(*place.shape, 1), reward.bins), Bernoulli(-fails), Bernoulli(fails))

    def ends(self, inputs: Tensor) -> tuple[Bernoulli, Bernoulli]:
        _, proceed, failure = self(inputs)
        return proceed, failure


class Strangeness(Ensemble):
    """Disagreement about the distance from where the data were, and about ten times the action."""

    def disagreement(self, features: Tensor, action: Tensor) -> Tensor:
        return features[..., 0].abs() + 10.0 * action[..., 0].abs()


class Odometer(MDNHead):
    """Decodes proprioception that is the place itself."""

    def expectation(self, features: Tensor, origin: Tensor | None = None) -> Tensor:
        return features[..., :1]


@pytest.fixture
def cart() -> WorldModel:
    config = WorldModelConfig(deter=1, stoch=1, units=4, layers=1, prior_components=2, members=2)
    model = WorldModel(Sizes(proprio=1, goal=1, action=1), config)
    model.rssm = Cart(1, model.encoder.outputs, 1, 1, 2, 4)
    model.prospect_head, model.hazard_head = Road(3, 4, 1), None
    model.ensemble = Strangeness(3, 1, 2, 4)
    model.proprio_head = Odometer(2, 1, 1, 4, 1)
    return model.requires_grad_(False)


def still(particles: int = 1) -> MixtureNoise:
    return MixtureNoise(torch.zeros(particles, H, 2), torch.zeros(particles, H, 1))


def judged(
    cart: WorldModel,
    actions: Tensor,
    config: ObjectiveConfig,
    *,
    noise: MixtureNoise | None = None,
    start: float = 0.0,
    goal: float = 0.0,
    discount: float = 1.0,
    critic: Critic | None = None,
    cost: GoalCost = DISTANCE,
) -> Worth:
    """Worth of plans (N, H) of the cart; its last action was 0.5."""
    objective = ImaginedReturn(
        model=cart,
        pay=Pay.of(config, WORST, cost),
        belief=Belief(torch.tensor([start]), torch.zeros(1)),
        previous_action=torch.tensor([0.5]),
        noise=noise,
        discount=discount,
        goal=torch.tensor([goal]),
        critic=critic,
    )
    return objective(actions.unsqueeze(-1))


def worth(cart: WorldModel, actions: Tensor, config: ObjectiveConfig, **given: Any) -> Tensor:
    """Returns (N,), as `judged`."""
    return judged(cart, actions, config, **given).returns


def test_learned_reward_is_summed_with_its_weight(cart: WorldModel) -> None:
    actions = torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(worth(cart, actions, ObjectiveConfig(reward=0.5)), torch.tensor([-1.5, -1.5]))


def test_later_rewards_count_less_and_the_last_as_often_as_asked(cart: WorldModel) -> None:
    config = ObjectiveConfig(terminal=4.0)
    # -(1 + 0.5 + 4 * 0.25)
    torch.testing.assert_close(worth(cart, torch.zeros(1, H), config, discount=0.5), torch.tensor([-2.5]))


def test_goal_cost_is_paid_at_every_arrival(cart: WorldModel) -> None:
    config = ObjectiveConfig(reward=0.0, goal=2.0)
    value = worth(cart, torch.tensor([[0.1, 0.2, 0.0]]), config, goal=0.5)
    torch.testing.assert_close(value, torch.tensor([-2.0 * (0.4 + 0.2 + 0.2)]))


def test_a_hand_pays_for_its_way_to_what_it_moves(cart: WorldModel) -> None:
    """The cart's place stands for that way: the plan goes there and back."""
    config = ObjectiveConfig(reward=0.0, goal=1.0, approach=10.0)
    value = worth(cart, torch.tensor([[0.1, 0.2, -0.3]]), config, goal=0.5, cost=replace(DISTANCE, way=(0,)))
    torch.testing.assert_close(value, torch.tensor([-(0.4 + 0.2 + 0.5) - 10.0 * (0.1 + 0.3 + 0.0)]), rtol=0, atol=2e-4)


def test_success_ends_the_episode_where_the_task_says_so(cart: WorldModel) -> None:
    """There by the second arrival: what comes after costs nothing, wherever the plan would drive."""
    actions = torch.tensor([[0.3, 0.2, -0.4]])
    config = ObjectiveConfig(reward=0.0, goal=1.0)
    ending = replace(DISTANCE, ends_below=0.05)
    torch.testing.assert_close(worth(cart, actions, config, goal=0.52), torch.tensor([-(0.22 + 0.02 + 0.42)]))
    torch.testing.assert_close(worth(cart, actions, config, goal=0.52, cost=ending), torch.tensor([-(0.22 + 0.02)]))


def test_where_an_imagined_arrival_is_doubted_what_lies_behind_the_goal_counts(cart: WorldModel) -> None:
    """Through the goal into the wall, failed for two arrivals; how likely that is depends on how near the goal was."""
    through = torch.tensor([[0.5, 0.5, 0.5]])
    config, doubted = ObjectiveConfig(reward=0.0, goal=1.0), replace(DISTANCE, ends_below=0.05, doubt=0.1)
    amidst = worth(cart, through, config, goal=0.5, cost=doubted)
    torch.testing.assert_close(amidst, torch.tensor([2.0 * WORST / (1.0 + math.exp(10.0))]), rtol=0.0, atol=2e-5)
    at_its_border = worth(cart, through, config, goal=0.55, cost=doubted)
    torch.testing.assert_close(at_its_border, torch.tensor([-0.05 + 0.5 * 2.0 * WORST]))


def test_a_failed_plant_does_not_go_on_whatever_the_two_heads_say(cart: WorldModel) -> None:
    head = cart.prospect_head

    class Undecided(Road):
        def forward(self, inputs: Tensor) -> Prospect:
            found = head(inputs)
            return found._replace(proceed=Bernoulli(torch.full_like(found.proceed.logit, 50.0)))

    cart.prospect_head = Undecided(3, 4, 1)
    arrival = Pay.of(ObjectiveConfig(), WORST).arrival(cart, torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.zeros(2, 1))
    torch.testing.assert_close(arrival.failure, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(arrival.proceed, torch.tensor([1.0, 0.0]))


def test_action_changes_are_paid_from_the_last_action_sent_on(cart: WorldModel) -> None:
    value = worth(cart, torch.tensor([[0.3, 0.3, -0.2]]), ObjectiveConfig(reward=0.0, action_rate=10.0))
    # (0.3 - 0.5)^2 + 0 + 0.5^2 = 0.29
    torch.testing.assert_close(value, torch.tensor([-2.9]))


def test_disagreement_is_paid_where_each_action_starts(cart: WorldModel) -> None:
    value = worth(cart, torch.tensor([[0.2, 0.3, 0.1]]), ObjectiveConfig(reward=0.0, disagreement=3.0), start=0.1)
    torch.testing.assert_close(value, torch.tensor([-3.0 * (0.1 + 0.3 + 0.6 + 10.0 * (0.2 + 0.3 + 0.1))]))


def test_disagreement_is_paid_in_every_future_of_every_plan(cart: WorldModel) -> None:
    actions = torch.tensor([[0.2, 0.3, 0.1], [-0.1, 0.05, 0.4]])
    pushes = torch.tensor([[0.0, 0.1, 0.0], [0.2, 0.0, 0.1], [-0.2, 0.4, 0.1]])  # (futures, H)
    noise = MixtureNoise(torch.zeros(3, H, 2), pushes.unsqueeze(-1))
    value = worth(cart, actions, ObjectiveConfig(reward=0.0, disagreement=3.0, particles=3), noise=noise)
    moved = torch.cumsum(actions.unsqueeze(1) + pushes, -1)  # (plans, futures, H), on arrival
    before = torch.cat([torch.zeros(2, 3, 1), moved[..., :-1]], -1)
    strangeness = before.abs() + 10.0 * actions.abs().unsqueeze(1)
    torch.testing.assert_close(value, -3.0 * strangeness.sum(-1).mean(-1))


def test_a_plan_fails_as_probably_as_its_futures_do(cart: WorldModel) -> None:
    actions = torch.tensor([[0.2, 0.3, 0.1], [0.0, 0.0, 0.0], [0.5, 0.3, 0.3]])
    noise = MixtureNoise(torch.zeros(4, H, 2), torch.zeros(4, H, 1))
    noise.value[:, 0, 0] = torch.tensor([0.0, 0.5, -0.5, 0.3])
    found = judged(cart, actions, ObjectiveConfig(reward=0.0, particles=4), noise=noise).failure
    # Farthest without a push: 0.6, 0 and 1.1, with the wall at 1.
    torch.testing.assert_close(found, torch.tensor([0.25, 0.0, 0.75]))


def test_failing_costs_its_price_and_the_worst_reward_from_then_on(cart: WorldModel) -> None:
    actions = torch.tensor([[0.5, 0.5, 0.5]])  # at the wall on the second arrival
    value = worth(cart, actions, ObjectiveConfig(failure=7.0), goal=0.0)
    torch.testing.assert_close(value, torch.tensor([-1.0 + 2.0 * WORST - 7.0]))


def test_the_critic_values_what_is_alive_and_failing_is_for_ever(cart: WorldModel) -> None:
    config = ObjectiveConfig(reward=0.0, value=2.0)
    actions = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    value = worth(cart, actions, config, discount=0.5, critic=lambda inputs: 10.0 * inputs[..., 0])
    # Alive: 2 * 0.5^3 * 10 * 0.6. Failed on the second arrival: worst twice, then 2 * 0.5^3 * worst / (1 - 0.5).
    expected = [1.5, WORST * (0.5 + 0.25) + 2.0 * 0.125 * 2.0 * WORST]
    torch.testing.assert_close(value, torch.tensor(expected))


def test_a_careful_plan_counts_its_worst_futures(cart: WorldModel) -> None:
    noise = MixtureNoise(torch.zeros(2, H, 2), torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]).unsqueeze(-1))
    actions = torch.tensor([[0.0, 0.0, 0.0], [-0.1, 0.0, 0.0]])
    for risk, expected in ((1.0, [-0.45, -0.45]), (0.5, [-0.9, -0.6])):
        config = ObjectiveConfig(reward=0.0, goal=1.0, particles=2, risk=risk)
        value = worth(cart, actions, config, noise=noise)
        torch.testing.assert_close(value, torch.tensor(expected), rtol=0.0, atol=1e-4)


def test_every_candidate_meets_the_same_futures(cart: WorldModel) -> None:
    noise = MixtureNoise(torch.zeros(5, H, 2), torch.randn(5, H, 1, generator=torch.Generator().manual_seed(0)))
    config = ObjectiveConfig(reward=0.0, goal=1.0, particles=5, risk=0.4)
    value = worth(cart, torch.full((7, H), 0.1), config, noise=noise)
    torch.testing.assert_close(value, value[:1].expand(7))


@pytest.mark.parametrize("terminal", [1.0, 5.0])
def test_no_plan_drives_into_the_wall_even_towards_a_goal_behind_it(cart: WorldModel, terminal: float) -> None:
    """Standing still costs at every step, and the goal lies behind the wall: only failure's price keeps it away."""
    config = ObjectiveConfig(reward=0.0, goal=1.0, terminal=terminal)
    planner = Planner(horizon=H, samples=128, noise_exponent=0.0)

    def towards_a_goal_behind_it(actions: Tensor) -> Worth:
        returns = worth(cart, actions[..., 0], config, goal=1.2)
        return Worth(returns, torch.zeros_like(returns))

    plan = planner.initial(torch.zeros(1))
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        noise = torch.randn(128, H, 1, generator=generator)
        plan, _ = planner.refine(plan, towards_a_goal_behind_it, noise)
    reached = plan.mean.cumsum(0).max()
    assert 0.8 < float(reached) < WALL

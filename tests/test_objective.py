"""What a plan is worth, its parts worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import wmctrl_envs.task

from wmctrl.planning.objective import GoalCost, absorb, arrival_reward, conditional_value_at_risk

H = 3
WORST = -4.0
DISTANCE = GoalCost((0,), (1.0,), order=2.0, power=0.5)


def test_absorb_by_hand() -> None:
    reward = torch.tensor([[1.0, 2.0, 3.0]])
    rewards, alive, failed = absorb(reward, torch.tensor([[0.9, 0.8, 0.5]]), torch.tensor([[0.1, 0.1, 0.5]]), -5.0)
    # Before each arrival: 1, 0.9, 0.72 go on; failed so far: 0, 0.1, 0.1 + 0.9 * 0.1 = 0.19.
    expected = [1.0, 0.9 * 2.0 - 0.5, 0.72 * 3.0 - 0.95]
    torch.testing.assert_close(rewards, torch.tensor([expected]))
    torch.testing.assert_close(alive, torch.tensor([0.72 * 0.5]))
    torch.testing.assert_close(failed, torch.tensor([0.19 + 0.72 * 0.5]))


def test_the_failing_share_of_an_arrival_earns_no_more_than_failing() -> None:
    reward, failure = torch.tensor([1.0, 2.0, -7.0]), torch.tensor([0.1, 0.5, 0.5])
    expected = [0.9 - 0.5, 1.0 - 2.5, -7.0]
    torch.testing.assert_close(arrival_reward(reward, failure, -5.0), torch.tensor(expected))


def test_absorb_changes_nothing_where_nothing_ends() -> None:
    reward = torch.randn(7, H, generator=torch.Generator().manual_seed(0))
    rewards, alive, failed = absorb(reward, torch.ones(7, H), torch.zeros(7, H), -100.0)
    torch.testing.assert_close((rewards, alive, failed), (reward, torch.ones(7), torch.zeros(7)))


def test_ending_without_failure_earns_nothing_more() -> None:
    rewards, alive, failed = absorb(-torch.ones(1, H), torch.tensor([[1.0, 0.0, 1.0]]), torch.zeros(1, H), -100.0)
    torch.testing.assert_close(rewards, torch.tensor([[-1.0, -1.0, 0.0]]))
    assert (float(alive), float(failed)) == (0.0, 0.0)


@pytest.mark.parametrize("step", range(5))
def test_failing_at_any_step_is_never_better_than_driving_on(step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    reward = WORST * torch.rand(211, 5, generator=generator)  # all negative, none worse than failing
    failure = torch.zeros(211, 5)
    failure[:, step] = torch.rand(211, generator=generator)
    crashing = absorb(arrival_reward(reward, failure, WORST), 1.0 - failure, failure, WORST)[0].sum(-1)
    assert bool((crashing <= reward.sum(-1) + 1e-5).all())


def test_cvar_of_everything_is_the_mean_and_of_little_the_worst() -> None:
    returns = torch.tensor([[4.0, 1.0, 3.0, 2.0], [0.0, 0.0, 8.0, 0.0]])
    torch.testing.assert_close(conditional_value_at_risk(returns, 1.0), torch.tensor([2.5, 2.0]))
    torch.testing.assert_close(conditional_value_at_risk(returns, 0.5), torch.tensor([1.5, 0.0]))
    torch.testing.assert_close(conditional_value_at_risk(returns, 0.01), torch.tensor([1.0, 0.0]))


def test_cvar_counts_the_particle_on_the_border_in_part() -> None:
    # The worst 3/8 of four particles are 1.5 particles: (1 + 0.5 * 2) / 1.5.
    returns = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    torch.testing.assert_close(conditional_value_at_risk(returns, 0.375), torch.tensor([4.0 / 3.0]))


def test_one_future_that_is_not_a_number_spoils_the_candidate() -> None:
    assert bool(conditional_value_at_risk(torch.tensor([[1.0, math.nan, 3.0]]), 0.1).isnan().all())


@pytest.mark.parametrize(("order", "power"), [(2.0, 0.5), (1.0, 0.5), (2.0, 1.0), (1.5, 0.7)])
def test_goal_cost_equals_the_tasks_own(order: float, power: float) -> None:
    achieved, weights = (4, 0, 2), (1.0, 0.3, 0.02)
    proprio, goal = np.random.default_rng(0).normal(size=(2, 11, 5)).astype(np.float32)
    ours = GoalCost(achieved, weights, order, power)(torch.from_numpy(proprio), torch.from_numpy(goal[:, :3]))
    theirs = wmctrl_envs.task.GoalCost(achieved, weights, order, power, threshold=0.1)
    np.testing.assert_allclose(ours.numpy(), theirs(proprio[:, list(achieved)], goal[:, :3]), rtol=1e-5)


def test_a_hand_is_as_far_from_an_object_as_the_way_is_longer_than_its_reach() -> None:
    cost, seen = replace(DISTANCE, way=(1, 3)), torch.tensor([[9.0, 3.0, 9.0, -4.0], [0.0, 0.3, 0.0, 0.4]])
    torch.testing.assert_close(cost.apart(seen), torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(replace(cost, reach=0.6).apart(seen), torch.tensor([4.4, 0.0]))


def test_goal_cost_has_a_finite_gradient_at_the_goal() -> None:
    proprio = torch.zeros(1, requires_grad=True)
    (gradient,) = torch.autograd.grad(DISTANCE(proprio, torch.zeros(1)).sum(), proprio)
    assert bool(gradient.isfinite().all())

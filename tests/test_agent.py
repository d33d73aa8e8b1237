"""The agent: what it refuses, and that what it learns from is what it drives with."""

from dataclasses import replace

import pytest
import torch
import wmctrl_envs
from torch import Tensor

from wmctrl.learning.agent import Agent, AgentConfig, goal_cost_of
from wmctrl.learning.behavior import BehaviorConfig, Imagination
from wmctrl.learning.imagination import Pay
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import Batch, Sizes, WorldModel, WorldModelConfig
from wmctrl.planning.objective import GoalCost, ObjectiveConfig

SIZES = Sizes(proprio=3, goal=0, action=2)
SMALL = AgentConfig(model=WorldModelConfig(deter=8, stoch=5, units=8, layers=1))


def recorded(B: int = 4, T: int = 7) -> Batch:
    draws = torch.Generator().manual_seed(0)
    flat = torch.zeros(B, T)
    return Batch(
        action=torch.randn(B, T, 2, generator=draws),
        reward=torch.randn(B, T, generator=draws),
        terminated=flat,
        failure=flat,
        is_first=flat,
        proprio=torch.randn(B, T, 3, generator=draws),
    )


def test_a_goal_weight_without_a_goal_cost_is_refused() -> None:
    config = replace(SMALL, objective=ObjectiveConfig(reward=0.0, goal=1.0))
    with pytest.raises(ValueError, match=r"set agent.objective.goal=0 and agent.objective.reward=1"):
        Agent(SIZES, config)
    Agent(replace(SIZES, goal=1), config, goal_cost=GoalCost((0,), (1.0,), 2.0, 0.5))


def test_every_weight_of_the_model_is_moved_by_one_optimiser() -> None:
    agent = Agent(replace(SIZES, camera=(16, 16, 3)), SMALL)
    optimizers = (agent.matrix_optimizer, agent.model_optimizer)
    moved = [id(one) for optimizer in optimizers for group in optimizer.param_groups for one in group["params"]]
    assert sorted(moved) == sorted(id(one) for one in agent.trained.parameters())


def test_the_models_rates_fall_with_its_updates_and_the_policys_do_not() -> None:
    agent = Agent(SIZES, replace(SMALL, decay_after=1000))
    agent.updates = 3000
    agent.learn(recorded(), torch.Generator().manual_seed(0))
    optimizers = (agent.matrix_optimizer, agent.model_optimizer, agent.actor_optimizer, agent.critic_optimizer)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    config = agent.config
    assert rates == [config.matrix_rate / 2, config.model_rate / 2, config.behavior_rate, config.behavior_rate]
    assert agent.updates == 3001


def test_behaviour_learns_as_often_as_asked_from_other_starts_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(SIZES, replace(SMALL, behavior=BehaviorConfig(units=8, horizon=2, starts=3, updates=2)))
    follow, begun = agent.behavior.imagine, []

    def watched(model: WorldModel, pay: Pay, belief: Belief, goal: Tensor | None, noise: Tensor) -> Imagination:
        begun.append(belief.stoch)
        return follow(model, pay, belief, goal, noise)

    monkeypatch.setattr(agent.behavior, "imagine", watched)
    agent.learn(recorded(), torch.Generator().manual_seed(0))
    first, second = begun
    assert not torch.equal(first, second)
    with pytest.raises(ValueError, match=r"agent.learn_behavior=false, came 0"):
        BehaviorConfig(updates=0)


@pytest.mark.parametrize(("task", "ends_below"), [("parking-v0", 0.12), ("FetchReach-v4", None)])
def test_reaching_the_goal_ends_the_episode_where_the_plant_does(task: str, ends_below: float | None) -> None:
    spec = wmctrl_envs.make(task).task_spec
    cost = goal_cost_of(spec)
    assert cost is not None
    assert cost.ends_below == ends_below
    assert goal_cost_of(replace(spec, goal=())) is None  # a goal that is only seen cannot be computed with


def test_imagination_starts_where_the_driving_model_believes_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    agent = Agent(SIZES, SMALL)
    for parameter in agent.model.parameters():  # as after long training: the average is not the trained model
        parameter.mul_(0.9)
    starts: list[Belief] = []
    follow = agent.behavior.imagine

    def watched(model: WorldModel, pay: Pay, belief: Belief, goal: Tensor | None, noise: Tensor) -> Imagination:
        starts.append(belief)
        return follow(model, pay, belief, goal, noise)

    monkeypatch.setattr(agent.behavior, "imagine", watched)
    batch, generator = recorded(), torch.Generator().manual_seed(1)
    noise = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(1))
    agent.learn(batch, generator)
    own = agent.model.believe(batch, noise).belief.stoch.flatten(0, 1)
    nearest = torch.cdist(starts[0].stoch, own, compute_mode="donot_use_mm_for_euclid_dist").min(1).values
    assert float(nearest.max()) < 1e-5

"""The agent: what it refuses, and that what it learns from is what it drives with."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
import wmctrl_envs
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from wmctrl_envs.task import Element

from wmctrl.learning.agent import Agent, AgentConfig, goal_cost_of
from wmctrl.learning.behavior import BehaviorConfig, Imagination
from wmctrl.learning.compiler import compiled
from wmctrl.learning.descent import Descent
from wmctrl.learning.imagination import ImaginedReturn, Pay
from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.rssm import RSSM, Belief
from wmctrl.model.world_model import Batch, Sizes, WorldModel, WorldModelConfig
from wmctrl.planning.objective import GoalCost, ObjectiveConfig
from wmctrl.planning.planner import Planner
from wmctrl.runtime.noise import FreshNoise

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


def test_a_price_of_a_way_that_the_task_does_not_have_is_refused() -> None:
    config = replace(SMALL, objective=ObjectiveConfig(reward=0.0, goal=1.0, approach=0.4))
    sizes, cost = replace(SIZES, goal=1), GoalCost((0,), (1.0,), 2.0, 0.5)
    with pytest.raises(ValueError, match=r"set agent.objective.approach=0"):
        Agent(sizes, config, goal_cost=cost)
    Agent(sizes, config, goal_cost=replace(cost, way=(1, 2)))


def test_a_unit_of_a_goal_that_costs_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set agent.goal_std=null"):
        Agent(replace(SIZES, goal=1), replace(SMALL, goal_std=0.1))


def test_every_weight_of_the_model_is_moved_by_one_optimiser() -> None:
    agent = Agent(replace(SIZES, camera=(16, 16, 3)), SMALL)
    optimizers = [agent.descent.optimizers[name] for name in ("matrix_optimizer", "model_optimizer")]
    moved = [id(one) for optimizer in optimizers for group in optimizer.param_groups for one in group["params"]]
    assert sorted(moved) == sorted(id(one) for one in agent.trained.parameters())


def test_which_component_it_is_is_learned_as_fast_as_where_they_are() -> None:
    """However much steeper the loss falls with where they are."""
    agent = Agent(SIZES, SMALL)
    heads = (agent.trained.rssm.prior_head, agent.trained.proprio_head)
    matrices = [(head.choice.weight, head.places.weight) for head in heads if head is not None]
    before = [[weight.detach().clone() for weight in pair] for pair in matrices]
    agent.learn(recorded(), torch.Generator().manual_seed(0))
    for pair, was in zip(matrices, before, strict=True):
        choice, places = (
            float((weight - old).detach().norm(dim=1).mean()) for weight, old in zip(pair, was, strict=True)
        )
        assert choice > 0.3 * places > 0.0


def test_the_models_rates_fall_with_its_updates_and_the_policys_do_not() -> None:
    agent = Agent(SIZES, replace(SMALL, decay_after=1000))
    agent.updates = 3000
    agent.learn(recorded(), torch.Generator().manual_seed(0))
    rates = [optimizer.param_groups[0]["lr"] for optimizer in agent.descent.optimizers.values()]
    config = agent.config
    assert rates == [config.matrix_rate / 2, config.model_rate / 2, config.behavior_rate, config.behavior_rate]
    assert agent.updates == 3001


@pytest.mark.parametrize("camera", [None, (16, 16, 3)])
def test_an_agent_that_was_kept_in_files_learns_on_as_the_one_that_was_not(camera: tuple[int, int, int] | None) -> None:
    """Files keep arrays in C order, whatever lay in memory."""
    batch = recorded()
    if camera:
        pictures = torch.randint(0, 256, (4, 7, *camera), generator=torch.Generator().manual_seed(2))
        batch = batch._replace(camera=pictures.to(torch.uint8))
    left, kept = (Agent(replace(SIZES, camera=camera), SMALL) for _ in range(2))
    for seed in range(2):
        left.learn(batch, torch.Generator().manual_seed(seed))
    kept.load_state({name: np.array(array, order="C") for name, array in left.state().items()})
    for agent in (left, kept):
        agent.learn(batch, torch.Generator().manual_seed(9))
    after = kept.state()
    assert [name for name, array in left.state().items() if not np.array_equal(array, after[name])] == []


def test_the_most_probable_future_is_imagined_unless_drawn_ones_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    imagined: list[bool] = []
    for stochastic in (False, True):
        agent = Agent(SIZES, replace(SMALL, behavior=BehaviorConfig(units=8, horizon=2, stochastic=stochastic)))
        imagine = agent.model.rssm.imagine

        def watched(belief: Belief, action: Tensor, noise: MixtureNoise | None, imagine: Any = imagine) -> Belief:
            imagined.append(noise is not None)
            return cast("Belief", imagine(belief, action, noise))

        monkeypatch.setattr(agent.model.rssm, "imagine", watched)
        agent.learn(recorded(), torch.Generator().manual_seed(0))
    assert imagined == [False, False, True, True]


def test_what_is_compiled_learns_as_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler takes in; what it makes of it would take minutes."""
    taken: list[Any] = []

    def as_taken(graph: Any, examples: Any) -> Any:
        taken.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=as_taken))
    config = replace(
        SMALL, model=replace(SMALL.model, context=1), behavior=BehaviorConfig(units=8, horizon=1, starts=4)
    )
    batch = recorded(T=2)
    plain, fused = (Agent(SIZES, replace(config, compile=asked)) for asked in (False, True))
    fused.load_state(plain.state())
    for seed in range(3):
        figures = [agent.learn(batch, torch.Generator().manual_seed(seed)) for agent in (plain, fused)]
        torch.testing.assert_close(figures[1], figures[0], rtol=1e-3, atol=1e-4)
    assert len(taken) == 3, "the model's loss, its beliefs, and the losses of actor and critic"


@pytest.mark.parametrize(("device", "mode"), [("cuda", "reduce-overhead"), ("cpu", None)])
def test_a_gpu_records_what_is_compiled(device: str, mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.update(options) or function)
    compiled(abs, torch.device(device))
    assert asked["mode"] == mode


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and minutes")
def test_what_a_gpu_replays_learns_as_what_it_is_told_each_time() -> None:
    gpu = torch.device("cuda")
    plain, replayed = (Agent(SIZES, replace(SMALL, compile=asked), device=gpu) for asked in (False, True))
    replayed.load_state(plain.state())
    batch = Batch(**{name: part.to(gpu) for name, part in recorded()._asdict().items() if part is not None})
    told: list[list[dict[str, torch.Tensor]]] = []
    for seed in range(6):
        generators = [torch.Generator(gpu).manual_seed(seed) for _ in range(2)]
        told.append([agent.learn(batch, one) for agent, one in zip((plain, replayed), generators, strict=True)])
    for pair in told:  # only now, when later updates have written where earlier ones had
        torch.testing.assert_close(pair[1], pair[0], rtol=1e-2, atol=1e-3)


def test_as_many_starts_are_imagined_from_however_few_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = torch.zeros(4, 7)
    ended[:, 1:] = 1.0
    starts, goals, _ = imagined_starts(goal_batch(ended), monkeypatch)
    assert len(starts.stoch) == 28
    assert set(goals[:, 0].long().tolist()) == {0, 7, 14, 21}


def test_what_drives_follows_what_is_trained_by_its_share() -> None:
    agent = Agent(SIZES, replace(SMALL, average_rate=0.25))
    before = [parameter.clone() for parameter in agent.model.parameters()]
    agent.learn(recorded(), torch.Generator().manual_seed(0))
    for old, new, trained in zip(before, agent.model.parameters(), agent.trained.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * trained)


def test_a_gradient_that_lies_otherwise_in_memory_moves_the_same_weights() -> None:
    columns = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    weight = torch.zeros(2, 3, requires_grad=True)
    loss = (weight.T * columns).sum()
    assert torch.autograd.grad(loss, weight, retain_graph=True)[0].stride() != weight.stride()
    Descent({"one": torch.optim.Adam([weight], 0.1, fused=True)}, clip=10.0).step(loss, "one")
    torch.testing.assert_close(weight.detach(), -0.1 * columns.T)  # Adam's first step is the rate by the sign


def test_a_long_gradient_is_cut_to_its_largest_norm() -> None:
    weight = torch.zeros(2, requires_grad=True)
    descent = Descent({"one": torch.optim.SGD([weight], lr=1.0)}, clip=10.0)
    descent.step((weight * torch.tensor([30.0, 40.0])).sum(), "one")
    torch.testing.assert_close(weight.detach(), torch.tensor([-6.0, -8.0]))


def test_failing_pays_the_worst_reward_seen_unless_the_task_says_what() -> None:
    batch = recorded()
    worst = float(batch.reward.min())
    tracking, told = Agent(SIZES, SMALL), Agent(SIZES, SMALL, failure_reward=-0.5)
    assert tracking.pay.failed == 0.0
    for agent in (tracking, told):
        agent.learn(batch, torch.Generator().manual_seed(0))
        agent.learn(batch._replace(reward=batch.reward.abs()), torch.Generator().manual_seed(0))
    assert (tracking.pay.failed, told.pay.failed) == (worst, -0.5)


def test_the_planner_searches_for_what_the_agent_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ImaginedReturn] = []

    def watched(**parts: Any) -> ImaginedReturn:
        asked.append(ImaginedReturn(**parts))
        return asked[-1]

    monkeypatch.setattr("wmctrl.learning.agent.ImaginedReturn", watched)
    agent = Agent(SIZES, replace(SMALL, behavior=BehaviorConfig(units=8, discount=0.9)), failure_reward=-3.0)
    with torch.no_grad():
        for weight in agent.behavior.slow_critic.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(0))
    state = agent.start()._replace(action=torch.tensor([0.3, -0.4]))
    observation = {"proprio": np.ones(3, np.float32)}
    agent.act(state, observation, np.random.default_rng(0))
    (objective,) = asked
    assert objective.model is agent.model
    assert (objective.pay, objective.discount) == (agent.pay, 0.9)
    torch.testing.assert_close(objective.belief, agent.observe(state, observation))
    torch.testing.assert_close(objective.previous_action, state.action)
    assert objective.critic is not None
    x = torch.randn(4, 8 + 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(objective.critic(x), agent.behavior.slow_critic(x).mean)
    assert float(objective.critic(x).abs().min()) > 0.0


def planning(particles: int, horizon: int = 7) -> Agent:
    """An agent that plans through that many futures for every candidate."""
    torch.manual_seed(0)
    objective, planner = ObjectiveConfig(particles=particles), Planner(horizon=horizon, samples=11, elites=3, kept=2)
    agent = Agent(SIZES, replace(SMALL, objective=objective, planner=planner, proposals=2))
    for parameter in agent.model.parameters():  # at the start it expects the same reward everywhere
        parameter.add_(0.5 * torch.randn(parameter.shape))
    return agent


def drawn_futures(agent: Agent) -> MixtureNoise | None:
    return agent._futures(FreshNoise(agent.randomness, np.random.default_rng(0)))


def test_particles_draw_components_by_gumbels_law_and_values_by_the_normal_one() -> None:
    noise = drawn_futures(planning(particles=59, horizon=41))
    assert noise is not None
    assert (noise.component.shape, noise.value.shape) == ((59, 41, 4), (59, 41, 5))
    component, value = noise.component.double(), noise.value.double()
    # Euler's constant and pi^2 / 6, of 9,676 draws; 0 and 1, of 12,095: 4 sigma each.
    assert float(component.mean()) == pytest.approx(0.5772, abs=0.053)
    assert float(component.var()) == pytest.approx(1.6449, abs=0.14)
    assert float(value.mean()) == pytest.approx(0.0, abs=0.037)
    assert float(value.var()) == pytest.approx(1.0, abs=0.052)
    assert stats.kstest(component.flatten().numpy(), stats.gumbel_r.cdf).pvalue > 0.01
    assert stats.kstest(value.flatten().numpy(), stats.norm.cdf).pvalue > 0.01


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["particles", "steps", "elements"])
def test_no_two_particles_steps_or_elements_share_their_noise(axis: int) -> None:
    noise = drawn_futures(planning(particles=59, horizon=41))
    assert noise is not None
    for draws in noise:
        one, next_one = draws.narrow(axis, 0, draws.shape[axis] - 1), draws.narrow(axis, 1, draws.shape[axis] - 1)
        agreement = np.corrcoef(one.flatten().numpy(), next_one.flatten().numpy())[0, 1]
        assert agreement == pytest.approx(0.0, abs=0.05)  # 4 sigma


def test_a_single_particle_follows_the_most_probable_future_and_draws_nothing() -> None:
    generator = np.random.default_rng(0)
    agent = planning(particles=1)
    assert agent._futures(FreshNoise(agent.randomness, generator)) is None
    assert generator.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_a_decision_through_drawn_futures_depends_on_the_generator_alone() -> None:
    agent, observation = planning(particles=3), {"proprio": np.ones(3, np.float32)}

    def decided(seed: int, elsewhere: int) -> NDArray[np.float32]:
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        return agent.act(agent.start(), observation, np.random.default_rng(seed))[0]

    action = decided(5, elsewhere=0)
    assert action.shape == (2,)
    assert float(np.abs(action).max()) <= 1.0
    np.testing.assert_array_equal(action, decided(5, elsewhere=1))
    assert not np.array_equal(action, decided(6, elsewhere=0))


def test_every_decision_is_searched_through_as_many_new_futures_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    extrapolate, asked = RSSM.extrapolate, []

    def watched(rssm: RSSM, belief: Belief, action: Tensor, noise: MixtureNoise | None) -> list[Belief]:
        beliefs = extrapolate(rssm, belief, action, noise)
        asked.append((noise, tuple(action.shape), {tuple(one.stoch.shape) for one in beliefs}))
        return beliefs

    monkeypatch.setattr(RSSM, "extrapolate", watched)
    agent, generator = planning(particles=3), np.random.default_rng(0)
    for _ in range(2):
        agent.act(agent.start(), {"proprio": np.ones(3, np.float32)}, generator)
    iterations = agent.config.planner.iterations
    # 11 samples, the mean, 2 kept and 2 proposals, each in 3 futures.
    assert [shapes for _, *shapes in asked] == [[(16, 7, 2), {(3 * 16, 5)}]] * (2 * iterations)
    first, second = asked[0][0], asked[iterations][0]
    assert first is not None
    assert second is not None
    assert (first.component.shape, first.value.shape) == ((3, 7, 4), (3, 7, 5))
    assert not torch.equal(first.component, second.component)
    assert not torch.equal(first.value, second.value)


class Imagined(NamedTuple):
    """What one imagination was asked for."""

    belief: Belief
    goal: Tensor | None
    futures: MixtureNoise | None


def watch_imagination(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> list[Imagined]:
    """Grows by what is asked whenever actor and critic imagine."""
    imagine, asked = agent.behavior.imagine, []

    def watched(
        model: WorldModel, pay: Pay, belief: Belief, goal: Tensor | None, noise: Tensor, futures: MixtureNoise | None
    ) -> Imagination:
        asked.append(Imagined(belief, goal, futures))
        return imagine(model, pay, belief, goal, noise, futures)

    monkeypatch.setattr(agent.behavior, "imagine", watched)
    return asked


def test_behaviour_learns_as_often_as_asked_from_other_starts_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    config = BehaviorConfig(units=8, horizon=2, stochastic=True, starts=3, updates=2)
    agent = Agent(SIZES, replace(SMALL, behavior=config))
    imagined = watch_imagination(agent, monkeypatch)
    agent.learn(recorded(), torch.Generator().manual_seed(0))
    drawn = [one.futures for one in imagined if one.futures is not None]
    starts = [one.belief.stoch for one in imagined]
    for first, second in (starts, [futures.component for futures in drawn], [futures.value for futures in drawn]):
        assert first.shape[0] == 3
        assert not torch.equal(first, second)
    assert drawn[0].value.shape == (3, 2, SMALL.model.stoch)
    with pytest.raises(ValueError, match=r"agent.learn_behavior=false, came 0"):
        BehaviorConfig(updates=0)


@pytest.mark.parametrize(("task", "ends_below"), [("parking-v0", 0.12), ("FetchReach-v4", None)])
def test_reaching_the_goal_ends_the_episode_where_the_plant_does(task: str, ends_below: float | None) -> None:
    spec = wmctrl_envs.make(task).task_spec
    cost = goal_cost_of(spec, doubt=0.0)
    assert cost is not None
    assert cost.ends_below == ends_below
    assert goal_cost_of(replace(spec, goal=()), doubt=0.0) is None  # a goal that is only seen cannot be computed with


def test_imagination_starts_where_the_driving_model_believes_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    agent = Agent(SIZES, SMALL)
    for parameter in agent.model.parameters():  # as after long training: the average is not the trained model
        parameter.mul_(0.9)
    imagined = watch_imagination(agent, monkeypatch)
    batch, generator = recorded(), torch.Generator().manual_seed(1)
    noise = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(1))
    agent.learn(batch, generator)
    own = agent.model.believe(batch, noise).belief.stoch.flatten(0, 1)
    nearest = torch.cdist(imagined[0].belief.stoch, own, compute_mode="donot_use_mm_for_euclid_dist").min(1).values
    assert float(nearest.max()) < 1e-5


def goal_batch(terminated: Tensor | None = None) -> Batch:
    """Recorded sequences whose goal tells the place in the batch."""
    batch = recorded()
    place = torch.arange(28.0).view(4, 7, 1)
    return batch._replace(goal=place, terminated=batch.terminated if terminated is None else terminated)


def imagined_starts(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> tuple[Belief, Tensor, Belief]:
    """Beliefs and goals that imagination starts from, and all beliefs of the batch (28, ...)."""
    torch.manual_seed(0)
    agent = Agent(replace(SIZES, goal=1), replace(SMALL, behavior=BehaviorConfig(units=8, horizon=2, starts=28)))
    imagined = watch_imagination(agent, monkeypatch)
    agent.learn(batch, torch.Generator().manual_seed(1))
    noise = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(1))
    beliefs = agent.model.believe(batch, noise).belief
    begun = imagined[0]
    assert begun.goal is not None
    return begun.belief, begun.goal, Belief(beliefs.deter.flatten(0, 1), beliefs.stoch.flatten(0, 1))


def test_every_belief_is_imagined_on_with_its_own_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, goals, beliefs = imagined_starts(goal_batch(), monkeypatch)
    places = goals[:, 0].long()
    assert sorted(places.tolist()) == list(range(28))
    torch.testing.assert_close(starts.stoch, beliefs.stoch[places])
    torch.testing.assert_close(starts.deter, beliefs.deter[places])


def test_nothing_is_imagined_on_from_where_the_plant_ended_the_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = torch.zeros(4, 7)
    ended[1, 3] = ended[2, 6] = 1.0
    _, goals, _ = imagined_starts(goal_batch(ended), monkeypatch)
    assert set(range(28)) - set(goals[:, 0].long().tolist()) == {7 + 3, 14 + 6}


@pytest.mark.parametrize("proposals", [0, 3])
def test_what_is_sent_is_the_plans_first_action_and_the_rest_is_carried_on(proposals: int) -> None:
    torch.manual_seed(0)
    agent = Agent(SIZES, replace(SMALL, proposals=proposals))
    state, observation = agent.start(), {"proprio": np.ones(3, np.float32)}
    belief = agent.observe(state, observation)
    with torch.no_grad():
        plan, _ = agent.plan(belief, None, state, FreshNoise(agent.randomness, np.random.default_rng(3)))
    action, after = agent.act(state, observation, np.random.default_rng(3))
    np.testing.assert_array_equal(action, plan.mean[0].numpy())
    torch.testing.assert_close(after.action, plan.mean[0])
    torch.testing.assert_close(after.plan.mean[:-1], plan.mean[1:])
    torch.testing.assert_close(after.belief, belief)


def test_the_policy_alone_sends_the_mean_of_the_averaged_actor() -> None:
    torch.manual_seed(0)
    agent = Agent(SIZES, replace(SMALL, plan=False))
    for actor in (agent.behavior.actor, agent.behavior.slow_actor):  # as after long training: the average is another
        for parameter in actor.parameters():
            parameter.detach().normal_()
    state, observation = agent.start(), {"proprio": np.ones(3, np.float32)}
    action, _ = agent.act(state, observation, np.random.default_rng(3))
    belief = agent.observe(state, observation)
    np.testing.assert_array_equal(action, agent.behavior.slow_actor(belief.features).mean.numpy())
    assert (np.abs(action - agent.behavior.actor(belief.features).mean.detach().numpy()) > 1e-3).any()


def test_a_goal_is_normalised_as_what_it_is_compared_with() -> None:
    spec = wmctrl_envs.make("FetchReach-v4").task_spec
    agent = Agent.for_task(spec, SMALL)
    proprio = np.random.default_rng(0).normal(3.0, 7.0, (50, len(spec.proprio)))
    agent.calibrate(proprio, np.zeros((50, len(spec.goal))), spec)
    assert agent.goal_cost is not None
    compared = list(agent.goal_cost.achieved)
    for model in (agent.trained, agent.model):
        torch.testing.assert_close(model.goal_normaliser.mean, model.proprio_normaliser.mean[compared])
        torch.testing.assert_close(model.goal_normaliser.std, model.proprio_normaliser.std[compared])
        np.testing.assert_allclose(model.proprio_normaliser.mean, proprio.mean(0), rtol=1e-5)


def test_what_tells_the_goals_cost_can_be_weighed_by_a_finer_unit() -> None:
    spec = wmctrl_envs.make("FetchPush-v4").task_spec
    proprio = np.random.default_rng(0).normal(0.0, 0.2, (50, len(spec.proprio)))
    goal = np.zeros((50, len(spec.goal)))
    plain, fine = (Agent.for_task(spec, replace(SMALL, goal_std=std)) for std in (None, 0.03))
    for agent in (plain, fine):
        agent.calibrate(proprio, goal, spec)
    for name in ("trained", "model"):
        before, after = (getattr(agent, name).proprio_normaliser.std for agent in (plain, fine))
        assert (before > 0.03).all()
        place, way = [3, 4, 5], [6, 7, 8]
        assert after[[*place, *way]].tolist() == pytest.approx([0.03] * 6)
        others = [n for n in range(25) if n not in (*place, *way)]
        torch.testing.assert_close(after[others], before[others])
        torch.testing.assert_close(getattr(fine, name).goal_normaliser.std, after[place])


def test_bounds_that_say_nothing_set_no_scale() -> None:
    agent = Agent(SIZES, SMALL)
    largest = float(np.finfo(np.float32).max)
    elements = [Element("far", "1", -largest, largest), Element("near", "1", -4.0, 4.0)]
    _, std = agent._statistics(np.random.default_rng(0).normal(0.0, 0.5, (400, 2)), elements)
    assert std.tolist() == pytest.approx([0.5, 1.0], rel=0.1)  # an eighth of its range is more than it moved


def test_what_never_moved_and_has_no_range_keeps_its_own_unit() -> None:
    agent = Agent(SIZES, SMALL)
    mean, std = agent._statistics(np.full((7, 1), 3.0), [Element("bolt", "m", 3.0, 3.0)])
    assert (mean.tolist(), std.tolist()) == ([3.0], [1.0])
    _, std = agent._statistics(np.array([[1.0], [1.002]]), [Element("bolt", "m", 3.0, 3.0)])
    assert std.tolist() == pytest.approx([0.01])


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"planner.elites must be at most the candidates, 20, came 21"):
        AgentConfig(planner=Planner(samples=12, kept=4, elites=21), proposals=3)
    with pytest.raises(ValueError, match="decay_after must be at least 1"):
        AgentConfig(decay_after=0)
    with pytest.raises(ValueError, match="clip must be above 0, came -1"):
        AgentConfig(clip=-1.0)
    with pytest.raises(ValueError, match="average_rate must be at most 1, came 2"):
        AgentConfig(average_rate=2.0)
    with pytest.raises(ValueError, match=r"agent.plan=false drives by a policy"):
        AgentConfig(plan=False, learn_behavior=False)
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        BehaviorConfig(horizon=0)
    with pytest.raises(ValueError, match="resolution must be above 0, came 0"):
        WorldModelConfig(resolution=0.0)
    with pytest.raises(ValueError, match="momentum must be at least 0 and below 1, came 2"):
        Planner(momentum=2.0)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    weight = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    descent = Descent({"only": torch.optim.Adam([weight], 0.1)}, clip=1.0)
    with pytest.raises(ValueError, match="the gradient of a loss of 1 became"):
        descent.step(weight.sqrt().sum(), "only")
    assert weight.tolist() == [0.0, 1.0]
    descent.step((weight**2).sum(), "only")
    assert weight.detach().tolist() == pytest.approx([0.0, 0.9])


def test_a_loss_that_is_not_finite_stops_with_what_to_do() -> None:
    agent = Agent(SIZES, SMALL)
    batch = recorded()
    with pytest.raises(ValueError, match="a loss became nan after 0 updates; start anew with lower rates"):
        agent.learn(batch._replace(reward=batch.reward * torch.nan), torch.Generator().manual_seed(0))

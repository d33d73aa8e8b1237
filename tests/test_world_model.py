"""The one loss that trains the world model: its parts, what it masks and what it never lets through."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributions as reference

from wmctrl.model.distributions import Gaussian
from wmctrl.model.mdn import Mixture, kl_to_mixture
from wmctrl.model.rssm import Belief, Rollout
from wmctrl.model.world_model import Batch, Normaliser, Sizes, WorldModel, WorldModelConfig, mean_where

B, T, P, G, A = 5, 11, 7, 3, 2
CAMERA = (16, 32, 3)
CONFIG = WorldModelConfig(
    deter=13, stoch=4, units=17, layers=1, prior_components=3, decoder_components=2, camera_depth=2, members=3
)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise(seed: int = 9) -> Tensor:
    return draws(B, T, CONFIG.stoch, seed=seed)


def make(*, proprio: int = P, goal: int = G, camera: tuple[int, int, int] | None = None) -> WorldModel:
    torch.manual_seed(0)
    return WorldModel(Sizes(proprio, goal, A, camera), CONFIG)


def make_batch(*, proprio: bool = True, camera: bool = False, goal: bool = True) -> Batch:
    """Two episodes in every sequence, the first of which ends in failure."""
    is_first, terminated = torch.zeros(B, T), torch.zeros(B, T)
    is_first[:, [0, 6]] = 1.0
    terminated[:, 5] = 1.0
    pixels = torch.randint(0, 256, (B, T, *CAMERA), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    return Batch(
        action=draws(B, T, A).tanh(),
        reward=draws(B, T, seed=1),
        terminated=terminated,
        failure=terminated,
        is_first=is_first,
        proprio=draws(B, T, P, seed=2) if proprio else None,
        camera=pixels if camera else None,
        goal=draws(B, T, G, seed=3) if goal else None,
    )


def gradients(loss: Tensor, model: WorldModel) -> dict[str, Tensor | None]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))


def test_normaliser_maps_data_to_zero_mean_and_unit_spread_and_back() -> None:
    normaliser, value = Normaliser(2), torch.tensor([[1.0, 40.0], [3.0, 40.0]])
    normaliser.set(torch.tensor([2.0, 40.0]), torch.tensor([1.0, 5.0]))
    torch.testing.assert_close(normaliser(value), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(normaliser.inverse(normaliser(value)), value)


def test_the_mean_where_a_mask_is_one_counts_nothing_else() -> None:
    value = torch.tensor([[1.0, 20.0, 4.0], [300.0, 10.0, 5000.0]])
    assert float(mean_where(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), value)) == 5.0
    assert float(mean_where(torch.zeros(2, 3), value)) == 0.0


@pytest.fixture
def scattered() -> WorldModel:
    """A model of both senses, none of whose parameters is at its neutral value."""
    torch.manual_seed(0)
    model = WorldModel(Sizes(P, G, A, CAMERA), replace(CONFIG, resolution=0.2))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(0.2 * draws(*parameter.shape, seed=100 + number))
    model.proprio_normaliser.set(draws(P, seed=5), draws(P, seed=6).exp())
    return model


def staggered() -> Batch:
    """Sequences whose second episodes start at five different steps, the first of them right behind the context."""
    batch = make_batch(camera=True)
    is_first = torch.zeros(B, T)
    is_first[:, 0] = is_first[torch.arange(B), CONFIG.context + torch.arange(B)] = 1.0
    return batch._replace(is_first=is_first)


def decoded(model: WorldModel, features: Tensor) -> Any:
    """torch's own distribution over normalised proprioception."""
    assert model.proprio_head is not None
    ours = model.proprio_head(features)
    components = reference.Independent(reference.Normal(ours.means, ours.log_stds.exp()), 1)
    return reference.MixtureSameFamily(reference.Categorical(logits=ours.logits), components)


def normal_proprio(model: WorldModel, batch: Batch) -> Tensor:
    assert batch.proprio is not None
    return (batch.proprio - model.proprio_normaliser.mean) / model.proprio_normaliser.std


def test_proprioception_costs_its_squared_error_at_the_resolution_and_its_likelihood(scattered: WorldModel) -> None:
    batch = staggered()
    theirs, target = (
        decoded(scattered, scattered.believe(batch, noise()).belief.features),
        normal_proprio(scattered, batch),
    )
    _, parts = scattered.loss(batch, noise())
    torch.testing.assert_close(parts["proprio"], 0.5 * ((theirs.mean - target) / 0.2).square().sum() / (B * T))
    torch.testing.assert_close(parts["mixture"], -theirs.log_prob(target).sum() / (B * T))


def test_a_picture_costs_half_the_squared_error_summed_over_its_pixels(scattered: WorldModel) -> None:
    batch = staggered()
    assert batch.camera is not None
    assert scattered.camera_head is not None
    features = scattered.believe(batch, noise()).belief.features
    expected = 0.0
    for b, t in np.ndindex(B, T):
        painted = scattered.camera_head(features[b, t : t + 1])[0].detach().numpy()
        expected += 0.5 * float(((painted - (batch.camera[b, t].numpy() / 255.0 - 0.5)) ** 2).sum()) / (B * T)
    assert float(scattered.loss(batch, noise())[1]["camera"]) == pytest.approx(expected, rel=1e-5)


def test_every_member_of_the_ensemble_pays_its_squared_error_within_episodes(scattered: WorldModel) -> None:
    batch, rollout = staggered(), scattered.believe(staggered(), noise())
    first, second, bias = (w.detach().numpy() for w in scattered.ensemble.parameters())
    features, target = (x.detach().numpy() for x in (rollout.belief.features, rollout.posterior.mean))
    errors = []
    for b, t, member in np.ndindex(B, T - 1, CONFIG.members):
        if not batch.is_first[b, t + 1]:
            entered = np.concatenate([features[b, t], batch.action[b, t + 1].numpy()]) @ first[member] + bias[member, 0]
            guess = entered / (1.0 + np.exp(-entered)) @ second[member]
            errors.append(((guess - target[b, t + 1]) ** 2).mean())
    assert len(errors) == CONFIG.members * (B * (T - 1) - B)
    assert float(scattered.loss(batch, noise())[1]["ensemble"]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_what_is_foreseen_is_held_against_reality_until_the_episode_ends(scattered: WorldModel) -> None:
    batch, C = staggered(), CONFIG.context
    rollout = scattered.believe(batch, noise())
    start = Belief(rollout.belief.deter[:, C - 1], rollout.belief.stoch[:, C - 1])
    after = Gaussian(rollout.posterior.mean[:, C:], rollout.posterior.log_std[:, C:])
    belief, prior = scattered.rssm.forecast(start, batch.action[:, C:], after)
    error = (decoded(scattered, belief.features).mean - normal_proprio(scattered, batch)[:, C:]) / 0.2
    surprise = kl_to_mixture(after, prior)
    # Sequence b goes on for b steps behind the context: 0 + 1 + 2 + 3 + 4 of them count.
    known = [(b, t) for b in range(B) for t in range(b)]
    _, parts = scattered.loss(batch, noise())
    squares = torch.stack([error[b, t].square() for b, t in known]).mean(0)
    torch.testing.assert_close(parts["foreseen_proprio"], 0.5 * squares.sum())
    scattered.config = replace(scattered.config, foreseeable=5.0)
    _, robust = scattered.loss(batch, noise())
    torch.testing.assert_close(robust["foreseen_proprio"], 12.5 * torch.log(1.0 + squares / 25.0).sum())
    torch.testing.assert_close(parts["foreseen_kl"], sum(surprise[b, t] for b, t in known) / 10)


def test_half_the_resolution_makes_an_error_of_proprioception_count_four_times(scattered: WorldModel) -> None:
    _, coarse = scattered.loss(staggered(), noise())
    scattered.config = replace(scattered.config, resolution=0.1)
    _, fine = scattered.loss(staggered(), noise())
    changed = {name for name in coarse if not torch.equal(coarse[name], fine[name])}
    assert changed == {"proprio", "foreseen_proprio"}
    for name in changed:
        torch.testing.assert_close(fine[name], 4.0 * coarse[name])


def moved(loss: Tensor, model: WorldModel) -> set[str]:
    """Parameters that a loss has a gradient for."""
    return {name for name, gradient in gradients(loss, model).items() if gradient is not None and gradient.any()}


def test_the_mixtures_likelihood_moves_its_own_head_and_nothing_that_is_believed(scattered: WorldModel) -> None:
    batch = staggered()
    parts = scattered._reconstruction(batch, scattered.believe(batch, noise()).belief.features)
    head = {name for name, _ in scattered.named_parameters() if name.startswith("proprio_head.")}
    assert moved(parts["mixture"], scattered) == head


def test_the_squared_error_shapes_the_belief_and_not_how_sure_the_mixture_is(scattered: WorldModel) -> None:
    batch = staggered()
    parts = scattered._reconstruction(batch, scattered.believe(batch, noise()).belief.features)
    shaped = {
        name for name, _ in scattered.named_parameters() if name.startswith(("encoder.", "rssm.", "proprio_head."))
    }
    unsure = {"proprio_head.spreads.weight", "proprio_head.spreads.bias"}
    imagined = {name for name in shaped if name.startswith("rssm.prior_head.")}
    assert moved(parts["proprio"], scattered) == shaped - unsure - imagined


def test_what_is_foreseen_does_not_move_what_was_believed_after_looking(scattered: WorldModel) -> None:
    batch = staggered()
    rollout = scattered.believe(batch, noise())
    looked = Gaussian(*(part.detach().requires_grad_() for part in (rollout.posterior.mean, rollout.posterior.log_std)))
    parts = scattered._foresight(batch, rollout._replace(posterior=looked))
    total = torch.stack(list(parts.values())).sum()
    reached = torch.autograd.grad(total, (looked.mean, looked.log_std), allow_unused=True)
    assert [gradient is None for gradient in reached] == [True, True]


@pytest.mark.parametrize(("stoch", "camera"), [(4, None), (4, CAMERA), (9, None), (9, CAMERA)])
def test_a_model_starts_by_copying_as_much_proprioception_as_its_state_holds(
    stoch: int, camera: tuple[int, int, int] | None
) -> None:
    """Apart from what its networks add, which is made zero here."""
    model = WorldModel(Sizes(P, G, A, camera), replace(CONFIG, stoch=stoch)).requires_grad_(False)
    assert model.proprio_head is not None
    for weight in (*model.rssm.posterior_out.parameters(), *model.proprio_head.places.parameters()):
        weight.zero_()
    mean, std = draws(P, seed=5), draws(P, seed=6).exp()
    model.proprio_normaliser.set(mean, std)
    batch = make_batch(camera=camera is not None)
    assert batch.proprio is not None
    read = model.decode_proprio(model.believe(batch, torch.zeros(B, T, stoch)).belief.features)
    torch.testing.assert_close(read[..., :stoch], batch.proprio[..., :stoch])
    torch.testing.assert_close(read[..., stoch:], mean[stoch:].expand(B, T, -1))


@pytest.mark.parametrize(("sensors", "elements"), [(0, 16), (10, 16), (17, 24), (48, 48), (348, 128)])
def test_where_no_size_is_given_the_state_fits_the_sensors_from_16_to_128(sensors: int, elements: int) -> None:
    sizes = Sizes(sensors, 0, 2)
    assert WorldModelConfig().fitted(sizes).stoch == elements
    assert WorldModelConfig(stoch=5).fitted(sizes).stoch == 5


@pytest.mark.parametrize(("proprio", "camera"), [(True, False), (False, True), (True, True)])
def test_each_observation_has_its_part_of_the_loss(proprio: bool, camera: bool) -> None:
    model = make(proprio=P if proprio else 0, camera=CAMERA if camera else None)
    batch = make_batch(proprio=proprio, camera=camera)
    loss, parts = model.loss(batch, noise())
    belief = model.believe(batch, noise()).belief
    assert {"reward", "continue", "failure", "kl", "ensemble"} <= parts.keys()
    assert ("proprio" in parts, "camera" in parts) == (proprio, camera)
    assert all(bool(part.isfinite()) for part in (loss, *parts.values()))
    assert (belief.deter.shape, belief.stoch.shape) == ((B, T, CONFIG.deter), (B, T, CONFIG.stoch))


def test_the_loss_is_its_parts_each_with_its_weight() -> None:
    torch.manual_seed(0)
    model = WorldModel(Sizes(P, G, A, CAMERA), replace(CONFIG, camera_scale=0.2, dynamics_scale=0.7))
    loss, parts = model.loss(make_batch(camera=True), noise())
    weights = {"camera": 0.2, "foreseen_kl": 0.7}
    assert parts.keys() > weights.keys()
    assert float(loss.detach()) == pytest.approx(
        sum(weights.get(name, 1.0) * float(part) for name, part in parts.items())
    )


def test_a_task_without_a_goal_needs_none() -> None:
    loss, _ = make(goal=0).loss(make_batch(goal=False), noise())
    assert bool(loss.isfinite())


@pytest.mark.parametrize(("proprio", "camera"), [(True, False), (True, True)])
def test_every_weight_is_trained(proprio: bool, camera: bool) -> None:
    model = make(camera=CAMERA if camera else None)
    loss, _ = model.loss(make_batch(camera=camera), noise())
    idle = [n for n, g in gradients(loss, model).items() if g is None or not bool(g.isfinite().all()) or not g.any()]
    # A last layer that starts at zero holds back the gradient of those before it for one update.
    held_back = ("prospect_head.trunk", "hazard_head.first", "hazard_head.second")
    assert [name for name in idle if not name.startswith(held_back)] == []


def test_one_batch_can_be_learned_by_heart() -> None:
    torch.manual_seed(0)
    model = WorldModel(Sizes(P, G, A), replace(CONFIG, deter=24, units=32))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    batch = make_batch()
    history = []
    for step in range(200):
        loss, parts = model.loss(batch, noise(seed=step))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        history.append({name: float(part) for name, part in parts.items()})
    first, last = history[0], history[-1]
    assert last["proprio"] < 0.3 * first["proprio"]
    assert last["reward"] < 0.7 * first["reward"]
    assert last["failure"] < 0.2 * first["failure"]
    assert last["continue"] < 0.2 * first["continue"]


def test_untrained_scalar_heads_cost_what_a_uniform_guess_does() -> None:
    _, parts = make().loss(make_batch(), noise())
    torch.testing.assert_close(parts["reward"], torch.tensor(math.log(101.0)))
    torch.testing.assert_close(parts["failure"], torch.tensor(math.log(2.0)))


def test_a_rewards_resolution_adds_the_squared_error_of_the_expected_reward() -> None:
    """Untrained heads expect a reward of exactly 0, at every one of the three places a reward is learned."""
    batch = make_batch()
    _, plain = make().loss(batch, noise())
    model = make()
    model.config = replace(CONFIG, reward_resolution=0.5)
    _, resolved = model.loss(batch, noise())
    arrived = torch.ones(B, T)
    arrived[:, [0, 6]] = 0.0  # nothing led to where an episode starts
    within = arrived.clone()
    within[:, 6:] = 0.0  # what is foreseen ends with the episode
    for name, mask in (("reward", arrived), ("observed_reward", arrived), ("foreseen_reward", within)):
        counted = mask[:, CONFIG.context :] if name == "foreseen_reward" else mask
        paid = batch.reward[:, CONFIG.context :] if name == "foreseen_reward" else batch.reward
        added = (0.5 * (paid / 0.5) ** 2 * counted).sum() / counted.sum()
        torch.testing.assert_close(resolved[name] - plain[name], added)


def with_opinions(model: WorldModel) -> None:
    """Let the scalar heads, which start at zero, tell something else."""
    for last in (model.prospect_head.reward, model.prospect_head.ending):
        torch.nn.init.normal_(last[0].get_parameter("weight"))


@pytest.mark.parametrize("field", ["reward", "terminated", "failure"])
def test_what_came_before_an_episode_is_not_learned(field: str) -> None:
    model, batch = make(), make_batch()
    with_opinions(model)
    value = getattr(batch, field)
    masked = batch._replace(**{field: torch.where(batch.is_first > 0.0, 1.0 - value, value)})
    seen = batch._replace(**{field: torch.where(batch.is_first > 0.0, value, 1.0 - value)})
    losses = [float(model.loss(other, noise())[0].detach()) for other in (batch, masked, seen)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_action_before_an_episode_is_not_learned() -> None:
    model, batch = make(), make_batch()
    other = batch._replace(action=batch.action + 3.0 * batch.is_first.unsqueeze(-1))
    torch.testing.assert_close(model.loss(batch, noise())[0], model.loss(other, noise())[0], rtol=0.0, atol=0.0)


def test_the_goal_changes_no_belief_and_only_the_scalar_heads() -> None:
    model, batch = make(), make_batch()
    assert batch.goal is not None
    with_opinions(model)
    elsewhere = batch._replace(goal=batch.goal + 2.0)
    one, other = (model.believe(each, noise()).belief for each in (batch, elsewhere))
    torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    parts, changed = (model.loss(each, noise())[1] for each in (batch, elsewhere))
    judged = {"reward", "continue", "failure"}
    judged |= {f"foreseen_{name}" for name in judged if f"foreseen_{name}" in parts} | {"observed_reward"}
    assert {name for name in parts if not torch.equal(parts[name], changed[name])} == judged


def test_a_plant_that_cannot_fail_is_never_predicted_to() -> None:
    model = WorldModel(Sizes(P, G, A), CONFIG, can_fail=False)
    prospect = model.prospect_head(model.with_goal(draws(B, CONFIG.deter + CONFIG.stoch), draws(B, G)))
    assert float(prospect.failure.mean.max()) < 1e-12


def test_the_worse_of_two_tellings_of_failure_is_believed_and_nothing_goes_on_after_it() -> None:
    model, features = make(goal=0), draws(B, CONFIG.deter + CONFIG.stoch)
    assert model.hazard_head is not None
    ending, hazard = model.prospect_head.ending[0].get_parameter("bias"), model.hazard_head.last_bias
    with torch.no_grad():
        for told, feared, expected in ((-2.0, -9.0, -2.0), (-2.0, 3.0, 3.0)):
            ending.copy_(torch.tensor([9.0, told]))
            hazard.fill_(feared)
            _, proceed, failure = model.prospects(features, None)
            torch.testing.assert_close(failure, torch.full((B,), expected).sigmoid())
            torch.testing.assert_close(proceed, torch.minimum(1.0 - failure, torch.tensor(9.0).sigmoid()))


def test_the_ensemble_moves_nothing_of_the_model() -> None:
    model, batch = make(), make_batch()
    rollout = model.rssm.follow(
        model.rssm.initial(B), batch.action, model.embed(batch.proprio, None), batch.is_first, noise()
    )
    moved = gradients(model._ensemble(batch, rollout), model)
    assert {name for name, gradient in moved.items() if gradient is not None} == {
        name for name, _ in model.named_parameters() if name.startswith("ensemble.")
    }


def gaussians(offset: float) -> Rollout:
    """A posterior and a one-component prior `offset` apart, both of unit std: KL = offset^2 / 2."""
    leaf = torch.zeros(B, T, 1, requires_grad=True)
    prior_mean = torch.full((B, T, 1, 1), offset, requires_grad=True)
    posterior = Gaussian(leaf, torch.zeros(B, T, 1))
    return Rollout(Belief(leaf, leaf), posterior, Mixture(torch.zeros(B, T, 1), prior_mean, torch.zeros(B, T, 1, 1)))


def test_kl_below_the_free_nats_costs_them_and_moves_nothing() -> None:
    model, rollout = make(), gaussians(offset=0.5)  # KL 0.125 < 0.3
    kl = model._kl(make_batch(), rollout)["kl"]
    torch.testing.assert_close(kl, torch.tensor(CONFIG.free_nats))
    (gradient,) = torch.autograd.grad(kl, rollout.prior.means)
    assert float(gradient.abs().max()) == 0.0


def test_the_first_step_of_a_window_or_episode_is_not_held_against_the_prior() -> None:
    model, batch = make(), make_batch()
    rollout = model.believe(batch, noise())
    unknown = batch.is_first.clone()
    unknown[:, 0] = 1.0
    posterior = replace(rollout.posterior, mean=rollout.posterior.mean + 100.0 * unknown.unsqueeze(-1))
    moved = model._kl(batch, rollout._replace(posterior=posterior))
    torch.testing.assert_close(moved, model._kl(batch, rollout), rtol=0.0, atol=0.0)


def test_the_first_step_of_a_window_is_not_held_against_the_scalar_heads() -> None:
    model, batch = make(), make_batch()._replace(is_first=torch.zeros(B, T))
    with_opinions(model)
    reward = batch.reward.clone()
    reward[:, 0] += 5.0
    assert model.loss(batch, noise())[1]["reward"] == model.loss(batch._replace(reward=reward), noise())[1]["reward"]
    reward[:, 1] += 5.0
    assert model.loss(batch, noise())[1]["reward"] != model.loss(batch._replace(reward=reward), noise())[1]["reward"]


def test_kl_balance_pulls_prior_and_posterior_each_by_its_share() -> None:
    model, rollout = make(), gaussians(offset=2.0)
    kl = model._kl(make_batch(), rollout)["kl"]
    torch.testing.assert_close(kl, torch.tensor(2.0))
    posterior, prior = torch.autograd.grad(kl, (rollout.posterior.mean, rollout.prior.means))
    # The slope of offset^2 / 2, shared by all counted steps.
    torch.testing.assert_close(prior.sum(), torch.tensor(2.0 * CONFIG.dynamics_scale))
    torch.testing.assert_close(posterior.sum(), torch.tensor(-2.0 * CONFIG.representation_scale))


def test_decoded_proprioception_is_in_the_tasks_units() -> None:
    model, features = make().requires_grad_(False), draws(B, CONFIG.deter + CONFIG.stoch)
    normal = model.decode_proprio(features)
    model.proprio_normaliser.set(torch.full((P,), 100.0), torch.full((P,), 2.0))
    torch.testing.assert_close(model.decode_proprio(features), 2.0 * normal + 100.0)


def test_the_same_noise_gives_the_same_loss() -> None:
    model, batch = make(), make_batch()
    one, same, other = (model.loss(batch, noise(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def learn(model: WorldModel, draw: Callable[[], Batch], updates: int, generator: torch.Generator) -> None:
    """Train a model on batches drawn anew for every update."""
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(updates):
        batch = draw()
        loss, _ = model.loss(batch, torch.randn(*batch.reward.shape, model.config.stoch, generator=generator))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def crashes(count: int, generator: torch.Generator) -> Batch:
    """A plant that moves 0.25 a step and, at 1.0, crashes four times in ten and is thrown off its course."""
    steps = 9
    position = 0.25 * (torch.arange(steps) - torch.randint(4, (count, 1), generator=generator))
    crash = ((position - 1.0).abs() < 0.1) & (torch.rand(count, 1, generator=generator) < 0.4)
    crash = crash.float()
    return Batch(
        action=torch.zeros(count, steps, 1),
        reward=torch.zeros(count, steps),
        terminated=crash,
        failure=crash,
        is_first=(torch.arange(steps) == 0).float().expand(count, -1) + _after(crash),
        proprio=torch.stack([position, 2.0 * crash], -1),
    )


def _after(crash: Tensor) -> Tensor:
    """1 at the step after a crash."""
    return torch.cat([torch.zeros_like(crash[:, :1]), crash[:, :-1]], 1)


def test_a_crash_that_throws_the_plant_off_its_course_is_foreseen_on_its_course() -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, deter=32, units=32)
    model = WorldModel(Sizes(2, 0, 1), config)
    generator = torch.Generator().manual_seed(1)
    learn(model, partial(crashes, 32, generator), 600, generator)
    seen = 0.25 * torch.arange(-2.0, 2.0)  # up to 0.25, so that three steps later it is at 1.0
    start, still = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 4)
    batch = Batch(still.unsqueeze(-1), still, still, still, start, torch.stack([seen, torch.zeros(4)], -1)[None])
    belief = Belief(*(part[:, -1] for part in model.believe(batch, torch.zeros(1, 4, config.stoch)).belief))
    foreseen = []
    with torch.no_grad():
        for _ in range(4):
            belief = model.rssm.imagine(belief, torch.zeros(1, 1), noise=None)
            foreseen.append(float(model.prospects(belief.features, None)[2]))
    assert foreseen[2] == pytest.approx(0.4, abs=0.25)
    assert max(foreseen[:2]) < 0.1


def obstacles(count: int, generator: torch.Generator) -> Batch:
    """A plant that moves 0.25 a step and crashes where it enters an obstacle at 1.0; half of them start behind it."""
    steps = torch.arange(9)
    start = torch.tensor([0.0, 0.25, 0.5, 1.75, 2.0, 2.25])[torch.randint(6, (count, 1), generator=generator)]
    period = torch.where(start < 1.0, (1.0 - start) / 0.25 + 1.0, len(steps)).long()  # then an episode like it begins
    position = start + 0.25 * (steps % period)
    crash = (position == 1.0).float()
    return Batch(
        action=torch.zeros(count, len(steps), 1),
        reward=torch.zeros(count, len(steps)),
        terminated=crash,
        failure=crash,
        is_first=(steps % period == 0).float(),
        proprio=position.unsqueeze(-1),
    )


def test_what_lies_behind_a_failure_is_foreseen_to_have_failed() -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, deter=32, units=32)
    model = WorldModel(Sizes(1, 0, 1), config)
    generator = torch.Generator().manual_seed(1)
    learn(model, partial(obstacles, 32, generator), 600, generator)
    start, still = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(2, -1), torch.zeros(2, 4)
    seen = torch.tensor([[-0.25], [1.75]]) + 0.25 * torch.arange(4)
    batch = Batch(still.unsqueeze(-1), still, still, still, start, seen.unsqueeze(-1))
    belief = Belief(*(part[:, -1] for part in model.believe(batch, torch.zeros(2, 4, config.stoch)).belief))
    foreseen = []
    with torch.no_grad():
        for _ in range(5):  # as far as it was trained to look ahead
            belief = model.rssm.imagine(belief, torch.zeros(2, 1), noise=None)
            foreseen.append(model.prospects(belief.features, None)[2])
    into, behind = torch.stack(foreseen, 1)
    assert float(into[0]) < 0.5  # one step before the obstacle
    assert float(into[1:].min()) > 0.8
    assert float(behind.max()) < 0.1


def test_an_observed_reward_is_read_from_the_state_nobody_could_foresee() -> None:
    """The plant jumps anywhere at every step and is paid by where it lands."""
    torch.manual_seed(0)
    model = WorldModel(Sizes(1, 0, 1), replace(CONFIG, deter=32, units=32))
    generator = torch.Generator().manual_seed(1)
    start = (torch.arange(9) == 0).float().expand(32, -1)

    def jumps() -> Batch:
        place = torch.rand(32, 9, 1, generator=generator) * 4.0 - 2.0
        still = torch.zeros(32, 9)
        return Batch(still.unsqueeze(-1), place.squeeze(-1), still, still, start, place)

    learn(model, jumps, 300, generator)
    batch = jumps()
    with torch.no_grad():
        belief = model.believe(batch, torch.zeros(32, 9, CONFIG.stoch)).belief
        read = model.prospect_head(belief.features).reward.mean
    assert float((read - batch.reward)[:, 1:].abs().mean()) < 0.3  # the mean of all places is 1.0 off

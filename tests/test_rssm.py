"""The recurrent state-space model: what it remembers, what it forgets, and that it repeats."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmctrl.model.distributions import Gaussian
from wmctrl.model.mdn import MDNHead, Mixture, MixtureNoise
from wmctrl.model.rssm import RSSM, Belief
from wmctrl.model.world_model import Batch, Sizes, WorldModel, WorldModelConfig

B, T, A, EMBEDDING, D, S, K, UNITS = 3, 7, 2, 13, 11, 5, 4, 17


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rssm() -> RSSM:
    torch.manual_seed(0)
    made = RSSM(A, EMBEDDING, D, S, K, UNITS).requires_grad_(False)
    torch.nn.init.normal_(made.posterior_skip.weight, std=0.3)  # as after training: it starts at zero
    return made


def starts(*steps: int) -> Tensor:
    """1 where an episode starts (B, T), in every sequence."""
    is_first = torch.zeros(B, T)
    is_first[:, list(steps)] = 1.0
    return is_first


def belief(*batch: int) -> Belief:
    return Belief(draws(*batch, D, seed=8).tanh(), draws(*batch, S, seed=9))


@pytest.fixture
def drawn(rssm: RSSM) -> RSSM:
    """A model none of whose parameters is at its neutral value."""
    for number, parameter in enumerate(rssm.parameters()):
        parameter.copy_(0.5 * draws(*parameter.shape, seed=100 + number))
    return rssm


Array = NDArray[np.float64]


def arrays(module: torch.nn.Module) -> dict[str, Array]:
    return {name: weight.double().numpy() for name, weight in module.state_dict().items()}


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def normalised(x: Array, w: dict[str, Array], name: str) -> Array:
    """LayerNorm over the last axis (Ba et al. 2016)."""
    spread = np.sqrt(((x - x.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def remembered(w: dict[str, Array], h: Array, z: Array, a: Array) -> Array:
    """x = silu(LN(W_z z + W_a a + b)); [r, c, u] = LN(W [x, h]); h' = h + s(u - 1) (tanh(s(r) c) - h) (..., D)."""
    x = z @ w["input_stoch.weight"].T + a @ w["input_action.weight"].T + w["input_action.bias"]
    x = normalised(x, w, "input_norm")
    x = x * sigmoid(x)
    gates = normalised(np.concatenate([x, h], -1) @ w["gates.weight"].T, w, "gates_norm")
    r, c, u = gates[..., :D], gates[..., D : 2 * D], gates[..., 2 * D :]
    share = sigmoid(u - 1.0)
    return np.asarray((1.0 - share) * h + share * np.tanh(sigmoid(r) * c))


def looked(w: dict[str, Array], h: Array, e: Array) -> tuple[Array, Array]:
    """x = silu(LN(W_h h + W_e e + b)); [m, l] = W x + b; mean m + W_s e, ln std -5 + 3.5 (tanh(l) + 1) (..., S)."""
    x = h @ w["posterior_deter.weight"].T + e @ w["posterior_embedding.weight"].T + w["posterior_embedding.bias"]
    x = normalised(x, w, "posterior_norm")
    out = x * sigmoid(x) @ w["posterior_out.weight"].T + w["posterior_out.bias"]
    return out[..., :S] + e @ w["posterior_skip.weight"].T, -5.0 + 3.5 * (np.tanh(out[..., S:]) + 1.0)


def test_the_memory_is_the_gated_unit_written_out_by_hand(drawn: RSSM) -> None:
    before, action = belief(B), draws(B, A, seed=1)
    after = drawn.imagine(before, action, noise=None).deter
    expected = remembered(arrays(drawn), before.deter.numpy(), before.stoch.numpy(), action.numpy())
    np.testing.assert_allclose(after.numpy(), expected, rtol=0.0, atol=1e-6)


def test_the_posterior_is_the_gaussian_written_out_by_hand(drawn: RSSM) -> None:
    before, action, embedding, noise = belief(B), draws(B, A), draws(B, EMBEDDING, seed=2), draws(B, S, seed=3)
    after = drawn.observe(before, action, embedding, noise)
    mean, log_std = looked(arrays(drawn), after.deter.numpy(), embedding.numpy())
    np.testing.assert_allclose(after.stoch.numpy(), mean + np.exp(log_std) * noise.numpy(), rtol=1e-5, atol=1e-5)


def test_features_are_both_parts_side_by_side() -> None:
    both = Belief(torch.tensor([1.0, 2.0]), torch.tensor([3.0]))
    assert both.features.tolist() == [1.0, 2.0, 3.0]


def test_shapes_are_batch_first(rssm: RSSM) -> None:
    rollout = rssm.follow(rssm.initial(B), draws(B, T, A), draws(B, T, EMBEDDING), starts(0), draws(B, T, S))
    assert (rollout.belief.deter.shape, rollout.belief.stoch.shape) == ((B, T, D), (B, T, S))
    assert rollout.posterior.mean.shape == rollout.posterior.log_std.shape == (B, T, S)
    assert (rollout.prior.logits.shape, rollout.prior.means.shape) == ((B, T, K), (B, T, K, S))
    assert rssm.initial(B, T).stoch.shape == (B, T, S)


def test_following_a_sequence_is_observing_step_by_step(rssm: RSSM) -> None:
    action, embedding, noise = draws(B, T, A, seed=1), draws(B, T, EMBEDDING, seed=2), draws(B, T, S, seed=3)
    rollout = rssm.follow(belief(B), action, embedding, starts(), noise)
    step = belief(B)
    for t in range(T):
        step = rssm.observe(step, action[:, t], embedding[:, t], noise[:, t])
        torch.testing.assert_close(step.features, rollout.belief.features[:, t])


def test_an_episode_starts_from_the_initial_belief_and_no_action(rssm: RSSM) -> None:
    action, embedding, noise = draws(B, T, A, seed=1), draws(B, T, EMBEDDING, seed=2), draws(B, T, S, seed=3)
    rollout = rssm.follow(belief(B), action, embedding, starts(4), noise)
    first = rssm.observe(rssm.initial(B), torch.zeros(B, A), embedding[:, 4], noise[:, 4])
    torch.testing.assert_close(rollout.belief.features[:, 4], first.features)


def test_nothing_before_a_start_changes_what_follows(rssm: RSSM) -> None:
    action, embedding, noise = draws(B, T, A, seed=1), draws(B, T, EMBEDDING, seed=2), draws(B, T, S, seed=3)
    one = rssm.follow(belief(B), action, embedding, starts(4), noise)
    past = (torch.arange(T) < 4).float()[:, None]
    other = rssm.follow(rssm.initial(B), action + 5.0 * past, embedding + 5.0 * past, starts(4), noise + 5.0 * past)
    torch.testing.assert_close(one.belief.features[:, 4:], other.belief.features[:, 4:], rtol=0.0, atol=0.0)
    assert not torch.equal(one.belief.features[:, 3], other.belief.features[:, 3])


def test_the_action_before_a_start_is_not_seen(rssm: RSSM) -> None:
    action, embedding, noise = draws(B, T, A, seed=1), draws(B, T, EMBEDDING, seed=2), draws(B, T, S, seed=3)
    changed = action.clone()
    changed[:, 4] += 3.0
    one, other = (rssm.follow(belief(B), a, embedding, starts(4), noise) for a in (action, changed))
    torch.testing.assert_close(one.belief.features, other.belief.features, rtol=0.0, atol=0.0)


def test_no_gradient_crosses_a_start(rssm: RSSM) -> None:
    embedding = draws(B, T, EMBEDDING).requires_grad_()
    rollout = rssm.follow(rssm.initial(B), draws(B, T, A), embedding, starts(4), draws(B, T, S))
    (gradient,) = torch.autograd.grad(rollout.belief.features[:, 4:].sum(), embedding)
    assert float(gradient[:, :4].abs().max()) == 0.0
    assert float(gradient[:, 4:].abs().min(-1).values.max()) > 0.0


def test_gradient_flows_through_time_within_an_episode(rssm: RSSM) -> None:
    embedding = draws(B, T, EMBEDDING).requires_grad_()
    rollout = rssm.follow(rssm.initial(B), draws(B, T, A), embedding, starts(0), draws(B, T, S))
    (gradient,) = torch.autograd.grad(rollout.belief.features[:, -1].sum(), embedding)
    assert bool((gradient[:, 0] != 0.0).any())


def test_the_prior_does_not_see_the_observation_it_predicts(rssm: RSSM) -> None:
    embedding = draws(B, T, EMBEDDING).requires_grad_()
    rollout = rssm.follow(rssm.initial(B), draws(B, T, A), embedding, starts(0), draws(B, T, S))
    (gradient,) = torch.autograd.grad(rollout.prior.means[:, 3].sum(), embedding)
    assert float(gradient[:, 3:].abs().max()) == 0.0
    assert float(gradient[:, :3].abs().max()) > 0.0


def test_imagining_without_noise_takes_the_most_probable_component(rssm: RSSM) -> None:
    sure = rssm.imagine(belief(B), draws(B, A), noise=None)
    drawn = rssm.imagine(belief(B), draws(B, A), MixtureNoise(torch.zeros(B, K), torch.zeros(B, S)))
    torch.testing.assert_close(sure, drawn)


def test_imagining_and_observing_share_the_memory(rssm: RSSM) -> None:
    action = draws(B, A)
    imagined = rssm.imagine(belief(B), action, MixtureNoise(torch.zeros(B, K), torch.zeros(B, S)))
    observed = rssm.observe(belief(B), action, draws(B, EMBEDDING), torch.zeros(B, S))
    torch.testing.assert_close(imagined.deter, observed.deter)


def test_the_prior_that_is_trained_is_the_one_imagined_from(rssm: RSSM) -> None:
    action = draws(B, T, A, seed=1)
    rollout = rssm.follow(belief(B), action, draws(B, T, EMBEDDING, seed=2), starts(), draws(B, T, S, seed=3))
    before = Belief(*(part[:, :-1] for part in rollout.belief))
    imagined = rssm.imagine(before, action[:, 1:], MixtureNoise(torch.zeros(K), torch.zeros(S)))
    expected = rollout.prior.sample(MixtureNoise(torch.zeros(K), torch.zeros(S)))
    torch.testing.assert_close(imagined.stoch, expected[:, 1:])


def test_a_change_in_proportion_to_state_and_action_is_kept_at_any_size(rssm: RSSM) -> None:
    """A cart moves by its speed and speeds up by the push: of a thousand times as much, a thousand times as far."""
    head = rssm.prior_head
    for weight in (head.places.weight, head.skip.weight):
        weight.zero_()
    state = D + UNITS
    head.skip.weight[0, state + 1] = 0.1  # position by speed
    head.skip.weight[1, state + S] = 0.2  # speed by the first action
    stoch, action = torch.tensor([3.0, 5.0, 0.0, 0.0, 0.0]), torch.tensor([7.0, 0.0])
    for size in (1e-3, 1.0, 1e3):
        after = rssm.imagine(Belief(torch.zeros(D), size * stoch), size * action, noise=None).stoch
        torch.testing.assert_close(after, size * torch.tensor([3.5, 6.4, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("futures", [None, 1, 3])
def test_extrapolating_is_imagining_every_sequence_in_every_future_step_by_step(
    drawn: RSSM, futures: int | None
) -> None:
    start, actions = belief(), draws(B, T, A, seed=1)
    shape, generator = (futures or 1, T), torch.Generator().manual_seed(2)
    noise = None if futures is None else MixtureNoise.draw(shape, K, S, generator)
    found = drawn.extrapolate(start, actions, noise)
    assert len(found) == T
    for future in range(futures or 1):
        for sequence in range(B):
            now = start
            for t in range(T):
                draw = None if noise is None else MixtureNoise(*(part[future, t] for part in noise))
                now = drawn.imagine(now, actions[sequence, t], draw)
                row = Belief(*(part[future * B + sequence] for part in found[t]))
                torch.testing.assert_close(row, now)


def test_forecast_with_one_component_is_imagining_step_by_step() -> None:
    torch.manual_seed(0)
    single = RSSM(A, EMBEDDING, D, S, 1, UNITS).requires_grad_(False)
    action, ahead = draws(B, T, A), Gaussian(draws(B, T, S), draws(B, T, S))
    beliefs, prior = single.forecast(belief(B), action, ahead)
    step = belief(B)
    for t in range(T):
        step = single.imagine(step, action[:, t], MixtureNoise(torch.zeros(B, 1), torch.zeros(B, S)))
        torch.testing.assert_close(step.features, beliefs.features[:, t])
        torch.testing.assert_close(step.stoch, prior.means[:, t, 0])


class Fork(MDNHead):
    """K outcomes of equal odds, ten apart from wherever it starts."""

    def forward(self, features: Tensor, origin: Tensor | None = None) -> Mixture:
        assert origin is not None, "the prior predicts a change"
        means = origin.unsqueeze(-2) + 10.0 * torch.arange(K).unsqueeze(-1)  # (..., K, S)
        return Mixture(means.new_zeros(means.shape[:-1]), means, torch.zeros_like(means))


def test_forecast_takes_the_branches_that_were_really_taken(rssm: RSSM) -> None:
    rssm.prior_head = Fork(D, S, K, UNITS, 1)
    branches = torch.tensor([[0, 3, 1], [2, 2, 0], [1, 0, 3]])  # (B, 3)
    taken = belief(B).stoch.unsqueeze(1) + 10.0 * branches.cumsum(1).unsqueeze(-1)
    beliefs, _ = rssm.forecast(belief(B), draws(B, 3, A), Gaussian(taken + 0.3, torch.full_like(taken, -2.0)))
    torch.testing.assert_close(beliefs.stoch, taken)


def test_the_memory_sees_how_large_an_action_is(rssm: RSSM) -> None:
    still, start = MixtureNoise(torch.zeros(B, K), torch.zeros(B, S)), rssm.initial(B)
    small, large = (rssm.imagine(start, scale * draws(B, A), still).deter for scale in (1.0, 2.0))
    assert float((small - large).abs().max()) > 1e-2


def test_the_same_noise_gives_the_same_future(rssm: RSSM) -> None:
    noise = MixtureNoise(draws(B, K), draws(B, S))
    one, same = (rssm.imagine(belief(B), draws(B, A, seed=1), noise) for _ in range(2))
    torch.testing.assert_close(one, same, rtol=0.0, atol=0.0)
    other = rssm.imagine(belief(B), draws(B, A, seed=1), MixtureNoise(draws(B, K), draws(B, S, seed=4)))
    assert not torch.equal(one.stoch, other.stoch)


def test_the_memory_stays_within_one(rssm: RSSM) -> None:
    step = rssm.initial(B)
    for t in range(50):
        step = rssm.observe(step, 100.0 * draws(B, A, seed=t), 100.0 * draws(B, EMBEDDING, seed=t), draws(B, S))
    assert float(step.deter.abs().max()) <= 1.0


def forked_batch(count: int, seed: int) -> Batch:
    """Episodes of three steps that start at 0, wait, and then jump to +1 (P = 0.7) or -1 by a coin nobody sees."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.where(torch.rand(count, generator=generator) < 0.7, 1.0, -1.0)
    place = torch.stack([torch.zeros(count), torch.zeros(count), side], 1)
    nothing = torch.zeros(count, 3)
    return Batch(
        action=torch.zeros(count, 3, 1),
        reward=nothing,
        terminated=nothing,
        failure=nothing,
        is_first=torch.tensor([1.0, 0.0, 0.0]).expand(count, 3),
        proprio=(place + 0.05 * torch.randn(count, 3, generator=generator)).unsqueeze(-1),
    )


def forked_predictions(components: int) -> Tensor:
    """Where a world model with that many components in its prior imagines the plant after the fork (1000,)."""
    torch.manual_seed(0)
    config = WorldModelConfig(
        deter=16,
        stoch=4,
        units=32,
        layers=1,
        prior_components=components,
        decoder_components=1,
        members=2,
        free_nats=0.0,
    )
    model = WorldModel(Sizes(proprio=1, goal=0, action=1), config)
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    for step in range(500):
        loss, _ = model.loss(forked_batch(64, seed=step), draws(64, 3, 4, seed=step))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    model.requires_grad_(False)
    batch, count = forked_batch(1000, seed=10_000), 1000
    seen = model.rssm.follow(
        model.rssm.initial(count), batch.action, model.embed(batch.proprio, None), batch.is_first, draws(count, 3, 4)
    ).belief
    uniform = torch.rand(count, components, generator=torch.Generator().manual_seed(5)).clamp(1e-6, 1.0 - 1e-6)
    noise = MixtureNoise(-torch.log(-torch.log(uniform)), draws(count, 4, seed=6))
    imagined = model.rssm.imagine(Belief(seen.deter[:, 1], seen.stoch[:, 1]), batch.action[:, 2], noise)
    return model.decode_proprio(imagined.features)[:, 0]


def test_a_mixture_prior_imagines_both_outcomes_and_a_single_gaussian_what_never_happens() -> None:
    """The states between the outcomes do not exist; the share imagined there tells the priors apart."""
    many, single = forked_predictions(4), forked_predictions(1)
    assert float((many > 0.0).float().mean()) == pytest.approx(0.7, abs=0.1)
    assert float((many.abs() < 0.7).float().mean()) < 0.05
    assert float((single.abs() < 0.7).float().mean()) > 0.1

"""Actor and critic: returns worked by hand, the price of failing, and an actor that learns on a known plant."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from wmctrl.learning.behavior import Actor, Behavior, BehaviorConfig, Imagination, lambda_returns, quantile
from wmctrl.learning.imagination import Pay
from wmctrl.model.distributions import Bernoulli, TwoHot, symlog
from wmctrl.model.heads import Ensemble, Prospect, ProspectHead
from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.rssm import RSSM, Belief
from wmctrl.model.world_model import Sizes, WorldModel, WorldModelConfig
from wmctrl.planning.objective import ObjectiveConfig

N, H, INPUTS, A = 5, 3, 7, 2
CONFIG = BehaviorConfig(units=17, layers=1, horizon=H)
CLIFF = 1.0


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def behavior(config: BehaviorConfig = CONFIG, inputs: int = INPUTS, action: int = A) -> Behavior:
    torch.manual_seed(0)
    return Behavior(inputs, action, config)


def imagined(*, reward: float = 0.0, proceed: float = 1.0, failure: float = 0.0) -> Imagination:
    """The same at every arrival."""
    flat = torch.ones(N, H)
    inputs = draws(N, H + 1, INPUTS)
    scalars = (reward * flat, proceed * flat, failure * flat, torch.zeros(N, H))
    return Imagination(inputs[:, :-1], inputs[:, 1:], *scalars)


def test_lambda_returns_by_hand() -> None:
    returns = lambda_returns(
        reward=torch.tensor([[1.0, 2.0]]),
        proceed=torch.tensor([[1.0, 0.5]]),
        value=torch.tensor([[10.0, 20.0]]),
        ending=torch.tensor([[0.0, -4.0]]),
        discount=0.5,
        trace=0.75,
    )
    # Last: 2 + 0.5 (0.5 * 20 - 4) = 5. First: 1 + 0.5 (0.25 * 10 + 0.75 * 5) = 4.125.
    torch.testing.assert_close(returns, torch.tensor([[4.125, 5.0]]))


@pytest.mark.parametrize("trace", [0.0, 0.6, 1.0])
def test_lambda_returns_are_the_weighted_n_step_returns(trace: float) -> None:
    """Sutton and Barto 2018, eq. 12.3: (1 - lambda) sum_n lambda^(n-1) G_(t:t+n), the last with what weight remains."""
    discount, H = 0.9, 6
    reward, value = draws(H, seed=1), draws(H, seed=2)
    proceed = draws(H, seed=3).sigmoid()

    def n_step(t: int, n: int) -> float:
        total, scale = 0.0, 1.0
        for k in range(t, t + n):
            total += scale * float(reward[k])
            scale *= discount * float(proceed[k])
        return total + scale * float(value[t + n - 1])

    expected = []
    for t in range(H):
        left = H - t
        weights = [(1.0 - trace) * trace ** (n - 1) for n in range(1, left)] + [trace ** (left - 1)]
        expected.append(sum(w * n_step(t, n) for n, w in enumerate(weights, start=1)))
    ours = lambda_returns(reward[None], proceed[None], value[None], torch.zeros(1, H), discount, trace)
    torch.testing.assert_close(ours, torch.tensor([expected]))


def test_the_critic_learns_that_failing_is_for_ever() -> None:
    """Certain failure at each arrival: now the reward, then the worst reward for ever, discounted."""
    config = replace(CONFIG, units=32)
    learner = behavior(config)
    situation = imagined(reward=1.0, proceed=0.0, failure=1.0)
    optimizer = torch.optim.Adam(learner.critic.parameters(), 3e-3)
    for _ in range(150):
        loss = learner.losses(situation, failure_reward=-2.0).critic
        optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=list(learner.critic.parameters()))
        optimizer.step()
    expected = 1.0 + 0.97 * -2.0 / 0.03
    value = learner.critic(situation.before[:, 0]).mean.detach()
    torch.testing.assert_close(value, torch.full((N,), expected), rtol=0.05, atol=0.0)


def test_what_comes_after_an_ending_counts_only_as_far_as_it_is_reached() -> None:
    learner, situation = behavior(), imagined(proceed=0.0)
    other = situation._replace(reward=torch.tensor([0.0, 50.0, -50.0]).expand(N, H))
    losses = [learner.losses(s, failure_reward=0.0)[:2] for s in (situation, other)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)


def test_the_actor_is_paid_for_being_undecided() -> None:
    learner = behavior(replace(CONFIG, entropy=0.25))
    with torch.no_grad():
        sure = learner.losses(imagined(), 0.0).actor
        unsure = learner.losses(imagined()._replace(entropy=torch.full((N, H), 2.0)), 0.0).actor
    torch.testing.assert_close(unsure, sure - 0.25 * 2.0)


def test_the_critics_loss_moves_neither_actor_nor_slow_critic() -> None:
    learner = behavior()
    loss = learner.losses(imagined(reward=1.0), failure_reward=0.0).critic
    torch.autograd.backward(loss)
    moved = {name.split(".")[0] for name, parameter in learner.named_parameters() if parameter.grad is not None}
    assert moved == {"critic"}


@pytest.mark.parametrize(("learned", "rate"), [("actor", 0.3), ("critic", 0.02)])
def test_slow_copies_start_equal_and_follow_slowly(learned: str, rate: float) -> None:
    learner = behavior(replace(CONFIG, average_rate=0.3, slow_rate=0.02))
    fast, slow = list(getattr(learner, learned).parameters()), list(getattr(learner, f"slow_{learned}").parameters())
    torch.testing.assert_close(slow, fast)
    with torch.no_grad():
        for parameter in fast:
            parameter.fill_(1.0)
    before = [parameter.clone() for parameter in slow]
    learner.follow_slowly()
    for old, new in zip(before, slow, strict=True):
        torch.testing.assert_close(new, (1.0 - rate) * old + rate)


@pytest.mark.parametrize("name", ["slow_rate", "average_rate"])
def test_shares_that_a_copy_cannot_follow_with_are_refused(name: str) -> None:
    def settings(share: float) -> BehaviorConfig:
        given: Any = {name: share}
        return replace(CONFIG, **given)

    assert settings(1.0) != CONFIG
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"{name} must be"):
            settings(wrong)


def test_quantiles_are_torchs() -> None:
    for n in (1, 2, 3, 20, 21, 640):
        values = draws(n, seed=n)
        for share in (0.0, 0.05, 0.5, 0.95, 1.0):
            expected = torch.quantile(values, share)
            torch.testing.assert_close(quantile(values.sort().values, share), expected, rtol=0.0, atol=0.0)


def test_the_unit_of_returns_is_their_percentile_range_and_never_below_one() -> None:
    learner = behavior()
    spread = torch.linspace(0.0, 1000.0, N * H).reshape(N, H)
    situation = imagined(proceed=0.0)._replace(reward=spread)
    found = learner.losses(situation, failure_reward=0.0).spread
    # 1 % of the way from 1 to the 5-95 percentile range of an even spread, 900.
    torch.testing.assert_close(found, torch.tensor(0.99 + 0.01 * 900.0))
    quiet = behavior()
    for _ in range(50):
        quiet.spread.copy_(quiet.losses(imagined(), failure_reward=0.0).spread)
    certain = quiet.losses(imagined(reward=0.1, proceed=0.0), failure_reward=0.0).actor
    assert float(quiet.spread) < 1.0
    # Only the first of the three arrivals is reached: 0.1 / 3, not divided by a spread below one.
    torch.testing.assert_close(certain, torch.tensor(-0.1 / H))


def test_an_untrained_actor_rests_with_a_wide_spread() -> None:
    actor = Actor(INPUTS, A, replace(CONFIG, min_log_std=-2.0)).requires_grad_(False)
    policy = actor(draws(N, INPUTS))
    torch.testing.assert_close(policy.mean, torch.zeros(N, A))
    torch.testing.assert_close(policy.base.log_std, torch.full((N, A), -0.75))  # half-way between -2 and 0.5


class Cart(RSSM):
    """Exact dynamics of a cart: an action moves its place by a tenth of itself, and noise pushes it."""

    def imagine(self, belief: Belief, action: Tensor, noise: MixtureNoise | None) -> Belief:
        assert noise is not None
        return Belief(belief.deter + 0.1 * action + noise.value, belief.stoch)


class Slope(ProspectHead):
    """Reward grows to the right up to a cliff, beyond which the plant fails."""

    def forward(self, inputs: Tensor) -> Prospect:
        place = inputs[..., :1]
        fails = 20.0 * (place[..., 0] - CLIFF)
        goes_on = Bernoulli(torch.full_like(fails, 20.0))  # the two heads may disagree: failure has the last word
        share = 0.5 + symlog(place) / 20.0  # between two bins at either end
        reward = TwoHot(torch.cat([1.0 - share, share], -1).log(), torch.tensor([-10.0, 10.0]))
        return Prospect(reward, goes_on, Bernoulli(fails))


class Fog(Ensemble):
    """Members whose spread grows with the place and, ten times as much, with the action."""

    def disagreement(self, features: Tensor, action: Tensor) -> Tensor:
        return features[:, 0] + 10.0 * action[:, 0]


def slope() -> WorldModel:
    config = WorldModelConfig(deter=1, stoch=1, units=4, layers=1, prior_components=2, members=2)
    model = WorldModel(Sizes(proprio=1, goal=0, action=1), config)
    model.rssm = Cart(1, model.encoder.outputs, 1, 1, 2, 4)
    model.prospect_head, model.hazard_head = Slope(2, 4, 1), None
    return model.requires_grad_(False)


def pushed(push: Tensor) -> MixtureNoise:
    """Futures in which the cart is pushed by so much at every step (N, H)."""
    return MixtureNoise(torch.zeros(*push.shape, 2), push.unsqueeze(-1))


def rewarded(failure_reward: float) -> Pay:
    return Pay.of(ObjectiveConfig(), failure_reward)


def places(*values: float) -> Belief:
    column = torch.tensor(values).unsqueeze(-1)
    return Belief(column, torch.zeros_like(column))


def trained_actor(failure_reward: float) -> Actor:
    model, learner = slope(), behavior(BehaviorConfig(units=32, layers=1, horizon=6), inputs=2, action=1)
    optimizers = [torch.optim.Adam(part.parameters(), 3e-3) for part in (learner.actor, learner.critic)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        starts = Belief(2.0 * torch.rand(64, 1, generator=generator) - 1.0, torch.zeros(64, 1))
        situation = learner.imagine(
            model,
            rewarded(failure_reward),
            starts,
            None,
            torch.randn(64, 6, 1, generator=generator),
            pushed(torch.zeros(64, 6)),
        )
        actor_loss, critic_loss, learner.spread, _ = learner.losses(situation, failure_reward)
        for loss, part, optimizer in zip(
            (actor_loss, critic_loss), (learner.actor, learner.critic), optimizers, strict=True
        ):
            for parameter, gradient in zip(
                part.parameters(), torch.autograd.grad(loss, list(part.parameters()), retain_graph=True), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
        learner.follow_slowly()
    return learner.actor.requires_grad_(False)


def test_imagination_starts_from_the_belief_and_follows_the_actor_through_the_drawn_future() -> None:
    learner = behavior(inputs=2, action=1)
    push = 0.01 * draws(2, H, seed=1)
    situation = learner.imagine(slope(), rewarded(0.0), places(-0.5, -0.2), None, draws(2, H, 1), pushed(push))
    torch.testing.assert_close(situation.before[:, 0, 0].detach(), torch.tensor([-0.5, -0.2]))
    torch.testing.assert_close(situation.before[:, 1:], situation.after[:, :-1])
    torch.testing.assert_close(situation.reward, situation.after[..., 0])
    steps = (situation.after - situation.before)[..., 0].detach()
    std = math.exp(-1.25)  # untrained: half-way between -3 and 0.5
    torch.testing.assert_close(steps, 0.1 * torch.tanh(std * draws(2, H, 1))[..., 0] + push)


def test_in_imagination_leaving_the_data_costs_where_each_action_starts() -> None:
    learner = behavior(replace(CONFIG, disagreement=0.5), inputs=2, action=1)
    model, noise = slope(), draws(2, H, 1)
    model.ensemble = Fog(3, 1, 2, 4)
    situation = learner.imagine(model, rewarded(0.0), places(-0.5, -0.2), None, noise, pushed(torch.zeros(2, H)))
    action = torch.tanh(math.exp(-1.25) * noise)[..., 0]
    price = 0.5 * (situation.before[..., 0] + 10.0 * action)
    torch.testing.assert_close(situation.reward, situation.after[..., 0] - price)


def test_a_failed_plant_does_not_go_on_in_imagination() -> None:
    learner = behavior(inputs=2, action=1).requires_grad_(False)
    situation = learner.imagine(
        slope(), rewarded(0.0), places(3.0), None, torch.zeros(1, H, 1), pushed(torch.zeros(1, H))
    )
    assert float((situation.proceed + situation.failure).max()) <= 1.0 + 1e-6
    assert float(situation.proceed.max()) < 1e-3
    assert float(situation.reward.max()) < 1e-3, "beyond the cliff the reward would be 3, and failing pays 0"


def test_actor_learns_the_good_action_and_keeps_from_the_cliff() -> None:
    actor = trained_actor(failure_reward=-5.0)
    far, near = actor(places(-0.5, 0.95).features).mean[:, 0].tolist()
    assert far > 0.5
    assert near < 0.0


def test_without_a_price_the_actor_goes_nearer_to_the_cliff() -> None:
    """The counter-check: what keeps the actor from the cliff is the price of failing, not the shape of the reward."""
    priced, free = (trained_actor(price)(places(0.8).features).mean.item() for price in (-5.0, 0.0))
    assert priced < free

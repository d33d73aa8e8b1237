"""Heads start neutral, and the ensemble disagrees where it has not been."""

import math

import pytest
import torch
from torch import Tensor

from wmctrl.model.heads import Ensemble, HazardHead, ProspectHead, TwoHotHead
from wmctrl.model.nets import mlp

B, T, FEATURES, A, S, MEMBERS, UNITS = 3, 2, 7, 5, 11, 13, 17


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_an_untrained_head_predicts_zero_and_even_odds() -> None:
    prospect = ProspectHead(FEATURES, UNITS, 2)(draws(B, T, FEATURES))
    torch.testing.assert_close(prospect.reward.mean, torch.zeros(B, T), rtol=0.0, atol=1e-6)
    torch.testing.assert_close(prospect.proceed.mean, torch.full((B, T), 0.5))
    torch.testing.assert_close(prospect.failure.mean, torch.full((B, T), 0.5))
    value = TwoHotHead(FEATURES, UNITS, 2)(draws(B, T, FEATURES)).mean
    torch.testing.assert_close(value, torch.zeros(B, T), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("can_fail", [True, False])
def test_how_an_arrival_ends_is_told_the_same_without_its_reward(can_fail: bool) -> None:
    head = ProspectHead(FEATURES, UNITS, 2, can_fail=can_fail)
    torch.nn.init.normal_(head.ending[0].get_parameter("weight"))
    inputs = draws(B, T, FEATURES)
    _, proceed, failure = head(inputs)
    for whole, alone in zip((proceed, failure), head.ends(inputs), strict=True):
        torch.testing.assert_close(alone.logit, whole.logit)


def test_a_network_sees_the_size_of_its_inputs_and_not_their_direction_alone() -> None:
    torch.manual_seed(0)
    network, x = mlp(FEATURES, UNITS, 2, 1).requires_grad_(False), draws(B, FEATURES)
    assert float((network(x) - network(3.0 * x)).abs().max()) > 1e-2


def test_a_head_learns_a_number_from_its_features() -> None:
    torch.manual_seed(0)
    head = TwoHotHead(2, UNITS, 2)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for step in range(300):
        x = draws(64, 2, seed=step)
        optimizer.zero_grad()
        (-head(x).log_prob(2.0 * x[:, 0]).mean()).backward()
        optimizer.step()
    x = torch.tensor([[-1.0, 0.3], [0.5, -0.4]])
    torch.testing.assert_close(head(x).mean.detach(), torch.tensor([-2.0, 1.0]), rtol=0.0, atol=0.25)


def test_disagreement_is_the_root_mean_square_of_the_members_std() -> None:
    torch.manual_seed(0)
    ensemble = Ensemble(FEATURES + A, S, MEMBERS, UNITS).requires_grad_(False)
    guesses = ensemble(draws(B, FEATURES), draws(B, A, seed=1))
    assert guesses.shape == (MEMBERS, B, S)
    expected = [math.sqrt(float(guesses[:, n].std(0).square().mean())) for n in range(B)]
    torch.testing.assert_close(ensemble.disagreement(draws(B, FEATURES), draws(B, A, seed=1)), torch.tensor(expected))


def test_members_start_apart_and_learn_apart() -> None:
    torch.manual_seed(0)
    ensemble = Ensemble(FEATURES + A, S, MEMBERS, UNITS)
    guess = ensemble(draws(B, FEATURES), draws(B, A))
    (gradient,) = torch.autograd.grad(guess[4].sum(), ensemble.first)
    assert float(gradient[4].abs().max()) > 0.0
    assert float(gradient[:4].abs().max()) == float(gradient[5:].abs().max()) == 0.0


def test_disagreement_is_larger_off_the_data_than_on_it() -> None:
    torch.manual_seed(0)
    ensemble = Ensemble(2, 1, 5, 32)
    optimizer = torch.optim.Adam(ensemble.parameters(), 1e-2)
    for step in range(300):
        x, action = draws(64, 1, seed=step).tanh(), draws(64, 1, seed=1000 + step).tanh()
        optimizer.zero_grad()
        (ensemble(x, action) - torch.sin(3.0 * x) * action).square().mean().backward()
        optimizer.step()
    ensemble.requires_grad_(False)
    on = ensemble.disagreement(draws(200, 1).tanh(), draws(200, 1, seed=1).tanh()).mean()
    off = ensemble.disagreement(3.0 + draws(200, 1).tanh(), draws(200, 1, seed=1).tanh()).mean()
    assert float(off) > 5.0 * float(on)


def test_hazards_are_told_by_members_that_start_at_even_odds_and_learn_each_on_its_own() -> None:
    torch.manual_seed(0)
    head = HazardHead(2, UNITS, MEMBERS)
    torch.testing.assert_close(head(draws(B, T, 2)).mean, torch.full((MEMBERS, B, T), 0.5))
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for step in range(200):
        x = draws(64, 2, seed=step)
        optimizer.zero_grad()
        verdicts = head(x)
        (-verdicts.log_prob((x[:, 0] > 0.5).float().expand_as(verdicts.logit)).mean()).backward()
        optimizer.step()
    odds = head(torch.tensor([[1.5, 0.3], [-0.5, -0.4], [0.5, 9.0]])).mean.detach()
    assert float(odds[:, 0].min()) > 0.9
    assert float(odds[:, 1].max()) < 0.1
    assert float(odds[:, 2].std()) > 0.1, "far from all data they differ"

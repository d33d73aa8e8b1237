"""Prediction against reality, by a model whose dynamics are exact."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmctrl.learning.agent import Agent, AgentConfig
from wmctrl.learning.evaluate import Episode, Outcome
from wmctrl.learning.foresight import OBSERVED, foresee
from wmctrl.model.mdn import MDNHead, Mixture, MixtureNoise
from wmctrl.model.rssm import RSSM, Belief
from wmctrl.model.world_model import Sizes, WorldModelConfig

HORIZON = 20
LENGTH = 120


class Cart(RSSM):
    """Dead reckoning: an action moves the place by itself, and what is observed changes nothing."""

    def observe(self, belief: Belief, action: Tensor, embedding: Tensor, noise: Tensor) -> Belief:
        return Belief(belief.deter + action, belief.stoch)

    def imagine(self, belief: Belief, action: Tensor, noise: MixtureNoise | None) -> Belief:
        return Belief(belief.deter + action, belief.stoch)


class Odometer(MDNHead):
    """One Gaussian around the place, repeated."""

    log_std = -20.0

    def forward(self, features: Tensor, origin: Tensor | None = None) -> Mixture:
        means = features[..., None, :1].expand(*features.shape[:-1], 4, 1)
        return Mixture(torch.zeros_like(means[..., 0]), means, torch.full_like(means, self.log_std))


def exact(log_std: float) -> Agent:
    agent = Agent(Sizes(proprio=1, goal=0, action=1), AgentConfig(WorldModelConfig(deter=1, stoch=1, units=4)))
    agent.model.rssm = Cart(1, agent.model.encoder.outputs, 1, 1, 4, 4)
    agent.model.proprio_head = Odometer(2, 1, 4, 4, 1)
    agent.model.proprio_head.log_std = log_std
    return agent


def driven(noise: NDArray[np.float32]) -> Episode:
    """An episode of random actions, measured with this noise (LENGTH + 1,); it starts at 0."""
    actions = np.random.default_rng(1).uniform(-1.0, 1.0, (LENGTH, 1)).astype(np.float32)
    places = np.concatenate([np.zeros((1, 1), np.float32), actions.cumsum(0)]) + noise[:, None]
    outcome = Outcome(0.0, LENGTH, success=False, failure=False)
    return Episode(outcome, [{"proprio": place} for place in places], actions, np.zeros(LENGTH))


def test_every_prediction_follows_the_actions_that_were_taken_from_where_it_starts() -> None:
    foresight = foresee(exact(-20.0), [driven(np.zeros(LENGTH + 1, np.float32))], HORIZON, 0)
    assert foresight is not None
    assert foresight.actual.shape == (min(96, LENGTH - HORIZON - OBSERVED + 1), HORIZON + 1, 1)
    np.testing.assert_allclose(foresight.mean, foresight.actual, atol=1e-4)


def test_the_band_holds_its_share_of_what_is_measured_where_the_model_knows_how_sure_it_is() -> None:
    covered = []
    for noise in np.random.default_rng(0).standard_normal((10, LENGTH + 1)).astype(np.float32):
        foresight = foresee(exact(0.0), [driven(noise)], HORIZON, 0)
        assert foresight is not None
        covered.append(foresight.covered)
    assert np.mean(covered) == pytest.approx(0.8, abs=0.025)

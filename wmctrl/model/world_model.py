"""The world model: encoder, RSSM, decoders and heads, and the one loss that trains them all."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wmctrl.limits import require_at_least, require_positive
from wmctrl.model.distributions import Gaussian, TwoHot
from wmctrl.model.encoders import CameraDecoder, Encoder, centred_pixels
from wmctrl.model.heads import Ensemble, HazardHead, ProspectHead
from wmctrl.model.mdn import MDNHead, Mixture, kl_to_mixture
from wmctrl.model.rssm import RSSM, Belief, Rollout

FARTHEST = 50.0
"""Stds from the mean beyond which a value is not told."""


@dataclass(frozen=True)
class Sizes:
    """Lengths of the vectors that cross the model's border."""

    proprio: int
    goal: int
    action: int
    camera: tuple[int, int, int] | None = None
    """Height, width, channels."""


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes and loss weights of the world model."""

    deter: int = 128
    """Units of the recurrent state."""
    stoch: int = 0
    """Elements of the stochastic state, which starts as a copy of proprioception; 0: enough for it, from 16 to 128."""
    units: int = 128
    """Width of every hidden layer."""
    layers: int = 2
    """Hidden layers of encoder, decoder and heads."""
    prior_components: int = 4
    """Gaussians in the prior over the next stochastic state."""
    decoder_components: int = 4
    """Gaussians in the mixture over proprioception."""
    camera_depth: int = 16
    """Channels of the first convolution; later ones have 2, 3 and 4 times as many."""
    members: int = 5
    """One-step predictors whose spread is the disagreement; also the networks that tell hazards."""
    hazard_units: int = 64
    """Width of both hidden layers of the networks that tell hazards; 0 does without them."""
    free_nats: float = 0.3
    """KL below this costs nothing [nats]."""
    dynamics_scale: float = 0.3
    """Share of the KL's gradient that pulls the prior towards the posterior (Hafner et al. 2023)."""
    representation_scale: float = 0.1
    """Share of the KL's gradient that pulls the posterior towards the prior (Hafner et al. 2023)."""
    context: int = 4
    """Steps of a training sequence that are observed before the rest is also imagined."""
    resolution: float = 0.05
    """Assumed std of an error of reconstruction, normalised; a smaller one weighs it more against the KL."""
    foreseeable: float | None = None
    """Error of looking ahead, in resolutions, beyond which it counts by its logarithm; None: by its square alone.

    What cannot be foreseen, a block that tumbles, drowns the rest by its squares: measured on 13,000 steps of
    FetchPush-v4 after 1,000 updates, the most probable component was 5.9 mm off where the block lay still, and with 5
    here 1.8 mm; where it moved by more than 1 cm a step, 34 mm on average, 12.7 and 9.0 mm. Where all can be foreseen
    it is not for free: an arm that learned to reach with it, one seed, did so in 94 of 100 drives.
    """
    camera_scale: float = 1.0
    """Weight of the camera's reconstruction."""
    reward_resolution: float | None = None
    """Std at which the expected reward is held against the paid one, in the task's units; None: its likelihood alone.

    The likelihood is nearly flat between two bins, which are 0.2 apart around zero. Where small rewards are all that
    tells the goal, this squared error is what finds it.
    """

    def __post_init__(self) -> None:
        require_positive(self, "resolution")
        require_positive(self, "reward_resolution", "foreseeable", or_null=True)
        require_at_least(self, deter=1, stoch=0, units=1, layers=1, hazard_units=0, camera_depth=1)
        require_at_least(self, prior_components=1, decoder_components=1)
        require_at_least(self, free_nats=0, dynamics_scale=0, representation_scale=0, camera_scale=0)
        # Nothing could be looked ahead from without context, and a single member has nobody to disagree with.
        require_at_least(self, context=1, members=2)

    def fitted(self, sizes: Sizes) -> "WorldModelConfig":
        """The same with as many elements of the stochastic state as these sizes need, where none are given."""
        return replace(self, stoch=self.stoch or min(max(16, 8 * math.ceil(sizes.proprio / 8)), 128))


class Batch(NamedTuple):
    """Replayed sequences: index t holds an observation and what led to it."""

    action: Tensor
    """The action before the observation (B, T, A); anything where an episode starts."""
    reward: Tensor
    """Received on arrival (B, T)."""
    terminated: Tensor
    """1 where the plant ended the episode on arrival (B, T); being cut off by time is not ending."""
    failure: Tensor
    """1 where the plant failed on arrival (B, T)."""
    is_first: Tensor
    """1 where an episode starts (B, T)."""
    proprio: Tensor | None = None
    """(B, T, O) in the task's units."""
    camera: Tensor | None = None
    """(B, T, h, w, c) uint8"""
    goal: Tensor | None = None
    """(B, T, G) in the task's units."""


class Normaliser(nn.Module):
    """Fixed affine map to roughly zero mean and unit spread, set once from data before training."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    @torch.no_grad()
    def set(self, mean: Tensor, std: Tensor) -> None:
        """Fix the map to these statistics (size,), (size,)."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, value: Tensor) -> Tensor:
        """(value - mean) / std, (..., size), and at most FARTHEST from 0.

        What hardly moved while the statistics were taken can move by thousands of them later, and would be all that is
        learned.
        """
        return ((value - self.mean) / self.std).clamp(-FARTHEST, FARTHEST)

    def inverse(self, normal: Tensor) -> Tensor:
        """The value in the task's units (..., size)."""
        return normal * self.std + self.mean


class WorldModel(nn.Module):
    """Predicts what the plant's sensors, reward, end and failure will be, for any actions and any goal."""

    def __init__(self, sizes: Sizes, config: WorldModelConfig, *, can_fail: bool = True) -> None:
        """
        Args:
            can_fail: Whether the plant can fail at all; if not, no failure is ever predicted.
        """
        super().__init__()
        self.sizes, self.config = sizes, config.fitted(sizes)
        c = self.config
        features = c.deter + c.stoch
        self.proprio_normaliser = Normaliser(sizes.proprio)
        self.goal_normaliser = Normaliser(sizes.goal)
        self.encoder = Encoder(sizes.proprio, sizes.camera, c.units, c.layers, c.camera_depth)
        self.rssm = RSSM(sizes.action, self.encoder.outputs, c.deter, c.stoch, c.prior_components, c.units)
        self.proprio_head = (
            MDNHead(features, sizes.proprio, c.decoder_components, c.units, c.layers) if sizes.proprio else None
        )
        self.camera_head = CameraDecoder(features, *sizes.camera, c.camera_depth) if sizes.camera else None
        self.prospect_head = ProspectHead(features + sizes.goal, c.units, c.layers, can_fail=can_fail)
        self.ensemble = Ensemble(features + sizes.action, c.stoch, c.members, c.units)
        self.hazard_head = HazardHead(c.stoch, c.hazard_units, c.members) if can_fail and c.hazard_units else None
        if self.proprio_head is not None:
            self._start_lossless(self.proprio_head)

    @torch.no_grad()
    def _start_lossless(self, head: MDNHead) -> None:
        """Let the stochastic state start as proprioception itself, as far as it is long enough, and decode as that.

        A plant's sensors are mostly its state; a model that starts by copying them need not first learn to.
        """
        O, S = self.sizes.proprio, self.config.stoch
        self.rssm.posterior_skip.weight[:, self.encoder.as_is] = torch.eye(S, O)
        head.skip.weight[:, self.config.deter :] = torch.eye(O, S)

    def embed(self, proprio: Tensor | None, camera: Tensor | None) -> Tensor:
        """Embedding (..., E) of an observation in the task's units."""
        normal = None if proprio is None else self.proprio_normaliser(proprio)
        return self.encoder(normal, camera)

    def with_goal(self, features: Tensor, goal: Tensor | None) -> Tensor:
        """Input of the scalar heads: features (..., D + S) beside the normalised goal, where there is one.

        Args:
            goal: (..., G) in the task's units, or (G,) for all features.
        """
        if goal is None:
            return features
        normal: Tensor = self.goal_normaliser(goal)
        if normal.dim() == 1:
            normal = normal.expand(*features.shape[:-1], -1)
        return torch.cat([features, normal], -1)

    def decode_proprio(self, features: Tensor) -> Tensor:
        """Expected proprioception (..., O) in the task's units."""
        assert self.proprio_head is not None, "this model does not observe proprioception"
        return self.proprio_normaliser.inverse(self.proprio_head.expectation(features))

    def prospects(
        self, features: Tensor, goal: Tensor | None, *, rewarded: bool = True
    ) -> tuple[TwoHot | None, Tensor, Tensor]:
        """What arrivals with features (..., D + S) bring for goals (..., G), or one (G,): the reward and the
        probabilities (...,) of going on and of failing.

        Failing is told from all that is known, and from the stochastic state alone: the one remembers that it went
        through an obstacle, the other knows one where it has not been. The worse is believed.

        Args:
            rewarded: Whether the reward is asked for; without, None stands in its place.
        """
        inputs, head = self.with_goal(features, goal), self.prospect_head
        reward, proceed, failure = head(inputs) if rewarded else (None, *head.ends(inputs))
        fails = failure.mean
        if self.hazard_head is not None:
            fails = torch.maximum(fails, self.hazard_head(features[..., self.config.deter :]).mean.mean(0))
        return reward, torch.minimum(proceed.mean, 1.0 - fails), fails  # whatever the heads say

    def believe(self, batch: Batch, noise: Tensor) -> Rollout:
        """Beliefs along the sequences, from knowing nothing; noise as in `loss`."""
        B = batch.reward.shape[0]
        embedding = self.embed(batch.proprio, batch.camera)
        return self.rssm.follow(self.rssm.initial(B), batch.action, embedding, batch.is_first, noise)

    def loss(self, batch: Batch, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative evidence bound of the sequences.

        Args:
            noise: Standard normal draws (B, T, S).

        Returns:
            Scalar loss, and its parts for the log.
        """
        return self.loss_along(batch, self.believe(batch, noise))

    def loss_along(self, batch: Batch, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss`, given the beliefs along the sequences."""
        T = batch.reward.shape[1]
        features = rollout.belief.features
        parts = self._reconstruction(batch, features) | self._kl(batch, rollout)
        arrived = 1.0 - batch.is_first
        arrived[:, 0] = 0.0  # there is nothing yet to predict it from
        parts |= self._scalars(batch, rollout.belief.deter, rollout.prior, arrived, arrived)
        parts["observed_reward"] = self._observed_reward(batch, features, arrived)
        parts["ensemble"] = self._ensemble(batch, rollout)
        if self.config.context < T:
            parts |= self._foresight(batch, rollout)
        c = self.config
        weights = {"camera": c.camera_scale, "foreseen_kl": c.dynamics_scale}
        total = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        return total, {name: part.detach() for name, part in parts.items()}

    def _reconstruction(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """-ln p(observation | belief) of each part of the observation.

        The belief is shaped by the squared error of the mixture's mean at a fixed resolution, and the mixture learns to
        say how sure it is beside that: its own likelihood weighs an element by 1 / std^2, so the elements that never
        move would drown all others (Seitzer et al. 2022).
        """
        parts = {}
        if self.proprio_head is not None and batch.proprio is not None:
            target = self.proprio_normaliser(batch.proprio)
            error = (self.proprio_head.expectation(features) - target) / self.config.resolution
            parts["proprio"] = 0.5 * (error**2).sum(-1).mean()
            parts["mixture"] = -self.proprio_head(features.detach()).log_prob(target).mean()
        if self.camera_head is not None and batch.camera is not None:
            target = centred_pixels(batch.camera.flatten(0, 1))
            difference = self.camera_head(features.flatten(0, 1)) - target
            parts["camera"] = 0.5 * (difference**2).flatten(1).sum(-1).mean()
        return parts

    def _scalars(
        self, batch: Batch, deter: Tensor, prior: Mixture, arrived: Tensor, judged: Tensor
    ) -> dict[str, Tensor]:
        """Losses of reward, continuation and failure, given the most probable arrival before any of it is observed.

        That is what planning asks for. If these heads saw the observation, they would recognise a crash by the jump it
        causes. Planning imagines the most probable course, without the jump, and would never see the crash coming.

        Args:
            deter: Memory on arrival (B, T, D).
            arrived: 1 where an action led to them (B, T).
            judged: 1 where it is known whether they are failures (B, T).
        """
        arrival = Belief(deter, prior.mode())
        reward, proceed, failure = self.prospect_head(self.with_goal(arrival.features, batch.goal))
        losses = {
            "reward": mean_where(arrived, self._reward_loss(reward, batch.reward)),
            "continue": mean_where(arrived, -proceed.log_prob(1.0 - batch.terminated)),
            "failure": mean_where(judged, -failure.log_prob(batch.failure)),
        }
        if self.hazard_head is not None:
            hazard = self.hazard_head(arrival.stoch)  # (members, B, T), each learning on its own
            losses["hazard"] = mean_where(judged, -hazard.log_prob(batch.failure.expand_as(hazard.logit)).mean(0))
        return losses

    def _reward_loss(self, predicted: TwoHot, paid: Tensor) -> Tensor:
        """-ln p of rewards (...,) and, at some resolution, the squared error of the expected ones (...,)."""
        resolution = self.config.reward_resolution
        loss = -predicted.log_prob(paid)
        return loss if resolution is None else loss + 0.5 * ((predicted.mean - paid) / resolution) ** 2

    def _observed_reward(self, batch: Batch, features: Tensor, arrived: Tensor) -> Tensor:
        """Loss of the reward given the belief after the arrival is observed.

        Of the arrival predicted alone, a head may read the reward out of memory and leave unlearned how it depends on
        the state, which is what an actor climbs.

        Args:
            features: Of the belief on arrival (B, T, D + S).
            arrived: As in `_scalars`.
        """
        reward = self.prospect_head(self.with_goal(features, batch.goal)).reward
        return mean_where(arrived, self._reward_loss(reward, batch.reward))

    def _kl(self, batch: Batch, rollout: Rollout) -> dict[str, Tensor]:
        """KL balance: the prior learns fast towards the posterior, the posterior slowly towards the prior.

        The first step of a sequence or an episode does not count: there is nothing yet to predict it from.
        """
        c = self.config
        kl = kl_to_mixture(rollout.posterior.damped(c.representation_scale), rollout.prior.damped(c.dynamics_scale))
        known = (1.0 - batch.is_first)[:, 1:]
        return {"kl": mean_where(known, kl[:, 1:].clamp_min(c.free_nats))}

    def _foresight(self, batch: Batch, rollout: Rollout) -> dict[str, Tensor]:
        """Losses of looking ahead: after some context, the rest of the sequence is imagined and held against reality.

        Training one step alone leaves errors that grow when planning feeds the model its own predictions.

        Proprioception is held against the branch that was taken; reward, end and failure as in `_scalars`.

        What is imagined behind a failure has failed as well. Nobody was ever there, so a plan could otherwise slip
        through the failure's one step and come out unharmed: measured on racetrack-v1, plans led through other cars.
        """
        C = self.config.context
        start = Belief(*(part[:, C - 1] for part in rollout.belief))
        ahead = Gaussian(rollout.posterior.mean[:, C:].detach(), rollout.posterior.log_std[:, C:].detach())
        belief, prior = self.rssm.forecast(start, batch.action[:, C:], ahead)
        within = torch.cumprod(1.0 - batch.is_first[:, C:], 1)  # (B, T - C): until the episode ends
        parts = {"foreseen_kl": mean_where(within, kl_to_mixture(ahead, prior))}
        later = batch._replace(**{name: part[:, C:] for name, part in batch._asdict().items() if part is not None})
        failed = torch.cummax(later.failure * within, 1).values
        later = later._replace(failure=failed)
        judged = torch.maximum(within, failed)
        scalars = self._scalars(later, belief.deter, prior, within, judged)
        parts |= {f"foreseen_{name}": part for name, part in scalars.items()}
        if self.proprio_head is not None and batch.proprio is not None:
            target = self.proprio_normaliser(batch.proprio[:, C:])
            error = (self.proprio_head.expectation(belief.features) - target) / self.config.resolution
            parts["foreseen_proprio"] = self._foreseen(error, within)
        return parts

    def _foreseen(self, error: Tensor, within: Tensor) -> Tensor:
        """Loss of errors of looking ahead (B, H, O), in resolutions, where that is within an episode (B, H).

        With n the square of `foreseeable`, an element's mean squared error m counts as n ln(1 + m / n): beyond n its
        weight falls as that of a Gaussian whose std the errors themselves tell (Kendall et al. 2018).
        """
        if self.config.foreseeable is None:
            return 0.5 * mean_where(within, (error**2).sum(-1))
        squares = torch.stack([mean_where(within, square) for square in (error**2).unbind(-1)])
        most = self.config.foreseeable**2
        return 0.5 * most * torch.log1p(squares / most).sum()

    def _ensemble(self, batch: Batch, rollout: Rollout) -> Tensor:
        """Mean squared error of every member's guess of the next posterior mean, out of the model's gradient."""
        features = rollout.belief.features[:, :-1].detach().flatten(0, 1)
        target = rollout.posterior.mean[:, 1:].detach().flatten(0, 1)
        within = (1.0 - batch.is_first[:, 1:]).flatten()
        guesses = self.ensemble(features, batch.action[:, 1:].flatten(0, 1))  # (members, N, S)
        error = ((guesses - target) ** 2).mean((0, 2))
        return mean_where(within, error)


def mean_where(mask: Tensor, value: Tensor) -> Tensor:
    """Mean of the values (...,) whose mask is 1, of (...,) zeros and ones; 0 where none is."""
    return (value * mask).sum() / mask.sum().clamp_min(1.0)

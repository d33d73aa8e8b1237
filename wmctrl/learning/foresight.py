"""Prediction against reality: what the model expects of actions that were really taken, and what they led to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wmctrl.learning.agent import Agent
from wmctrl.learning.evaluate import Episode
from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.rssm import Belief

OBSERVED = 3
"""Steps observed before the model is left to its imagination, so that it has seen some motion."""
STARTS = 96
"""Most situations to predict from."""
PARTICLES = 32
"""Futures drawn from each."""
BAND = (0.1, 0.9)
"""Quantiles of the drawn futures that the plotted band lies between."""


@dataclass(frozen=True)
class Foresight:
    """Open-loop predictions of proprioception from N situations, H steps far; index 0 along H is the last one seen."""

    actual: NDArray[np.float32]
    """What was measured (N, H + 1, O), in the task's units."""
    mean: NDArray[np.float32]
    """What the model expected (N, H + 1, O)."""
    low: NDArray[np.float32]
    """Lower edge of the band (N, H + 1, O)."""
    high: NDArray[np.float32]
    """Upper edge of the band (N, H + 1, O)."""
    scale: NDArray[np.float32]
    """What the model normalises every element by (O,): its spread when learning began, or an eighth of its range."""

    @property
    def rmse(self) -> NDArray[np.float32]:
        """Root-mean-square error of every element over the situations (H + 1, O), in the task's units."""
        return _rms(self.mean - self.actual)

    @property
    def error(self) -> NDArray[np.float32]:
        """Error of the median element (H + 1,), in units of its spread."""
        return np.asarray(np.median(self.rmse / self.scale, -1), np.float32)

    @property
    def still_error(self) -> NDArray[np.float32]:
        """The same for the trivial prediction that nothing changes (H + 1,)."""
        return np.asarray(np.median(_rms(self.actual[:, :1] - self.actual) / self.scale, -1), np.float32)

    @property
    def covered(self) -> float:
        """Share of the measurements inside the band; the width of `BAND` where the model knows how sure it is."""
        inside = (self.low <= self.actual) & (self.actual <= self.high)
        return float(inside[:, 1:].mean())


def _rms(differences: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the situations, the first axis."""
    return np.asarray(np.sqrt((differences**2).mean(0)), np.float32)


@torch.no_grad()
def foresee(agent: Agent, episodes: Sequence[Episode], horizon: int, seed: int) -> Foresight | None:
    """Predict `horizon` steps from situations spread evenly over the episodes; None where all of them are too short."""
    situations = [
        (episode, step) for episode in episodes for step in range(OBSERVED, episode.outcome.length - horizon + 1)
    ]
    if not situations or not agent.sizes.proprio:
        return None
    chosen = [situations[i] for i in np.linspace(0, len(situations) - 1, min(STARTS, len(situations))).astype(int)]
    beliefs = {id(episode): _beliefs(agent, episode) for episode in {id(e): e for e, _ in chosen}.values()}
    deter, stoch = (torch.stack(parts) for parts in zip(*(beliefs[id(e)][t] for e, t in chosen), strict=True))
    actions = np.stack([episode.actions[t : t + horizon] for episode, t in chosen])
    actual = np.stack([[o["proprio"] for o in e.observations[t : t + horizon + 1]] for e, t in chosen])
    mean, samples = _imagine(agent, Belief(deter, stoch), torch.from_numpy(actions).to(agent.device), seed)
    # Of n draws the k-th smallest has, on average, k / (n + 1) of the distribution below it.
    low, high = np.quantile(samples, BAND, axis=1, method="weibull").astype(np.float32)
    return Foresight(actual, mean, low, high, agent.model.proprio_normaliser.std.cpu().numpy())


@dataclass(frozen=True)
class Outlook:
    """What the camera saw over H steps, and what the model imagined it would see; index 0 is the last picture shown."""

    actual: NDArray[np.uint8]
    """(H + 1, h, w, 3)"""
    imagined: NDArray[np.uint8]
    """(H + 1, h, w, 3)"""


@torch.no_grad()
def look_ahead(agent: Agent, episode: Episode, horizon: int) -> Outlook | None:
    """The most probable future of an episode from its first moments; None without a camera or if it ends too early."""
    head = agent.model.camera_head
    if head is None or episode.outcome.length < OBSERVED + horizon:
        return None
    belief = _beliefs(agent, episode)[OBSERVED]
    beliefs = [belief]
    for action in torch.from_numpy(episode.actions[OBSERVED : OBSERVED + horizon]).to(agent.device):
        belief = agent.model.rssm.imagine(belief, action, noise=None)
        beliefs.append(belief)
    pixels = 255.0 * (head(torch.stack([one.features for one in beliefs])) + 0.5)
    actual = np.stack([o["camera"] for o in episode.observations[OBSERVED : OBSERVED + horizon + 1]])
    return Outlook(actual, pixels.clamp(0.0, 255.0).round().to(torch.uint8).cpu().numpy())


def _beliefs(agent: Agent, episode: Episode) -> list[Belief]:
    """What the agent believes after each observation of an episode."""
    state, beliefs = agent.start(), []
    actions = torch.from_numpy(episode.actions).to(agent.device)
    for step, observation in enumerate(episode.observations):
        belief = agent.observe(state, observation)
        beliefs.append(belief)
        state = state._replace(belief=belief, action=actions[min(step, len(actions) - 1)])
    return beliefs


def _imagine(
    agent: Agent, belief: Belief, actions: torch.Tensor, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Expectations (N, H + 1, O) and drawn futures (N, P, H + 1, O) of actions (N, H, A), in the task's units."""
    head = agent.model.proprio_head
    assert head is not None, "only proprioception is predicted here"
    generator = torch.Generator(agent.device).manual_seed(seed)
    belief = Belief(*(part.unsqueeze(1).expand(-1, PARTICLES, -1) for part in belief))
    shape = belief.deter.shape[:-1]
    config, means, samples = agent.config.model, [], []
    for action in [None, *actions.unbind(1)]:
        if action is not None:
            noise = MixtureNoise.draw(shape, config.prior_components, config.stoch, generator)
            belief = agent.model.rssm.imagine(belief, action.unsqueeze(1).expand(-1, PARTICLES, -1), noise)
        mixture = head(belief.features)
        draw = mixture.sample(MixtureNoise.draw(shape, config.decoder_components, agent.sizes.proprio, generator))
        means.append(agent.model.proprio_normaliser.inverse(mixture.mean.mean(1)))
        samples.append(agent.model.proprio_normaliser.inverse(draw))
    return torch.stack(means, 1).cpu().numpy(), torch.stack(samples, 2).cpu().numpy()

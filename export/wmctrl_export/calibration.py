"""What is ordinary of a plant's readings and of a model's errors, told by what was recorded."""

import numpy as np
import torch
from numpy.typing import NDArray

from wmctrl.learning.agent import Agent
from wmctrl.model.mdn import kl_to_mixture
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import Batch
from wmctrl.runtime.plant import Calibration, Ordinary

ORDINARY = 0.999
"""Share of what was recorded that is ordinary."""


@torch.no_grad()
def calibrated(agent: Agent, recording: Batch) -> Calibration:
    """What is ordinary along a recording (1, T, ...)."""
    model = agent.model
    within = recording.is_first[0, 1:] == 0.0  # (T - 1,): whether a step follows the one before it
    rollout = model.believe(recording, torch.zeros(1, recording.reward.shape[1], agent.config.model.stoch))
    surprise = kl_to_mixture(rollout.posterior, rollout.prior)[0, 1:][within]
    elements: tuple[Ordinary, ...] = ()
    if recording.proprio is not None:
        readings = recording.proprio[0]
        before = Belief(*(part[0, :-1] for part in rollout.belief))
        expected = model.decode_proprio(model.rssm.imagine(before, recording.action[0, 1:], noise=None).features)
        errors = (readings[1:] - expected).abs()[within].numpy()
        same = ((readings[1:] == readings[:-1]) & within[:, None]).numpy()
        elements = tuple(
            Ordinary(float(column.min()), float(column.max()), high(error), longest(still))
            for column, error, still in zip(readings.numpy().T, errors.T, same.T, strict=True)
        )
    pictures = 0
    if recording.camera is not None:
        unchanged = (recording.camera[0, 1:] == recording.camera[0, :-1]).flatten(1).all(1) & within
        pictures = longest(unchanged.numpy())
    return Calibration(high(surprise.numpy()), elements, pictures)


def high(values: NDArray[np.float32]) -> float:
    """What the ordinary ones of some values (n,) do not exceed."""
    return float(np.quantile(values, ORDINARY)) if values.size else 0.0


def longest(same: NDArray[np.bool_]) -> int:
    """Most readings in a row that are the same, given whether each but the first is as the one before (T - 1,)."""
    changes = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    return int(np.diff(changes).max())

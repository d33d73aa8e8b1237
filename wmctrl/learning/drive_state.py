"""What a drive is made of: what is carried from decision to decision, and the noise that each takes."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmctrl.model.rssm import Belief
from wmctrl.planning.planner import Plan


class Draws(Protocol):
    """Where the noise of a decision comes from; asked in this order, for candidates once an iteration."""

    def futures(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gumbel (particles, H, K) and normal draws (particles, H, S) of the imagined futures."""

    def proposals(self) -> NDArray[np.float32]:
        """Normal draws of the policy's actions (P, H, A)."""

    def candidates(self) -> NDArray[np.float32]:
        """Draws of unit variance of one iteration's candidates (N, H, A)."""


class DriveState(NamedTuple):
    """What is carried from one decision to the next."""

    belief: Belief
    """(D,), (S,)"""
    plan: Plan
    action: Tensor
    """The last action sent (A,)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every part by name, to be kept."""
        parts = {**self.belief._asdict(), **self.plan._asdict(), "action": self.action}
        return {name: part.cpu().numpy() for name, part in parts.items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], device: torch.device) -> "DriveState":
        """The state whose `arrays` these were."""
        parts = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        belief = Belief(*(parts[name] for name in Belief._fields))
        return cls(belief, Plan(*(parts[name] for name in Plan._fields)), parts["action"])

"""The contract every plant meets: what is observed, what can be commanded, what counts as success, what can shift."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

Observation = dict[str, NDArray[Any]]
"""Some of `proprio` (O,) float32, `camera` (h, w, 3) uint8, `goal` (G,) float32."""


@dataclass(frozen=True)
class Element:
    """One scalar of an observation, a goal or an action."""

    name: str
    """What it measures, such as `gripper x` or `steering`."""
    unit: str
    """SI unit, or `1` for a ratio."""
    low: float = -np.inf
    """Smallest value expected in ordinary driving, in `unit`."""
    high: float = np.inf
    """Largest value expected in ordinary driving, in `unit`."""


@dataclass(frozen=True)
class Parameter:
    """A physical property of the plant that can be changed while it runs."""

    name: str
    """Lower case with underscores, such as `object_friction`."""
    unit: str
    """SI unit, or `1` for a factor on the nominal plant."""
    nominal: float
    low: float
    high: float
    meaning: str = ""
    """One sentence: what physically changes, and how."""

    def require_within(self, where: str, value: float) -> None:
        """Refuse a value that it cannot have.

        Raises:
            ValueError: It is beyond the range; says so of who asked for it, `where`.
        """
        if not self.low <= value <= self.high:
            unit = "" if self.unit == "1" else f" {self.unit}"
            raise ValueError(f"{where}: {self.name} must be from {self.low:g} to {self.high:g}{unit}, came {value:g}")


@dataclass(frozen=True)
class GoalCost:
    """Distance to the goal as data, so that planner, replay and exported graphs all compute the same one.

    cost = (sum_i w_i |achieved_i - goal_i|^order)^power; the task's reward is -cost, and success is cost < threshold.
    With order 2 and power 1/2 it is the Fetch tasks' Euclidean distance; with order 1 and power 1/2 it is parking's.
    """

    achieved: tuple[int, ...]
    """Indices into `proprio` of the values compared with the goal, in the goal's order."""
    weights: tuple[float, ...]
    order: float
    power: float
    threshold: float
    """Success is a cost below this."""
    ends: bool = False
    """Whether success ends the episode."""
    way: tuple[int, ...] = ()
    """Indices into `proprio` of the way from hand to object; empty where the hand itself has the goal."""
    reach: float = 0.0
    """Length of that way below which the hand is at the object."""

    def __call__(self, achieved: NDArray[Any], goal: NDArray[Any]) -> NDArray[Any]:
        """Cost (...,) of achieved values (..., G) against goals (..., G)."""
        distance = np.abs(achieved - goal) ** self.order
        return np.asarray((distance @ np.asarray(self.weights, distance.dtype)) ** self.power)

    def apart(self, proprio: NDArray[Any]) -> NDArray[Any]:
        """How far (...,) the hand is from reaching what it moves, told by proprioception (..., O)."""
        return np.maximum(np.linalg.norm(proprio[..., list(self.way)], axis=-1) - self.reach, 0.0)


@dataclass(frozen=True)
class Gain:
    """How much of a command answers to what is sensed, when the plant is to come to rest."""

    action: int
    """Index of the action."""
    proprio: int
    """Index into `proprio`."""
    gain: float
    """Command, in [-1, 1], for one of the element's units."""


@dataclass(frozen=True)
class TaskSpec:
    """Everything about a task that is known before it runs."""

    id: str
    """The name `wmctrl_envs.make` takes."""
    proprio: tuple[Element, ...]
    """Elements of `observation["proprio"]`, in order; empty when only the camera is observed."""
    goal: tuple[Element, ...]
    """Elements of `observation["goal"]`, in order; empty when there is no goal or it is to be seen in the picture."""
    action: tuple[Element, ...]
    """Elements of the action. Commands are in [-1, 1]; `low` and `high` are what these stand for physically."""
    camera: tuple[int, int, int] | None
    """Height, width and channels of `observation["camera"]`, or None."""
    control_period: float
    """Time between two actions [s]."""
    max_steps: int
    """Actions after which an episode is truncated."""
    parameters: tuple[Parameter, ...] = ()
    achieved: tuple[int, ...] = ()
    """Indices into `proprio` of what `Task.goal_reward` compares with the goal; empty where it cannot be asked."""
    goal_cost: GoalCost | None = None
    """The task's own reward as a cost on proprioception, where it is one; None when the reward must be learned."""
    failure_reward: float | None = None
    """Reward per step a failed plant is credited with for ever after, so that failing never pays.

    None lets the learner use the worst reward it has seen.
    """
    safe: tuple[Gain, ...] = ()
    """What brings the plant to rest where nothing better is known: commands of zero, plus these, saturated."""
    success: str = ""
    """One sentence: what `info["success"]` means."""
    failure: str = ""
    """One sentence: what `info["failure"]` means; empty when the task cannot fail."""


class PlantError(ValueError):
    """The plant itself went wrong: a value that is not finite, an unstable simulation, an error of its own."""


class Task(gym.Env[Observation, NDArray[np.float32]], ABC):
    """A plant: a Gymnasium environment with actions in [-1, 1] and `success`, `failure` and `cost` in every info.

    `success` and `failure` are bools about the state just reached, by a step or a reset; `cost` >= 0 is the safety cost
    of the last step, 0 after a reset.
    """

    task_spec: TaskSpec

    @abstractmethod
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode on the nominal plant.

        Args:
            seed: The same seed starts the same episode.
            options: `{"parameters": {name: value}}` sets physical parameters for this episode, all others are nominal.
        """

    @abstractmethod
    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Change the running plant, from the next step on and until the next reset.

        Raises:
            ValueError: Unknown name (with the nearest known one) or a value outside the parameter's range.
        """

    def goal_reward(self, achieved: NDArray[Any], goal: NDArray[Any]) -> NDArray[Any]:
        """The goal's part of the reward (...,) of reaching (..., G) when asked for goals (..., G), any of them."""
        cost = self.task_spec.goal_cost
        assert cost is not None, "only tasks that tell what is `achieved` judge other goals"
        return -cost(achieved, goal)

    def pixels(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """Where places (n, 3) [m] are in the picture that was rendered last: (n, 2), right and down; nan if unknown."""
        return np.full((len(places), 2), np.nan)

    @abstractmethod
    def snapshot(self) -> Any:
        """The plant's whole state, for planning on the true simulator."""

    @abstractmethod
    def restore(self, snapshot: Any) -> None:
        """Return to a state from `snapshot` of this same task."""

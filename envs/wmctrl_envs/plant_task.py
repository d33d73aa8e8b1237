"""A task made of a plant, a reading of its observations and the signal path between plant and controller."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wmctrl_envs import signals
from wmctrl_envs.contract import (
    PARTS,
    checked_action,
    checked_parameters,
    chosen_parts,
    episode_parameters,
    observation_space,
    require_finite,
    require_finite_reward,
    running,
)
from wmctrl_envs.plant import Picture, Plant
from wmctrl_envs.task import Element, Observation, PlantError, Task, TaskSpec

VIDEO_SIZE = (240, 320)
"""Height and width of `render()`."""


def reported_success(raw: Any, info: Mapping[str, Any]) -> bool:
    """Success as Gymnasium environments report it: `is_success` or `success` in info."""
    return bool(info.get("is_success", info.get("success", False)))


@dataclass(frozen=True)
class Reading:
    """How an environment's own observation becomes a task's."""

    proprio: Callable[[Any], NDArray[Any]]
    """Proprioception (O,) in an environment's observation."""
    goal: Callable[[Any], NDArray[Any]]
    """The goal (G,) in an environment's observation."""
    success: Callable[[Any, Mapping[str, Any]], bool] = reported_success
    """Whether the state just reached is a success, from observation and info."""


class TaskMemory(NamedTuple):
    """A task's whole state."""

    plant: Any
    path: signals.SignalMemory
    rng: dict[str, Any]
    steps: int
    values: dict[str, float]


@final
class PlantTask(Task):
    """A Gymnasium environment as a plant with commands in [-1, 1].

    `failure` is an episode that the environment terminates without success, where the specification says what failing
    is, else never; `cost` is the environment's own, else 0.

    Args:
        spec: The task with all its elements, as if everything were observed; its parameters are the plant's.
        observe: Parts of the observation; None for every vector part the task has.
        camera_size: Height and width of the camera's picture [pixels].
    """

    def __init__(
        self, plant: Plant, reading: Reading, spec: TaskSpec, observe: Sequence[str] | None, camera_size: int
    ) -> None:
        available = [name for name in PARTS if name == "camera" or getattr(spec, name)]
        parts = chosen_parts(spec.id, available, observe)
        self._plant, self._reading, self._parts = plant, reading, parts
        self._elements = spec.proprio
        self._path = signals.SignalPath(spec.proprio, len(spec.action))
        self._values: dict[str, float] = {}
        self._steps = 0
        self._center, self._half = _command_scaling(plant.env, spec.id)
        self._shape = plant.env.action_space.shape
        self.task_spec = _observed(spec, parts, camera_size, plant)
        self.observation_space = observation_space(self.task_spec)
        self.action_space = spaces.Box(-1.0, 1.0, (len(spec.action),), np.float32)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": round(1.0 / spec.control_period)}
        self.render_mode = "rgb_array"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode on the nominal plant, or on the one that `options["parameters"]` describes.

        Raises:
            ValueError: An unknown option or parameter, or a value outside the parameter's range.
            PlantError: The plant returned values that are not finite, or it raised an error itself.
        """
        parameters = episode_parameters(options, self.task_spec.parameters)
        gym.Env.reset(self, seed=seed)  # the contract's own reset is abstract
        self._put_parameters(parameters)
        self._path.reset()
        self._steps = 0
        with running(self.task_spec.id, self._steps):
            raw, info = self._plant.env.reset(seed=seed)
            success = self._reading.success(raw, info)
        outcome = {"success": success, "failure": False, "cost": 0.0}
        return self._observation(raw), info | outcome

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action for one control period.

        Raises:
            ValueError: An action of another shape or with values that are not finite.
            PlantError: The plant returned values that are not finite, its simulation became unstable, or it raised an
                error itself.
        """
        saturated = np.clip(checked_action(action, len(self._center)), np.float32(-1.0), np.float32(1.0))
        command = self._path.command(saturated, self.np_random)
        applied = (self._center + self._half * command).reshape(self._shape)
        with running(self.task_spec.id, self._steps):
            raw, paid, ended, cut, info = self._plant.env.step(applied)
            reward, cost, success = float(paid), float(info.get("cost", 0.0)), self._reading.success(raw, info)
            terminated, truncated = bool(ended), bool(cut)
        self._steps += 1
        observation = self._observation(raw)
        require_finite_reward(self.task_spec.id, self._steps, reward)
        if fault := self._plant.fault():
            raise PlantError(f"{self.task_spec.id}: {fault} at step {self._steps}; reset the task")
        failure = bool(self.task_spec.failure) and terminated and not success
        outcome = {"success": success, "failure": failure, "cost": cost}
        out_of_time = truncated or self._steps >= self.task_spec.max_steps
        return observation, reward, terminated, out_of_time, info | outcome

    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Change the running plant; parameters not named keep their present values."""
        self._put_parameters(self._values | checked_parameters(values, self.task_spec.parameters))

    def goal_reward(self, achieved: NDArray[Any], goal: NDArray[Any]) -> NDArray[Any]:
        """The reward (...,) of reaching (..., G) when asked for goals (..., G), as the environment computes it."""
        if self.task_spec.goal_cost is not None:
            return super().goal_reward(achieved, goal)
        inner: Any = self._plant.env.unwrapped
        return np.asarray(inner.compute_reward(achieved, goal, {}))

    def snapshot(self) -> TaskMemory:
        """The whole state of plant, signal path and random numbers."""
        rng = dict(self.np_random.bit_generator.state)
        return TaskMemory(self._plant.snapshot(), self._path.snapshot(), rng, self._steps, dict(self._values))

    def restore(self, snapshot: TaskMemory) -> None:
        """Return to a state from `snapshot`; it can be returned to again."""
        self._plant.restore(snapshot.plant)
        self._path.restore(snapshot.path)
        self.np_random.bit_generator.state = snapshot.rng
        self._steps, self._values = snapshot.steps, dict(snapshot.values)

    def render(self) -> Picture:
        """The plant as a picture (240, 320, 3) for videos."""
        return self._plant.picture(*VIDEO_SIZE, fast=False)

    def pixels(self, places: NDArray[Any]) -> NDArray[np.float64]:
        return self._plant.pixels(places, *VIDEO_SIZE)

    def close(self) -> None:
        """Release the environment and its rendering contexts."""
        self._plant.close()

    def _put_parameters(self, values: Mapping[str, float]) -> None:
        of_path = {parameter.name for parameter in signals.PARAMETERS}
        self._path.set_parameters({name: value for name, value in values.items() if name in of_path})
        self._plant.set_parameters({name: value for name, value in values.items() if name not in of_path})
        self._values = dict(values)

    def _observation(self, raw: Any) -> Observation:
        observation: Observation = {}
        with running(self.task_spec.id, self._steps):
            proprio = np.array(self._reading.proprio(raw), np.float32)  # a copy: the environment may fill its own anew
        require_finite(self.task_spec.id, self._steps, self._elements, proprio)
        if "proprio" in self._parts:
            observation["proprio"] = self._path.measurement(proprio, self.np_random)
        if self.task_spec.camera is not None:
            height, width, _ = self.task_spec.camera
            observation["camera"] = self._plant.picture(height, width, fast=True)
        if "goal" in self._parts:
            with running(self.task_spec.id, self._steps):
                observation["goal"] = np.array(self._reading.goal(raw), np.float32)
            require_finite(self.task_spec.id, self._steps, self.task_spec.goal, observation["goal"])
        return observation


def _observed(spec: TaskSpec, parts: frozenset[str], camera_size: int, plant: Plant) -> TaskSpec:
    return replace(
        spec,
        proprio=spec.proprio if "proprio" in parts else (),
        goal=spec.goal if "goal" in parts else (),
        camera=(camera_size, camera_size, 3) if "camera" in parts else None,
        parameters=plant.parameters + signals.PARAMETERS,
        achieved=spec.achieved if parts >= {"proprio", "goal"} else (),
        goal_cost=spec.goal_cost if parts >= {"proprio", "goal"} else None,
    )


def _command_scaling(env: gym.Env[Any, Any], task_id: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Center and half width (A,) of the environment's action box, row by row."""
    box = env.action_space
    if not isinstance(box, spaces.Box):
        raise ValueError(f"{task_id} must have a vector of continuous actions, got {box}; choose another id")
    if not box.is_bounded():
        raise ValueError(f"{task_id} must have bounded actions, got {box}; wrap it to give them limits")
    low, high = box.low.ravel().astype(np.float32), box.high.ravel().astype(np.float32)
    return np.asarray((high + low) / 2, np.float32), np.asarray((high - low) / 2, np.float32)


def action_elements(env: gym.Env[Any, Any]) -> tuple[Element, ...]:
    """Unnamed elements for an environment's actions, with its limits."""
    center, half = _command_scaling(env, env.spec.id if env.spec else type(env).__name__)
    pairs = zip(center - half, center + half, strict=True)
    return tuple(Element(f"action {index}", "1", float(low), float(high)) for index, (low, high) in enumerate(pairs))

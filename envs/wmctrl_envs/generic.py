"""Any Gymnasium environment with a box action and a vector observation as a task."""

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator
from numpy.typing import NDArray

from wmctrl_envs.camera import draw_off_screen
from wmctrl_envs.plant import Plant, PythonPlant
from wmctrl_envs.plant_task import PlantTask, Reading, action_elements
from wmctrl_envs.suggestion import refusal
from wmctrl_envs.task import Element, Task, TaskSpec

DEFAULT_MAX_STEPS = 1000
"""Episode length where an environment sets no limit of its own."""
_GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")


def build(
    task_id: str, observe: Sequence[str] | None, camera_size: int, config: Mapping[str, Any], known: Sequence[str] = ()
) -> Task:
    """The task of a Gymnasium id, `package.module:Env-v0` included.

    Why an unknown environment ends its episodes is not known, and its reward may tell. It is called a failure only
    where the environment's metadata say what its `failure` is; and success is judged only where they say what its
    `success` is, or where there are goals.

    Args:
        config: Keyword arguments of the environment, and `max_steps`.
        known: Ids that exist beside Gymnasium's, for suggestions.
    """
    draw_off_screen()
    env, max_steps = make_env(find(task_id, known), config)
    try:
        proprio, goal, reading = _reading(env.observation_space, task_id)
        spec = TaskSpec(
            id=task_id,
            proprio=proprio,
            goal=goal,
            action=action_elements(env),
            camera=None,
            control_period=_control_period(env, task_id),
            max_steps=max_steps,
            success=env.metadata.get("success", "The environment reports success." if goal else ""),
            failure=env.metadata.get("failure", ""),
        )
        return PlantTask(_plant(env), reading, spec, observe, camera_size)
    except ValueError:
        env.close()
        raise


def find(task_id: str, known: Sequence[str] = ()) -> EnvSpec:
    """The registered environment of an id, with its package imported where the id names one."""
    module, _, name = task_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"{task_id} needs the module {module}, which does not import: {error}") from error
    spec = gym.registry.get(name)
    if spec is None:
        raise refusal("task", task_id, [*known, *gym.registry])
    return spec


def make_env(
    spec: EnvSpec, config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[gym.Env[Any, Any], int]:
    """The environment without time limit, and the number of steps after which to truncate it."""
    entries = dict(defaults or {}) | dict(config)
    max_steps = entries.pop("max_steps", spec.max_episode_steps or DEFAULT_MAX_STEPS)
    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    accepted = _keywords(creator)
    for name in entries:
        if accepted is not None and name not in accepted:
            raise refusal(f"config key of {spec.id}", name, accepted | {"max_steps"})
    if "rgb_array" in (getattr(creator, "metadata", None) or {}).get("render_modes", ()):
        entries["render_mode"] = "rgb_array"
    try:
        env: gym.Env[Any, Any] = gym.make(spec, max_episode_steps=-1, disable_env_checker=True, **entries)
    except TypeError as error:
        raise ValueError(f"{spec.id} could not be made with config {dict(config)}: {error}") from error
    return env, int(max_steps)


def _keywords(creator: Any) -> set[str] | None:
    """Keywords an environment's constructor accepts, those of its bases included; None when it takes any."""
    names: set[str] = set()
    for layer in creator.__mro__ if inspect.isclass(creator) else (creator,):
        function = layer.__dict__.get("__init__") if inspect.isclass(layer) else layer
        if function is None:
            continue
        parameters = inspect.signature(function).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names - {"self", "render_mode"}
    return None


def _control_period(env: gym.Env[Any, Any], task_id: str) -> float:
    period = getattr(env.unwrapped, "dt", None) or getattr(env.unwrapped, "tau", None)
    rate: Any = env.metadata.get("render_fps")
    if not period and not rate:
        raise ValueError(f"{task_id} must tell its control period by `dt` or metadata `render_fps`, and has neither")
    return float(period) if period else 1.0 / float(rate)


def _plant(env: gym.Env[Any, Any]) -> Plant:
    mujoco = sys.modules.get("mujoco")
    if mujoco is None or not isinstance(getattr(env.unwrapped, "model", None), mujoco.MjModel):
        return PythonPlant(env)
    from wmctrl_envs.mujoco_plant import MujocoPlant

    plain = (np.ndarray, float, int, bool, np.number)
    constant = {"width", "height", "frame_skip", "n_substeps"}
    names = (name for name, value in vars(env.unwrapped).items() if isinstance(value, plain) and name not in constant)
    return MujocoPlant(env, attributes=tuple(names))


def _reading(space: spaces.Space[Any], task_id: str) -> tuple[tuple[Element, ...], tuple[Element, ...], Reading]:
    """Elements of proprioception and goal, and how to read them."""
    if not isinstance(space, spaces.Dict):
        return _elements(space, "proprio", task_id), (), Reading(np.ravel, _no_goal)
    if set(space.spaces) == set(_GOAL_KEYS):
        proprio = _elements(space["observation"], "proprio", task_id)
        achieved = _elements(space["achieved_goal"], "achieved goal", task_id)
        goal = _elements(space["desired_goal"], "goal", task_id)
        return proprio + achieved, goal, Reading(_goal_proprio, lambda raw: np.ravel(raw["desired_goal"]))
    names = tuple(space.spaces)
    proprio = tuple(element for name in names for element in _elements(space[name], name, task_id))
    return proprio, (), Reading(lambda raw: np.concatenate([np.ravel(raw[name]) for name in names]), _no_goal)


def _elements(space: spaces.Space[Any], name: str, task_id: str) -> tuple[Element, ...]:
    if not isinstance(space, spaces.Box):
        raise ValueError(f"{task_id} must be observed by boxes of numbers, but `{name}` is {space}; choose another id")
    if space.dtype == np.uint8 and len(space.shape) == 3:
        raise ValueError(f"{task_id} must be observed by vectors, but `{name}` is a picture {space.shape}")
    limits = zip(space.low.ravel(), space.high.ravel(), strict=True)
    return tuple(Element(f"{name} {index}", "1", float(low), float(high)) for index, (low, high) in enumerate(limits))


def _goal_proprio(raw: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.ravel(raw["observation"]), np.ravel(raw["achieved_goal"])])


def _no_goal(raw: Any) -> NDArray[np.float32]:
    return np.zeros(0, np.float32)

"""Any Gymnasium environment with a box action as a task."""

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator

from wmctrl_envs.camera import draw_off_screen
from wmctrl_envs.contract import checked_count, in_one_line, is_number, making, require_alike
from wmctrl_envs.generic_senses import senses_of
from wmctrl_envs.plant import Plant, PythonPlant
from wmctrl_envs.plant_task import PlantTask, action_elements
from wmctrl_envs.suggestion import refusal
from wmctrl_envs.task import Task, TaskSpec

DEFAULT_MAX_STEPS = 1000
"""Episode length where an environment sets no limit of its own."""
GIVEN_PERIOD = "config control_period"
"""What gives a control period where an environment tells none."""


def build(
    task_id: str, observe: Sequence[str] | None, camera_size: int, config: Mapping[str, Any], known: Sequence[str] = ()
) -> Task:
    """The task of a Gymnasium id, `package.module:Env-v0` included.

    Why an unknown environment ends its episodes is not known, and its reward may tell. It is called a failure only
    where the environment's metadata say what its `failure` is; and success is judged only where they say what its
    `success` is, or where there are goals.

    Args:
        config: Keyword arguments of the environment, `max_steps`, and `control_period` [s] where it tells none.
        known: Ids that exist beside Gymnasium's, for suggestions.
    """
    draw_off_screen()
    entries = dict(config)
    period = entries.pop("control_period", None)
    env, max_steps = make_env(find(task_id, known), entries)
    try:
        proprio, goal, reading = senses_of(env.observation_space, task_id, "camera" in (observe or ()))
        spec = TaskSpec(
            id=task_id,
            proprio=proprio,
            goal=goal,
            action=action_elements(env),
            camera=None,
            control_period=_told_period(env, task_id) if period is None else _above_0(period, "s", GIVEN_PERIOD),
            max_steps=max_steps,
            achieved=tuple(range(len(proprio) - len(goal), len(proprio))) if goal and _computes_rewards(env) else (),
            success=_sentence(env, "success", "The environment reports success." if goal else ""),
            failure=_sentence(env, "failure", ""),
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
        except Exception as error:
            told = f"{task_id} needs the module {module}, which does not import"
            raise ValueError(f"{told}: {in_one_line(error)}") from error
    spec = gym.registry.get(name)
    if spec is None:
        raise refusal("task", task_id, [*known, *gym.registry])
    return spec


def make_env(
    spec: EnvSpec, config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[gym.Env[Any, Any], int]:
    """The environment without time limit, and the number of steps after which to truncate it.

    Raises:
        ValueError: A configuration key or value that is refused, or an environment that cannot be loaded or made.
    """
    entries = dict(defaults or {}) | dict(config)
    max_steps = checked_count("max_steps", entries.pop("max_steps", spec.max_episode_steps or DEFAULT_MAX_STEPS), 1)
    with making(spec.id, config):
        creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    accepted = _keywords(creator)
    for name, value in entries.items():
        if accepted is not None and name not in accepted:
            raise refusal(f"config key of {spec.id}", name, accepted.keys() | {"max_steps"})
        require_alike(name, value, (accepted or {}).get(name))
    if "rgb_array" in (getattr(creator, "metadata", None) or {}).get("render_modes", ()):
        entries["render_mode"] = "rgb_array"
    with making(spec.id, config):
        env: gym.Env[Any, Any] = gym.make(spec, max_episode_steps=-1, disable_env_checker=True, **entries)
    return env, max_steps


def _keywords(creator: Any) -> dict[str, Any] | None:
    """Keywords an environment's constructor accepts, those of its bases included, with their defaults; None for any."""
    known: dict[str, Any] = {}
    for layer in creator.__mro__ if inspect.isclass(creator) else (creator,):
        function = layer.__dict__.get("__init__") if inspect.isclass(layer) else layer
        if function is None:
            continue
        parameters = inspect.signature(function).parameters.values()
        known = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} | known
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return {name: default for name, default in known.items() if name not in ("self", "render_mode")}
    return None


def _above_0(value: Any, unit: str, what: str) -> float:
    if not is_number(value) or not 0.0 < value < np.inf:
        raise ValueError(f"{what} must be a number above 0 [{unit}], got {value!r}")
    return float(value)


def _told_period(env: gym.Env[Any, Any], task_id: str) -> float:
    for name in ("dt", "tau"):
        if (period := getattr(env.unwrapped, name, None)) is not None:
            return _above_0(period, "s", f"{name} of {task_id}")
    rate: Any = env.metadata.get("render_fps")
    if rate is None:
        told = f"{task_id} must tell its control period by `dt` or metadata `render_fps`, and has neither"
        raise ValueError(f"{told}; give it by {GIVEN_PERIOD} [s]")
    return 1.0 / _above_0(rate, "1/s", f"render_fps of {task_id}")


def _sentence(env: gym.Env[Any, Any], what: str, otherwise: str) -> str:
    """What the environment's metadata say its success or failure is."""
    sentence: Any = env.metadata.get(what, otherwise)
    if not isinstance(sentence, str):
        raise ValueError(f"metadata {what} must be one sentence that says what it is, got {sentence!r}")
    return sentence


def _computes_rewards(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment with goals tells the rewards of many of them at once."""
    inner: Any = env.unwrapped
    space: Any = env.observation_space
    many = np.zeros((2, *(space["desired_goal"].shape or ())))
    try:
        return many.ndim == 2 and np.shape(inner.compute_reward(many, many, {})) == (2,)
    except Exception:  # it has no such function, or one that wants more than goals
        return False


def _plant(env: gym.Env[Any, Any]) -> Plant:
    mujoco = sys.modules.get("mujoco")
    if mujoco is None or not isinstance(getattr(env.unwrapped, "model", None), mujoco.MjModel):
        return PythonPlant(env)
    from wmctrl_envs.mujoco_plant import MujocoPlant

    plain = (np.ndarray, float, int, bool, np.number)
    constant = {"width", "height", "frame_skip", "n_substeps"}
    names = (name for name, value in vars(env.unwrapped).items() if isinstance(value, plain) and name not in constant)
    return MujocoPlant(env, attributes=tuple(names))

"""What tasks demand of those who use them and of the plants beneath them, refused by all in the same words."""

import numbers
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wmctrl_envs.suggestion import refuse_unknown
from wmctrl_envs.task import Element, Observation, Parameter, PlantError, TaskSpec

PARTS = ("proprio", "camera", "goal")
"""What an observation can hold."""


def chosen_parts(task_id: str, available: Sequence[str], observe: Sequence[str] | None) -> frozenset[str]:
    """The parts to observe: those asked for, or every vector part there is.

    Raises:
        ValueError: A part the task does not have, or neither proprioception nor camera.
    """
    if observe is None:
        return frozenset(available) - {"camera"}
    refuse_unknown(f"part of {task_id}'s observation", observe, available)
    if not set(observe) & {"proprio", "camera"}:
        raise ValueError(f"{task_id} must be observed by proprio, camera or both, got {list(observe)}")
    return frozenset(observe)


def observation_space(spec: TaskSpec) -> spaces.Space[Observation]:
    """The space of what is observed according to the specification."""
    parts: dict[str, spaces.Space[NDArray[Any]]] = {}
    if spec.proprio:
        parts["proprio"] = spaces.Box(-np.inf, np.inf, (len(spec.proprio),), np.float32)
    if spec.camera is not None:
        parts["camera"] = spaces.Box(0, 255, spec.camera, np.uint8)
    if spec.goal:
        parts["goal"] = spaces.Box(-np.inf, np.inf, (len(spec.goal),), np.float32)
    return cast("spaces.Space[Observation]", spaces.Dict(parts))  # gymnasium types a Dict's values as spaces


def checked_parameters(values: Mapping[str, float], known: tuple[Parameter, ...]) -> dict[str, float]:
    """The values as floats, known by name and within their ranges.

    Raises:
        ValueError: Unknown name or a value outside the parameter's range.
    """
    table = {parameter.name: parameter for parameter in known}
    refuse_unknown("parameter", values, table)
    for name, value in values.items():
        table[name].require_within("parameter", value)
    return {name: float(value) for name, value in values.items()}


def episode_parameters(options: Mapping[str, Any] | None, known: tuple[Parameter, ...]) -> dict[str, float]:
    """The checked parameters in the options of a reset.

    Raises:
        ValueError: An option other than `parameters`, or what `checked_parameters` refuses.
    """
    options = options or {}
    refuse_unknown("reset option", options, ("parameters",))
    return checked_parameters(options.get("parameters", {}), known)


def checked_action(action: NDArray[Any], size: int) -> NDArray[np.float32]:
    """A copy of the action (A,).

    Raises:
        ValueError: An action of another shape or with values that are not finite.
    """
    checked = np.array(action, np.float32)
    if checked.shape != (size,) or not np.isfinite(checked).all():
        raise ValueError(f"an action must be {(size,)} finite values in [-1, 1], got {action!r}")
    return checked


def in_one_line(error: Exception) -> str:
    """What went wrong, and of which kind it is."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextmanager
def making(task_id: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Whatever hinders an environment from being made is told with the configuration it was to be made with.

    Raises:
        ValueError: The environment, its module or something it needs raised an error, in one line.
    """
    try:
        yield
    except Exception as error:
        given = f" with config {dict(config)}" if config else ""
        remedy = f"; install {error.name}" if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(f"{task_id} could not be made{given}: {in_one_line(error)}{remedy}") from error


@contextmanager
def running(task_id: str, steps: int) -> Iterator[None]:
    """Whatever an environment raises while it is driven is a breakdown of the plant.

    Args:
        steps: Actions since the last reset.

    Raises:
        PlantError: The error in one line.
    """
    try:
        yield
    except Exception as error:
        raise PlantError(f"{task_id}: {in_one_line(error)} after {steps} steps; reset the task") from error


def require_finite(task_id: str, step: int, elements: Sequence[Element], values: NDArray[Any]) -> None:
    """Hold what a plant tells to a finite number of each element (E,).

    Raises:
        PlantError: Names the first element that is none, or says how many came.
    """
    if values.shape != (len(elements),):
        came = f"values of shape {values.shape} of {len(elements)} elements"
        raise PlantError(f"{task_id}: {came} came at step {step}; mend the environment")
    finite = np.isfinite(values)
    if not finite.all():
        first = int(finite.argmin())
        raise PlantError(f"{task_id}: `{elements[first].name}` became {values[first]} at step {step}; reset the task")


def require_finite_reward(task_id: str, step: int, reward: float) -> None:
    """Hold a plant's reward to finite numbers.

    Raises:
        PlantError: It is none.
    """
    if not np.isfinite(reward):
        raise PlantError(f"{task_id}: the reward became {reward} at step {step}; reset the task")


def is_number(value: Any) -> bool:
    """Whether this is a number and no flag."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def checked_count(key: str, value: Any, least: int) -> int:
    """A configuration's value as a whole number.

    Raises:
        ValueError: No whole number, or a smaller one than `least`.
    """
    if not is_number(value) or value % 1 or value < least:
        raise ValueError(f"config {key} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def require_alike(key: str, value: Any, default: Any) -> None:
    """Hold a configuration's value to a flag where its default is one, and to a number where that is one.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(default, bool) and not isinstance(value, bool):
        raise ValueError(f"config {key} must be true or false, got {value!r}")
    if is_number(default) and not is_number(value):
        raise ValueError(f"config {key} must be a number, such as {default:g}, got {value!r}")

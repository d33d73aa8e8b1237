"""What tasks demand of those who use them, refused by all in the same words."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wmctrl_envs.suggestion import refuse_unknown
from wmctrl_envs.task import Observation, Parameter, TaskSpec

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
        low, high = table[name].low, table[name].high
        if not low <= value <= high:
            raise ValueError(f"parameter {name} must be in [{low:g}, {high:g}] {table[name].unit}, got {value!r}")
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

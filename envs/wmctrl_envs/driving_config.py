"""highway-env's configuration as these tasks take it: what it would ignore or stumble over is refused."""

import inspect
import math
from collections.abc import Collection, Mapping
from typing import Any

from wmctrl_envs.contract import checked_count, is_number, require_alike
from wmctrl_envs.driving_scenario import Scenario
from wmctrl_envs.stock_observations import FAST, FEATURES
from wmctrl_envs.suggestion import refusal, refuse_unknown

OWN = "own"
"""Type of observation that leaves proprioception to these tasks."""
ACTION_KEYS = (
    "type", "acceleration_range", "steering_range", "speed_range", "longitudinal", "lateral", "dynamical", "clip",
    "target_speeds",
)  # fmt: skip
IGNORED = ("manual_control", "state_noise", "derivative_noise")
"""Entries that highway-env would drive or observe by, and these tasks do not."""
COUNTS = {
    "vehicles_count": 0,
    "other_vehicles": 0,
    "initial_vehicle_count": 0,
    "controlled_vehicles": 1,
    "lanes_count": 1,
    "observation.vehicles_count": 2,
}
"""Entries that count things, with the least there must be; one vehicle observed is all of them to highway-env."""


def configured(scenario: type[Scenario], config: Mapping[str, Any]) -> dict[str, Any]:
    """highway-env's configuration with the given entries changed, each of ours put where highway-env wants it.

    Raises:
        ValueError: A key highway-env would ignore, a value of another kind than the default's, an action or observation
            these tasks do not have, or what `refuse_uneven_rates` refuses.
    """
    default = scenario.default_config()
    refuse_unknown("config key", config, (default.keys() | {"dynamical", "max_steps"}).difference(IGNORED))
    for part in ("action", "observation"):
        if not isinstance(config.get(part, {}), Mapping):
            raise ValueError(f"config {part} must be keys with values, such as {{type: ...}}, got {config[part]!r}")
    entries: dict[str, Any] = {key: value for key, value in config.items() if key in default}
    entries["action"] = {**default["action"], **config.get("action", {})}
    if "dynamical" in config:
        entries["action"]["dynamical"] = config["dynamical"]
    check_action(entries["action"])
    entries["observation"] = checked_observation({"type": OWN, **config.get("observation", {})})
    rates = default | entries
    refuse_uneven_rates(rates["simulation_frequency"], rates["policy_frequency"])
    entries["simulation_frequency"] = int(rates["simulation_frequency"])  # the intersection counts frames up to it
    if "max_steps" in config:
        entries["duration"] = checked_count("max_steps", config["max_steps"], 1) / rates["policy_frequency"]
    return {key: checked_value(key, value, default[key]) for key, value in entries.items()}


def checked_value(key: str, value: Any, default: Any) -> Any:
    """The value, a count as a whole number.

    Raises:
        ValueError: It is not of its default's kind, or too small; names the key, dotted where it is nested.
    """
    if key in COUNTS:
        return checked_count(key, value, COUNTS[key])
    require_alike(key, value, default)
    if isinstance(default, list):
        check_numbers(key, value, len(default))
    if key == "duration" and not 0 < value < math.inf:
        raise ValueError(f"config duration must be above 0 [s], got {value!r}")
    if key == "destination" and value not in ("o1", "o2", "o3"):
        raise ValueError(f"config destination must be o1, o2 or o3, got {value!r}")
    if key == "reward_weights" and min(value) < 0:
        raise ValueError(f"config reward_weights must be at least 0, got {value!r}")
    return value


def check_numbers(key: str, value: Any, count: int) -> None:
    """Refuse what is no list of so many finite numbers.

    Raises:
        ValueError: Names the key.
    """
    many = isinstance(value, list | tuple) and len(value) == count
    if not (many and all(is_number(one) and math.isfinite(one) for one in value)):
        raise ValueError(f"config {key} must be {count} numbers, got {value!r}")


def check_action(action: Mapping[str, Any]) -> None:
    """Refuse an action these tasks do not have.

    Raises:
        ValueError: An unknown key or type, or a value of another kind.
    """
    refuse_unknown("config action key", action, ACTION_KEYS)
    refuse_type("action", action["type"], ("ContinuousAction",))
    for key in ("longitudinal", "lateral", "dynamical", "clip"):
        require_alike(f"action.{key}", action.get(key, True), True)
    for key in ("acceleration_range", "steering_range", "speed_range"):
        if action.get(key) is not None:
            check_numbers(f"action.{key}", action[key], 2)
    for key in ("acceleration_range", "steering_range"):
        low, high = action.get(key) or (-1.0, 1.0)
        if not -low == high > 0.0:  # nothing is done by a command of 0, and a car is stopped by that
            raise ValueError(f"config action.{key} must be the same both ways, such as [-5, 5], got {action[key]!r}")


def checked_observation(observation: Mapping[str, Any]) -> dict[str, Any]:
    """The observation, counts as whole numbers.

    Raises:
        ValueError: An unknown key, which highway-env would swallow, type or feature, a value of another kind, or what
            highway-env does not implement.
    """
    kind, features = observation["type"], observation.get("features") or []
    refuse_type("observation", kind, (OWN, *FAST))
    defaults = observation_defaults(kind)
    refuse_unknown("config observation key", observation, defaults)
    if not (isinstance(features, list | tuple) and all(isinstance(feature, str) for feature in features)):
        raise ValueError(f"config observation.features must be a list of names, got {features!r}")
    known = (*FEATURES, "on_road") if kind == "OccupancyGrid" else FEATURES
    refuse_unknown("config observation feature", features, known)
    if kind == "OccupancyGrid" and observation.get("absolute"):
        raise ValueError("config observation.absolute must be false: highway-env implements no absolute OccupancyGrid")
    return {key: checked_value(f"observation.{key}", value, defaults[key]) for key, value in observation.items()}


def observation_defaults(kind: str) -> dict[str, Any]:
    """What a type of observation can be given, and takes where it is not."""
    parameters = inspect.signature(FAST[kind]).parameters.values() if kind in FAST else ()
    defaults = {p.name: p.default for p in parameters if p.name != "env" and p.kind is p.POSITIONAL_OR_KEYWORD}
    return {"type": kind, **defaults}


def refuse_type(part: str, kind: Any, kinds: Collection[str]) -> None:
    """Refuse an action or observation that is not among those there are.

    Raises:
        ValueError: With the nearest that there is.
    """
    if kind not in kinds:
        raise refusal(f"config {part} type", str(kind), kinds)


def refuse_uneven_rates(simulation: Any, policy: Any) -> None:
    """Refuse rates [Hz] at which highway-env, that steps whole frames, would not keep the control period.

    Raises:
        ValueError: A rate that is no number above 0, frames that are not whole in a second, or rates of which one does
            not divide the other.
    """
    for name, rate in (("simulation_frequency", simulation), ("policy_frequency", policy)):
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise ValueError(f"config {name} must be a number above 0 [Hz], got {rate!r}")
    if simulation % 1:
        raise ValueError(f"config simulation_frequency must be a whole number [Hz], got {simulation!r}")
    if simulation % policy:
        divisors = ", ".join(str(rate) for rate in range(1, int(simulation) + 1) if simulation % rate == 0)
        raise ValueError(
            f"config policy_frequency={policy:g} does not divide simulation_frequency={simulation:g}; choose"
            f" policy_frequency among {divisors} or simulation_frequency as a multiple of {policy:g}"
        )

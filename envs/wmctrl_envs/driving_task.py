"""Driving plants behind the common contract."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wmctrl_envs.contract import (
    PARTS,
    checked_action,
    checked_parameters,
    chosen_parts,
    episode_parameters,
    observation_space,
)
from wmctrl_envs.driving_camera import TopDown
from wmctrl_envs.driving_parameters import apply, parameters_of, set_traffic
from wmctrl_envs.driving_scenario import Scenario
from wmctrl_envs.driving_senses import senses_of
from wmctrl_envs.driving_simulators import (
    Highway,
    HighwayFast,
    Intersection,
    LaneKeeping,
    Merge,
    Parking,
    Racetrack,
    Roundabout,
)
from wmctrl_envs.stock_observations import FAST
from wmctrl_envs.suggestion import refusal, refuse_unknown
from wmctrl_envs.task import Element, GoalCost, Observation, Task, TaskSpec

SCENARIOS: dict[str, type[Scenario]] = {
    "parking-v0": Parking,
    "racetrack-v1": Racetrack,
    "highway-v0": Highway,
    "highway-fast-v0": HighwayFast,
    "lane-keeping-v0": LaneKeeping,
    "merge-v0": Merge,
    "roundabout-v0": Roundabout,
    "intersection-v1": Intersection,
}
OVERSAMPLING = 3
"""Drawn pixels per observed pixel, along one side."""
FRAME = 480
"""Height and width of a rendered frame [px]."""
OWN = "own"
"""Type of observation that leaves proprioception to these tasks."""
ACTION_KEYS = (
    "type", "acceleration_range", "steering_range", "speed_range", "longitudinal", "lateral", "dynamical", "clip",
    "target_speeds",
)  # fmt: skip
CRASH_REWARD = -1.0
"""Reward per step credited to a crashed parking car; standing at the far end of the car park earns about -0.9."""


def configured(scenario: type[Scenario], config: Mapping[str, Any]) -> dict[str, Any]:
    """highway-env's configuration with the given entries changed, each of ours put where highway-env wants it.

    Raises:
        ValueError: A key highway-env would ignore, an action or observation these tasks do not have, or what
            `refuse_uneven_rates` refuses.
    """
    default = scenario.default_config()
    known = default.keys() | {"dynamical", "max_steps"}
    refuse_unknown("config key", config, known)
    refuse_unknown("config action key", config.get("action", {}), ACTION_KEYS)
    entries: dict[str, Any] = {key: value for key, value in config.items() if key in default}
    entries["action"] = {**default["action"], **config.get("action", {})}
    if "dynamical" in config:
        entries["action"]["dynamical"] = bool(config["dynamical"])
    rates = default | entries
    refuse_uneven_rates(rates["simulation_frequency"], rates["policy_frequency"])
    entries["simulation_frequency"] = int(rates["simulation_frequency"])  # the intersection counts frames up to it
    if "max_steps" in config:
        entries["duration"] = config["max_steps"] / rates["policy_frequency"]
    entries.setdefault("observation", {"type": OWN})
    for what, kinds in (("action", ("ContinuousAction",)), ("observation", (OWN, *FAST))):
        if entries[what]["type"] not in kinds:
            raise refusal(f"config {what} type", str(entries[what]["type"]), kinds)
    return entries


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


def action_elements(scenario: Scenario) -> tuple[Element, ...]:
    """What -1 and 1 stand for, throttle before steering."""
    actuation = scenario.action_type
    throttle = (Element("acceleration", "m/s^2", *actuation.acceleration_range),) if actuation.longitudinal else ()
    steering = (Element("steering", "rad", *actuation.steering_range),) if actuation.lateral else ()
    return throttle + steering


class DrivingTask(Task):
    """A car among others, or alone, on one of highway-env's roads."""

    def __init__(self, task_id: str, observe: Sequence[str] | None, camera_size: int, config: dict[str, Any]):
        refuse_unknown("driving task", [task_id], SCENARIOS)
        kind = SCENARIOS[task_id]
        self.scenario = kind(configured(kind, config))
        self.scenario.reset(seed=0)  # highway-env's lane keeping forgets its road at the end of its constructor
        self.camera_size = camera_size
        self.cameras: dict[int, TopDown] = {}
        self.senses = senses_of(self.scenario)
        self.parts = chosen_parts(task_id, PARTS if kind.GOAL else ("proprio", "camera"), observe)
        self.task_spec = TaskSpec(
            id=task_id,
            proprio=self.senses.elements if "proprio" in self.parts else (),
            goal=kind.GOAL if "goal" in self.parts else (),
            action=action_elements(self.scenario),
            camera=(camera_size, camera_size, 3) if "camera" in self.parts else None,
            control_period=1 / self.scenario.config["policy_frequency"],
            max_steps=round(self.scenario.config["duration"] * self.scenario.config["policy_frequency"]),
            parameters=parameters_of(self.scenario),
            goal_cost=self._goal_cost(),
            failure_reward=CRASH_REWARD if kind.GOAL else None,
            success=kind.SUCCESS,
            failure=kind.FAILURE,
        )
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.task_spec.action),), np.float32)
        self.observation_space = observation_space(self.task_spec)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / self.task_spec.control_period)}

    def _goal_cost(self) -> GoalCost | None:
        """highway-env's parking reward as a cost on what is observed, where that suffices."""
        if self.scenario.stock or not self.parts >= {"proprio", "goal"}:
            return None
        weights, threshold = self.scenario.weights(), float(self.scenario.config["success_goal_reward"])
        achieved = (0, 1, 2, 3, 4, 5)
        return GoalCost(achieved, tuple(weights.tolist()), order=1.0, power=0.5, threshold=threshold, ends=True)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        wanted = episode_parameters(options, self.task_spec.parameters)
        self.scenario.reset(seed=seed)
        nominal = {parameter.name: parameter.nominal for parameter in self.task_spec.parameters}
        self._set(nominal | wanted)
        return self._observe(), self._info(cost=0.0)

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        command = checked_action(action, len(self.task_spec.action)).astype(np.float64)
        _, reward, terminated, truncated, _ = self.scenario.step(command)
        set_traffic(self.scenario, self.scenario.parameters)
        truncated = truncated or self.scenario.elapsed >= self.task_spec.max_steps
        info = self._info(cost=float(self.scenario.failed()))
        return self._observe(), float(reward), bool(terminated), bool(truncated), info

    def set_parameters(self, values: Mapping[str, float]) -> None:
        self._set(self.scenario.parameters | checked_parameters(values, self.task_spec.parameters))

    def _set(self, values: dict[str, float]) -> None:
        self.scenario.parameters = values
        apply(self.scenario, values)

    def _observe(self) -> Observation:
        observation: Observation = {}
        if "proprio" in self.parts:
            observation["proprio"] = self.senses.read(self.scenario).astype(np.float32)
        if "goal" in self.parts:
            observation["goal"] = self.scenario.desired().astype(np.float32)
        if "camera" in self.parts:
            observation["camera"] = self._picture(self.camera_size, OVERSAMPLING)
        return observation

    def _picture(self, size: int, oversampling: int) -> NDArray[np.uint8]:
        if size not in self.cameras:
            self.cameras[size] = TopDown(size, oversampling)
        return self.cameras[size](self.scenario)

    def render(self) -> NDArray[np.uint8]:
        """A picture for people (FRAME, FRAME, 3)."""
        return self._picture(FRAME, 1)

    def _info(self, cost: float) -> dict[str, Any]:
        failed = self.scenario.failed()
        return {"success": self.scenario.succeeded(), "failure": failed, "cost": cost}

    def snapshot(self) -> Scenario:
        return self._copied(self.scenario)

    def restore(self, snapshot: Scenario) -> None:
        self.scenario = self._copied(snapshot)

    @staticmethod
    def _copied(scenario: Scenario) -> Scenario:
        """A copy that shares the road network and the configuration, which driving does not change."""
        network = scenario.road.network
        shared = (network, scenario.config, *network.lanes_list())
        return copy.deepcopy(scenario, {id(thing): thing for thing in shared})

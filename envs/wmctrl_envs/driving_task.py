"""Driving plants behind the common contract."""

import copy
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
    making,
    observation_space,
    require_finite,
    require_finite_reward,
    running,
)
from wmctrl_envs.driving_camera import TopDown
from wmctrl_envs.driving_config import configured
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
from wmctrl_envs.driving_stop import gains_to_stop
from wmctrl_envs.suggestion import refuse_unknown
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
        entries = configured(kind, config)
        with making(task_id, config):
            self.scenario = kind(entries)
            self.scenario.reset(seed=0)  # highway-env's lane keeping forgets its road at the end of its constructor
            self.senses = senses_of(self.scenario)
        self.camera_size = camera_size
        self.cameras: dict[int, TopDown] = {}
        self.parts = chosen_parts(task_id, PARTS if kind.GOAL else ("proprio", "camera"), observe)
        cost = self._goal_cost()
        period, actions = 1 / self.scenario.config["policy_frequency"], action_elements(self.scenario)
        proprio = self.senses.elements if "proprio" in self.parts else ()
        self.task_spec = TaskSpec(
            id=task_id,
            proprio=proprio,
            goal=kind.GOAL if "goal" in self.parts else (),
            action=actions,
            camera=(camera_size, camera_size, 3) if "camera" in self.parts else None,
            control_period=period,
            max_steps=max(1, round(self.scenario.config["duration"] / period)),
            parameters=parameters_of(self.scenario),
            achieved=() if cost is None else cost.achieved,
            goal_cost=cost,
            failure_reward=self.scenario.failure_reward(),
            safe=gains_to_stop(proprio, actions, period, slips=bool(self.scenario.action_type.dynamical)),
            success=kind.SUCCESS,
            failure=self.scenario.failure(),
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
        """Start an episode on the nominal plant, or on the one that `options["parameters"]` describes.

        Raises:
            ValueError: An unknown option or parameter, or a value outside the parameter's range.
            PlantError: The plant told values that are not finite, or it raised an error itself.
        """
        wanted = episode_parameters(options, self.task_spec.parameters)
        nominal = {parameter.name: parameter.nominal for parameter in self.task_spec.parameters}
        with running(self.task_spec.id, 0):
            self.scenario.reset(seed=seed)
            self._set(nominal | wanted)
        return self._observe(), self._info(cost=0.0)

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action for one control period.

        Raises:
            ValueError: An action of another shape or with values that are not finite.
            PlantError: The plant told values that are not finite, or it raised an error itself.
        """
        command = checked_action(action, len(self.task_spec.action)).astype(np.float64)
        with running(self.task_spec.id, self.scenario.elapsed):
            _, reward, terminated, truncated, _ = self.scenario.step(command)
            set_traffic(self.scenario, self.scenario.parameters)
        observation = self._observe()
        require_finite_reward(self.task_spec.id, self.scenario.elapsed, float(reward))
        truncated = truncated or self.scenario.elapsed >= self.task_spec.max_steps
        info = self._info(cost=float(self.scenario.failed()))
        return observation, float(reward), bool(terminated), bool(truncated), info

    def set_parameters(self, values: Mapping[str, float]) -> None:
        self._set(self.scenario.parameters | checked_parameters(values, self.task_spec.parameters))

    def _set(self, values: dict[str, float]) -> None:
        self.scenario.parameters = values
        apply(self.scenario, values)

    def _observe(self) -> Observation:
        observation: Observation = {}
        task_id, step = self.task_spec.id, self.scenario.elapsed
        with running(task_id, step):
            proprio = self.senses.read(self.scenario).astype(np.float32)
        require_finite(task_id, step, self.senses.elements, proprio)
        if "proprio" in self.parts:
            observation["proprio"] = proprio
        if "goal" in self.parts:
            observation["goal"] = self.scenario.desired().astype(np.float32)
            require_finite(task_id, step, self.task_spec.goal, observation["goal"])
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

    def pixels(self, places: NDArray[Any]) -> NDArray[np.float64]:
        if FRAME not in self.cameras:
            return super().pixels(places)
        surface = self.cameras[FRAME].surface
        return np.array([surface.vec2pix(place[:2]) for place in places], np.float64).reshape(-1, 2)

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

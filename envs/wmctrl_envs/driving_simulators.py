"""highway-env's scenarios with continuous actions made to work everywhere, and each with its own idea of success."""

from typing import Any, ClassVar

import numpy as np
from highway_env.envs.highway_env import HighwayEnv, HighwayEnvFast
from highway_env.envs.intersection_env import ContinuousIntersectionEnv
from highway_env.envs.lane_keeping_env import LaneKeepingEnv
from highway_env.envs.merge_env import MergeEnv
from highway_env.envs.parking_env import ParkingEnv
from highway_env.envs.racetrack_env import ConnectedLaneRacetrackEnv
from highway_env.envs.roundabout_env import RoundaboutEnv
from highway_env.road.lane import AbstractLane
from highway_env.road.road import LaneIndex
from highway_env.vehicle.controller import ControlledVehicle
from highway_env.vehicle.kinematics import Vehicle
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Action, Point, Road, Scenario, forward_speed
from wmctrl_envs.driving_vehicles import ParkingCar, ParkingTyreCar
from wmctrl_envs.task import Element

HIGHWAY_ACTION = {"type": "ContinuousAction", "steering_range": [-0.1, 0.1]}
"""At 25 m/s 0.1 rad of steering asks for 12 m/s^2 sideways; highway-env's 0.8 rad leaves the road within a step."""


def pose(place: str) -> tuple[Element, ...]:
    """The six values parking compares with its goal, of the car or of the spot."""
    return (
        Element(f"{place} x", "m", -35, 35),
        Element(f"{place} y", "m", -21, 21),
        Element(f"{place} x velocity", "m/s", -15, 15),
        Element(f"{place} y velocity", "m/s", -15, 15),
        Element(f"{place} heading cosine", "1", -1, 1),
        Element(f"{place} heading sine", "1", -1, 1),
    )


class Parking(Scenario, ParkingEnv):
    """Reward: -(weighted distance to the spot)^0.5, and -5 on a crash, as in highway-env."""

    SUCCESS = "The car stands in the spot."
    GOAL = pose("spot")
    CARS = (ParkingCar, ParkingTyreCar)
    PICTURE_SPAN = 72.0
    SCALES: ClassVar[NDArray[np.float64]] = np.array((100.0, 100.0, 5.0, 5.0, 1.0, 1.0))
    """highway-env's scales of x, y [m], vx, vy [m/s] and cosine and sine of the heading."""

    DEFAULTS: ClassVar[dict[str, Any]] = {"offroad_terminal": False, "duration": 20}

    def picture_centre(self) -> Point:
        """The middle of the car park, so that the spot is always seen."""
        return np.zeros(2)

    def target(self) -> tuple[Point, ...]:
        """Corners of the spot."""
        lane = self.vehicle.goal.lane
        corners = ((0, -0.5), (0, 0.5), (1, 0.5), (1, -0.5))
        return tuple(lane.position(along * lane.length, across * lane.width) for along, across in corners)

    def achieved(self) -> NDArray[np.float64]:
        """What is compared with the goal: x, y [m], vx, vy [m/s], cosine and sine of the heading."""
        car = self.vehicle
        return np.asarray(np.concatenate((car.position, car.velocity, car.direction)))

    def desired(self) -> NDArray[np.float64]:
        """The same six for a car standing in the spot."""
        spot = self.vehicle.goal
        return np.asarray(np.concatenate((spot.position, np.zeros(2), spot.direction)))

    def weights(self) -> NDArray[np.float64]:
        """Weights of the six differences in SI units."""
        weights = np.array(self.config["reward_weights"], np.float64)
        return weights / self.SCALES

    def failure_reward(self) -> float:
        """Reward per step credited to a crashed car: -1, or the worst to be had in the car park where that is less.

        With highway-env's weights standing at the far end earns about -0.9.
        """
        farthest = np.array([element.high - element.low for element in self.GOAL])
        return -max(1.0, float(np.sqrt(self.weights() @ farthest)))

    def _distance_reward(self) -> float:
        achieved, desired = self.achieved() / self.SCALES, self.desired() / self.SCALES
        return float(self.compute_reward(achieved, desired, {}))

    def _reward(self, action: Action) -> float:
        return self._distance_reward() + float(self.config["collision_reward"] * self.vehicle.crashed)

    def succeeded(self) -> bool:
        """Whether the car stands in the spot."""
        return bool(self._distance_reward() > -self.config["success_goal_reward"])

    def _is_terminated(self) -> bool:
        return self.failed() or self.succeeded()


class Racetrack(Scenario, ConnectedLaneRacetrackEnv):
    """Reward: highway-env's, for keeping to a lane's centre with little steering; nothing off the road.

    Speed is constant and steering alone is commanded unless the configuration says otherwise.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "offroad_terminal": True,
        "action": {"type": "ContinuousAction", "longitudinal": False, "lateral": True},
    }


class Highway(Scenario, HighwayEnv):
    """Reward: highway-env's, for forward speed between 20 and 30 m/s and keeping right; nothing off the road."""

    LOOK_AHEAD = (10.0, 25.0, 50.0)
    VIEW, TOP_SPEED = 100.0, 40.0
    PICTURE_SPAN, PICTURE_LEAD = 64.0, 16.0

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "offroad_terminal": True, "action": HIGHWAY_ACTION, "vehicles_count": 15, "policy_frequency": 5,
    }  # fmt: skip


class HighwayFast(Scenario, HighwayEnvFast):
    """Reward: that of `Highway`."""

    LOOK_AHEAD = Highway.LOOK_AHEAD
    VIEW, TOP_SPEED = Highway.VIEW, Highway.TOP_SPEED
    PICTURE_SPAN, PICTURE_LEAD = Highway.PICTURE_SPAN, Highway.PICTURE_LEAD

    DEFAULTS: ClassVar[dict[str, Any]] = {"offroad_terminal": True, "action": HIGHWAY_ACTION, "policy_frequency": 5}


class LaneKeeping(Scenario, LaneKeepingEnv):
    """Reward: 1 - (lateral offset / lane width)^2, as in highway-env. Speed is constant."""

    LOOK_AHEAD = (4.0, 8.0, 15.0, 25.0, 40.0)
    DEFAULTS: ClassVar[dict[str, Any]] = {"offroad_terminal": True, "duration": 20}
    lane: AbstractLane

    def lane_followed(self) -> LaneIndex:
        """Index of the lane the reward is about."""
        return ("c", "d", 0) if self.lanes else ("a", "b", 0)

    def step(self, action: Action) -> tuple[None, float, bool, bool, dict[str, Any]]:
        """One step, judged by where it leads; highway-env's own observes before it moves."""
        self._simulate(action)
        reward = self._reward(action)
        if self.lanes and not self.lane.on_lane(self.vehicle.position):
            self.lane = self.lanes.pop(0)
        return None, reward, self._is_terminated(), self._is_truncated(), {}


class Merge(Scenario, MergeEnv):
    """Reward: highway-env's, with speed taken along the lane and no term for a lane-change command.

    Passing the ramp truncates rather than terminates: rewards are positive, so ending them there would reward dawdling.
    """

    ROUTE = (("a", "b"), ("b", "c"), ("c", "d"))
    LOOK_AHEAD = (10.0, 25.0, 50.0)
    VIEW, TOP_SPEED = 100.0, 40.0
    PICTURE_SPAN, PICTURE_LEAD = 64.0, 16.0

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "offroad_terminal": True, "action": HIGHWAY_ACTION, "policy_frequency": 5, "duration": 20,
    }  # fmt: skip

    def _rewards(self, action: Action) -> dict[str, float]:
        low, high = self.config["reward_speed_range"]
        merging = [
            (vehicle.target_speed - vehicle.speed) / vehicle.target_speed
            for vehicle in self.road.vehicles
            if vehicle.lane_index == ("b", "c", 2) and isinstance(vehicle, ControlledVehicle)
        ]
        return {
            "collision_reward": float(self.vehicle.crashed),
            "right_lane_reward": float(self.vehicle.lane_index[2]),
            "high_speed_reward": (forward_speed(self.vehicle, self.vehicle.lane) - low) / (high - low),
            "merging_speed_reward": sum(merging),
        }

    def finished(self) -> bool:
        """Whether the access ramp has been passed."""
        return bool(self.vehicle.position[0] > 370)


class Roundabout(Scenario, RoundaboutEnv):
    """Reward: highway-env's, with speed taken along the lane as a share of 16 m/s; nothing off the road.

    highway-env counts the speed in steps of its discrete speed controller, which a throttle does not have.
    """

    SUCCESS = "The car has left by the second exit."
    ROUTE = (("ser", "ses"), ("ses", "se"), ("se", "ex"), ("ex", "ee"), ("ee", "nx"), ("nx", "nxs"), ("nxs", "nxr"))
    LOOK_AHEAD = (4.0, 8.0, 15.0, 25.0, 40.0)
    TOP_SPEED = 20.0
    ASIDE = Scenario.VIEW
    REWARDED_SPEED = 16.0
    """Speed that earns the whole speed reward [m/s]."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "offroad_terminal": True, "action": {"type": "ContinuousAction"}, "policy_frequency": 5, "duration": 20,
    }  # fmt: skip

    def _rewards(self, action: Action) -> dict[str, float]:
        speed = forward_speed(self.vehicle, self.vehicle.lane)
        return {
            "collision_reward": float(self.vehicle.crashed),
            "high_speed_reward": float(np.clip(speed / self.REWARDED_SPEED, 0.0, 1.0)),
            "on_road_reward": float(self.vehicle.on_road),
        }

    def finished(self) -> bool:
        """Whether the car is 25 m into the exit road it was to take."""
        longitudinal, _ = self.vehicle.lane.local_coordinates(self.vehicle.position)
        return bool(self.vehicle.lane_index[:2] == self.ROUTE[-1] and longitudinal > 25)

    def succeeded(self) -> bool:
        """Whether the car has left by the second exit."""
        return self.finished() and not self.failed()


class Intersection(Scenario, ContinuousIntersectionEnv):
    """Reward: highway-env's, with speed taken along the lane, and arriving counted at the destination only.

    Arriving truncates rather than terminates: rewards are positive, so ending them there would reward dawdling.
    """

    SUCCESS = "The car has arrived in one piece."
    ASIDE = Scenario.VIEW
    DEFAULTS: ClassVar[dict[str, Any]] = {
        "offroad_terminal": True, "policy_frequency": 5,
        "spawn_probability": 0.12,  # a step: as many vehicles a second as with 0.6 at highway-env's 1 Hz
        "other_vehicles_type": "wmctrl_envs.driving_vehicles.IntersectionTraffic",
    }  # fmt: skip

    def route(self) -> tuple[Road, ...]:
        """In from the south, through, and out at the destination."""
        exit_number = str(self.config["destination"])[1:]
        return (("o0", "ir0"), ("ir0", f"il{exit_number}"), (f"il{exit_number}", f"o{exit_number}"))

    def has_arrived(self, vehicle: Vehicle, exit_distance: float = 25) -> bool:
        """Whether a vehicle is `exit_distance` [m] down the road to the destination."""
        return bool(super().has_arrived(vehicle, exit_distance) and vehicle.lane_index[:2] == self.route()[-1])

    def _agent_rewards(self, action: Action, vehicle: Vehicle) -> dict[str, float]:
        low, high = self.config["reward_speed_range"]
        speed = (forward_speed(vehicle, vehicle.lane) - low) / (high - low)
        rewards: dict[str, float] = super()._agent_rewards(action, vehicle)
        return rewards | {"high_speed_reward": float(np.clip(speed, 0.0, 1.0))}

    def finished(self) -> bool:
        """Whether the car has arrived."""
        return self.has_arrived(self.vehicle)

    def succeeded(self) -> bool:
        """Whether the car has arrived in one piece."""
        return self.finished() and not self.failed()

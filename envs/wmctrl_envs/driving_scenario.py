"""What all driving scenarios share: highway-env's simulator without its slow observations."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.observation import ObservationType
from highway_env.road.lane import AbstractLane
from highway_env.road.road import LaneIndex
from highway_env.vehicle.graphics import VehicleGraphics
from highway_env.vehicle.kinematics import Vehicle
from highway_env.vehicle.objects import RoadObject
from numpy.typing import NDArray

from wmctrl_envs.driving_vehicles import Actuation, KinematicCar, TyreCar
from wmctrl_envs.lane_search import SearchedNetwork
from wmctrl_envs.stock_observations import FAST
from wmctrl_envs.task import Element

Action = NDArray[np.float64]
Point = NDArray[np.float64]
"""Position in the world, east and south [m]."""
Road = tuple[str, str]
"""The two nodes a stretch of road joins."""


class Unobserved(ObservationType):
    """Observes nothing: the task reads the scene itself, once a step and after everything has moved."""

    def space(self) -> spaces.Space[Any]:
        return spaces.Box(0.0, 1.0, (0,))

    def observe(self) -> None:
        return None


def forward_speed(vehicle: Vehicle, lane: AbstractLane) -> float:
    """Speed along the lane [m/s], so that driving in circles is worth nothing."""
    longitudinal, _ = lane.local_coordinates(vehicle.position)
    return float(vehicle.speed * np.cos(lane.local_angle(vehicle.heading, longitudinal)))


class TargetSpeed(NamedTuple):
    """A speed that a vehicle of the traffic wants [m/s]."""

    nominal: float
    """As highway-env has set it."""
    given: float
    """As it was then scaled for the vehicle."""


class Scenario(AbstractEnv):
    """What every scenario here shares: it is not observed, is driven through `Actuation`, and can say how it ended."""

    SUCCESS: ClassVar[str] = "All is well so far."
    """What `succeeded` means."""
    GOAL: ClassVar[tuple[Element, ...]] = ()
    """What the place to reach is told by, if there is one; the car's own is then told likewise, instead of the road."""
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    """Differences from highway-env's configuration."""
    CARS: ClassVar[tuple[type[Vehicle], type[Vehicle]]] = (KinematicCar, TyreCar)
    """The car without and with slipping tyres."""
    ROUTE: ClassVar[tuple[Road, ...]] = ()
    LOOK_AHEAD: ClassVar[tuple[float, ...]] = (4.0, 8.0, 12.0, 18.0, 25.0)
    """Distances along the road at which its course is seen [m]."""
    VIEW: ClassVar[float] = 60.0
    """Distance up to which others are seen [m]."""
    ASIDE: ClassVar[float] = 15.0
    """How far aside others are told apart [m]."""
    TOP_SPEED: ClassVar[float] = 15.0
    """Largest speed of ordinary driving [m/s]."""
    PICTURE_SPAN: ClassVar[float] = 50.0
    """Width and height of the world shown in a picture [m]."""
    PICTURE_LEAD: ClassVar[float] = 0.0
    """How far a picture's middle is east of the car [m], on roads that lead there."""
    parameters: dict[str, float]
    """Physical parameters in force, by name; kept here so that a copy of the scenario is a copy of everything."""
    target_speeds: dict[Vehicle, TargetSpeed]
    """Speeds that the vehicles of the traffic want, kept so that they can be scaled anew."""
    seats: list[RoadObject | None]
    """Others that are seen, each where it is told; none before anything was observed."""

    @classmethod
    def default_config(cls) -> dict[str, Any]:
        config: dict[str, Any] = super().default_config() | cls.DEFAULTS
        config.pop("terminate_off_road", None)  # the racetrack's name for `offroad_terminal`
        return config

    def route(self) -> tuple[Road, ...]:
        """Roads the car is to take; empty where any road will do."""
        return self.ROUTE

    @property
    def stock(self) -> bool:
        """Whether the configuration asks for an observation of highway-env's."""
        return self.config["observation"]["type"] in FAST

    def define_spaces(self) -> None:
        car, dynamical_car = self.CARS
        self.observation_type = Unobserved(self)
        asked = self.config["observation"]
        self.sight = FAST[asked["type"]](self, **asked) if self.stock else self.observation_type
        self.action_type = Actuation(self, car, dynamical_car, **self.config["action"])
        self.observation_space = self.observation_type.space()
        self.action_space = self.action_type.space()

    def _make_road(self) -> None:
        super()._make_road()
        self.road.network = SearchedNetwork(self.road.network)

    def picture_centre(self) -> Point:
        """World position [m] in the middle of a picture: the car's own, or a little east of it."""
        return np.asarray(self.vehicle.position + np.array((self.PICTURE_LEAD, 0.0)))

    def target(self) -> tuple[Point, ...]:
        """Corners [m] of the place to reach, to be marked in a picture; empty where there is none."""
        return ()

    def lane_followed(self) -> LaneIndex:
        """Index of the lane on the route the car is nearest to, or of any lane without one."""
        if not self.route():  # then the network need not be a searched one
            return self.vehicle.lane_index
        return self.road.network.closest_on(self.route(), self.vehicle.position, self.vehicle.heading)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[None, dict[str, Any]]:
        """Place everything anew; whatever was changed on the vehicles or the actuation is gone."""
        self.target_speeds, self.seats = {}, []
        _, info = super().reset(seed=seed, options=options)
        self.vehicle.color = VehicleGraphics.EGO_COLOR
        return None, info

    @property
    def elapsed(self) -> int:
        """Control periods since the reset."""
        return int(self.steps * self.config["policy_frequency"] // self.config["simulation_frequency"])

    def _info(self, obs: None, action: Action | None = None) -> dict[str, Any]:
        return {}

    def off_road(self) -> bool:
        """Whether the car has left the road, where that counts."""
        return bool(self.config["offroad_terminal"] and not self.vehicle.on_road)

    def failed(self) -> bool:
        """Whether the car crashed or left the road."""
        return bool(self.vehicle.crashed) or self.off_road()

    def failure(self) -> str:
        """What `failed` means."""
        return f"The car crashed{' or left the road' if self.config['offroad_terminal'] else ''}."

    def failure_reward(self) -> float | None:
        """Reward per step credited to a car that failed; None for the worst that was ever seen."""
        return None

    def succeeded(self) -> bool:
        """Whether all is well so far."""
        return not self.failed()

    def finished(self) -> bool:
        """Whether there is nothing left to drive, although the car could go on."""
        return False

    def _is_terminated(self) -> bool:
        return self.failed()

    def _is_truncated(self) -> bool:
        return self.finished()

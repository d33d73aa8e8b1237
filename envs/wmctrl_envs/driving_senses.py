"""What a driving task observes as numbers: the car alone in a car park, the car in its surroundings on a road."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Scenario
from wmctrl_envs.driving_simulators import Parking
from wmctrl_envs.lane_features import SLIP, RoadSenses
from wmctrl_envs.stock_observations import FAST, FastKinematics
from wmctrl_envs.task import Element

RANGES = {
    "presence": ("1", 0.0, 1.0),
    "x": ("m", -200.0, 200.0),
    "y": ("m", -200.0, 200.0),
    "vx": ("m/s", -80.0, 80.0),
    "vy": ("m/s", -80.0, 80.0),
    "heading": ("rad", -7.0, 7.0),
    "long_off": ("m", -200.0, 200.0),
    "lat_off": ("m", -10.0, 10.0),
    "ang_off": ("rad", -3.2, 3.2),
} | {name: ("1", -1.0, 1.0) for name in ("cos_h", "sin_h", "cos_d", "sin_d")}
"""Unit and range of highway-env's features where they are not normalised."""


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


class Senses(Protocol):
    """Proprioception as data: what it is called, and how it is read."""

    elements: tuple[Element, ...]

    def read(self, scenario: Scenario) -> NDArray[np.float64]:
        """Values in the elements' order."""


class ParkingSenses:
    """Position, velocity and heading in the car park's frame, in SI units, and the signed speed along the heading."""

    def __init__(self, scenario: Parking):
        self.dynamical = bool(scenario.action_type.dynamical)
        self.elements = (*pose("car"), Element("speed", "m/s", -15, 15), *(SLIP if self.dynamical else ()))

    def read(self, scenario: Parking) -> NDArray[np.float64]:
        """Values in the elements' order."""
        car = scenario.vehicle
        slip = (car.lateral_speed, car.yaw_rate) if self.dynamical else ()
        return np.concatenate((scenario.achieved(), (car.speed, *slip)))


class StockSenses:
    """highway-env's own `Kinematics` or `OccupancyGrid`, flattened."""

    def __init__(self, scenario: Scenario):
        sight = scenario.sight
        if isinstance(sight, FastKinematics):
            rows = [f"vehicle {row}" for row in range(sight.vehicles_count)]
            ranges = dict.fromkeys(sight.features, ("1", -1.0, 1.0)) if sight.normalize else RANGES
            self.elements = tuple(Element(f"{row} {name}", *ranges[name]) for row in rows for name in sight.features)
        else:
            _, ahead, across = sight.grid.shape
            cells = [(name, i, j) for name in sight.features for i in range(ahead) for j in range(across)]
            self.elements = tuple(Element(f"{name} at {i}, {j}", "1", -1.0, 1.0) for name, i, j in cells)

    def read(self, scenario: Scenario) -> NDArray[np.float64]:
        """Values in the elements' order."""
        return np.asarray(scenario.sight.observe(), np.float64).ravel()


def senses_of(scenario: Scenario) -> Senses:
    """highway-env's observation where the configuration asks for one, else the scenario's own."""
    if scenario.config["observation"]["type"] in FAST:
        return StockSenses(scenario)
    return ParkingSenses(scenario) if isinstance(scenario, Parking) else RoadSenses(scenario)

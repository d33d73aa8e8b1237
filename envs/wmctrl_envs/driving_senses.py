"""What a driving task observes as numbers: the car alone in a car park, the car in its surroundings on a road."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Scenario
from wmctrl_envs.driving_simulators import pose
from wmctrl_envs.lane_features import SLIP, RoadSenses
from wmctrl_envs.task import Element


class Senses(Protocol):
    """Proprioception as data: what it is called, and how it is read."""

    elements: tuple[Element, ...]

    def read(self, scenario: Scenario) -> NDArray[np.float64]:
        """Values in the elements' order."""


class ParkingSenses:
    """Position, velocity and heading in the car park's frame, in SI units, and the signed speed along the heading."""

    def __init__(self, scenario: Scenario):
        self.dynamical = bool(scenario.action_type.dynamical)
        self.elements = (*pose("car"), Element("speed", "m/s", -15, 15), *(SLIP if self.dynamical else ()))

    def read(self, scenario: Scenario) -> NDArray[np.float64]:
        """Values in the elements' order."""
        car = scenario.vehicle
        slip = (car.lateral_speed, car.yaw_rate) if self.dynamical else ()
        return np.concatenate((scenario.achieved(), (car.speed, *slip)))


class StockSenses:
    """highway-env's own `Kinematics` or `OccupancyGrid`, flattened."""

    def __init__(self, scenario: Scenario):
        self.elements = scenario.sight.elements()

    def read(self, scenario: Scenario) -> NDArray[np.float64]:
        """Values in the elements' order."""
        return np.asarray(scenario.sight.observe(), np.float64).ravel()


def senses_of(scenario: Scenario) -> Senses:
    """highway-env's observation where the configuration asks for one, else the scenario's own."""
    if scenario.stock:
        return StockSenses(scenario)
    return ParkingSenses(scenario) if scenario.GOAL else RoadSenses(scenario)

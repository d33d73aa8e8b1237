"""What a driver sees: the lane ahead, the edges of the road and the nearest others, as they lie along the road.

The lane ahead is seen from the car, along its lane (x) and to the right of that (y). Others are told by how far on
along the road they are and how far to the right across it (Frenet coordinates): what is straight ahead in a bend is in
another lane, and in the car's own frame everything would swing with every turn of the wheel.
"""

import math
from collections.abc import Sequence

import numpy as np
from highway_env.road.road import LaneIndex
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Scenario
from wmctrl_envs.lane_course import LaneCourse, Stretch
from wmctrl_envs.task import Element

NEIGHBOURS = 5
"""Vehicles and obstacles seen, the nearest first."""

SLIP = (Element("lateral speed", "m/s", -5, 5), Element("yaw rate", "rad/s", -3, 3))
"""Hidden in the path of a kinematic car, states of their own in one whose tyres slip."""


class RoadSenses:
    """The car in its lane, the lane ahead, the road's edges and the nearest others."""

    def __init__(self, scenario: Scenario):
        self.course = LaneCourse()
        self.dynamical = bool(scenario.action_type.dynamical)
        self.routed = bool(scenario.route())
        self.elements = self._elements(scenario)

    def _elements(self, scenario: Scenario) -> tuple[Element, ...]:
        view, aside, fast = scenario.VIEW, scenario.ASIDE, scenario.TOP_SPEED
        car = (Element("speed", "m/s", -fast / 4, fast), *(SLIP if self.dynamical else ()))
        lane = (
            Element("lateral offset", "m", -5, 5),
            Element("heading error", "rad", -math.pi / 2, math.pi / 2),
            Element("distance to left edge", "m", 0, 15),
            Element("distance to right edge", "m", 0, 15),
            Element("lane to the left", "1", 0, 1),
            Element("lane to the right", "1", 0, 1),
        )
        way = (Element("way left on the route", "m", 0, 250),) if self.routed else ()
        points = [
            Element(f"lane {distance:g} m on, {axis}", "m", 0 if axis == "ahead" else -distance / 2, distance)
            for distance in scenario.LOOK_AHEAD
            for axis in ("ahead", "right")
        ]
        others = [
            element
            for number in range(1, NEIGHBOURS + 1)
            for element in (
                Element(f"neighbour {number} present", "1", 0, 1),
                Element(f"neighbour {number} ahead", "m", -view, view),
                Element(f"neighbour {number} right", "m", -aside, aside),
                Element(f"neighbour {number} relative speed ahead", "m/s", -20, 20),
                Element(f"neighbour {number} relative speed right", "m/s", -20, 20),
            )
        ]
        return (*car, *lane, *way, *points, *others)

    def read(self, scenario: Scenario) -> NDArray[np.float64]:
        """Values in the elements' order."""
        car, index = scenario.vehicle, scenario.lane_followed()
        lane = scenario.road.network.get_lane(index)
        longitudinal, lateral = lane.local_coordinates(car.position)
        across = frame(lane.heading_at(longitudinal))
        slip = (car.lateral_speed, car.yaw_rate) if self.dynamical else ()
        way = (min(self.course.remaining(scenario, index, longitudinal), 250.0),) if self.routed else ()
        points = (np.array(self.course.points(scenario, index, longitudinal)) - car.position) @ across
        error = lane.local_angle(car.heading, longitudinal)
        own = (car.speed, *slip, lateral, error, *edges(scenario, index), *way)
        others = neighbours(
            scenario, self.course.stretches(scenario, index, longitudinal), lateral, car.velocity @ across
        )
        return np.concatenate((own, points.ravel(), others.ravel()))


def frame(heading: float) -> NDArray[np.float64]:
    """Matrix that takes row vectors of the world to along and across a heading (2, 2)."""
    c, s = math.cos(heading), math.sin(heading)
    return np.array(((c, -s), (s, c)))


def edges(scenario: Scenario, index: LaneIndex) -> tuple[float, float, float, float]:
    """Distance to the road's left and right edge [m], negative beyond it; whether there is a lane to either side."""
    begin, end, number = index
    lanes = scenario.road.network.graph[begin][end]
    position = scenario.vehicle.position
    along_first, first = lanes[0].local_coordinates(position)
    along_last, last = lanes[-1].local_coordinates(position)
    left = lanes[0].width_at(along_first) / 2 + first
    right = lanes[-1].width_at(along_last) / 2 - last
    return left, right, float(number > 0), float(number < len(lanes) - 1)


def neighbours(
    scenario: Scenario, course: Sequence[Stretch], lateral: float, velocity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Presence, distance along and across the road [m] and the same of relative velocity [m/s] (NEIGHBOURS, 5).

    Args:
        course: The car's lane and what follows and precedes it.
        lateral: The car's offset from its lane [m].
        velocity: The car's, along and across its lane [m/s] (2,).
    """
    car, road = scenario.vehicle, scenario.road
    others = [other for other in (*road.vehicles, *road.objects) if other is not car and other.solid]
    rows = np.zeros((NEIGHBOURS, 5))
    if not others:
        return rows
    positions = np.array([other.position for other in others])
    distances = ((positions - car.position) ** 2).sum(1)
    nearest = [i for i in np.argsort(distances, kind="stable")[:NEIGHBOURS] if distances[i] < scenario.VIEW**2]
    for row, i in zip(rows, nearest, strict=False):
        stretch = min(course, key=lambda stretch: stretch.lane.distance(positions[i]))
        along, across = stretch.lane.local_coordinates(positions[i])
        ahead, right = stretch.origin + along, across - lateral
        row[:3] = 1.0, np.clip(ahead, -scenario.VIEW, scenario.VIEW), np.clip(right, -scenario.ASIDE, scenario.ASIDE)
        row[3:] = others[i].velocity @ frame(stretch.lane.heading_at(along)) - velocity
    return rows

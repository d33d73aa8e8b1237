"""What a driver sees: the lane ahead, the edges of the road and the nearest others, as they lie along the road.

The origin is the car, but the x axis points along its lane and the y axis to the right of that, as highway-env's world
does (x east, y south): in the car's own frame everything around would swing with every turn of the wheel, and a model
would have to learn first of all to undo that. The car's own heading stands beside it.
"""

import math

import numpy as np
from highway_env.road.road import LaneIndex, RoadNetwork
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Scenario
from wmctrl_envs.task import Element

NEIGHBOURS = 5
"""Vehicles and obstacles seen, the nearest first."""

SLIP = (Element("lateral speed", "m/s", -5, 5), Element("yaw rate", "rad/s", -3, 3))
"""Hidden in the path of a kinematic car, states of their own in one whose tyres slip."""


class LaneAhead:
    """Follows a road network from lane to lane; remembers which lane continues which."""

    def __init__(self) -> None:
        self.network: RoadNetwork | None = None
        self.continuations: dict[LaneIndex, tuple[LaneIndex, float] | None] = {}

    def points(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> list[NDArray[np.float64]]:
        """Centre of the lane at each of the scenario's look-ahead distances from `longitudinal` [m] on lane `start`."""
        self._enter(scenario)
        index, origin, found = start, longitudinal, []
        for distance in scenario.LOOK_AHEAD:
            while (follows := self._continuation(scenario, index)) and origin + distance > self._length(index):
                origin += follows[1] - self._length(index)
                index = follows[0]
            found.append(scenario.road.network.get_lane(index).position(origin + distance, 0.0))
        return found

    def remaining(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> float:
        """Way from `longitudinal` on lane `start` to the end of the route [m]."""
        self._enter(scenario)
        index, way = start, self._length(start) - longitudinal
        while follows := self._continuation(scenario, index):
            index = follows[0]
            way += self._length(index) - follows[1]
        return way

    def _enter(self, scenario: Scenario) -> None:
        if self.network is not scenario.road.network:
            self.network, self.continuations = scenario.road.network, {}

    def _length(self, index: LaneIndex) -> float:
        assert self.network is not None
        return float(self.network.get_lane(index).length)

    def _continuation(self, scenario: Scenario, index: LaneIndex) -> tuple[LaneIndex, float] | None:
        """The lane after this one and where on it one arrives [m]; None where the road or the route ends."""
        if index not in self.continuations:
            self.continuations[index] = self._find_continuation(scenario, index)
        return self.continuations[index]

    def _find_continuation(self, scenario: Scenario, index: LaneIndex) -> tuple[LaneIndex, float] | None:
        network, route = scenario.road.network, scenario.route()
        begin, end, number = index
        nodes = network.graph.get(end, {})
        if route:
            nodes = {node: lanes for node, lanes in nodes.items() if (end, node) in route}
        if not nodes:
            return None
        arrival = network.get_lane(index).position(self._length(index), 0.0)
        options = {}
        for node in nodes:
            chosen, distance = network.next_lane_given_next_road(begin, end, number, node, None, arrival)
            options[end, node, chosen] = distance
        follows = min(options, key=lambda option: options[option])
        return follows, float(network.get_lane(follows).local_coordinates(arrival)[0])


class RoadSenses:
    """The car in its lane, the lane ahead, the road's edges and the nearest others."""

    def __init__(self, scenario: Scenario):
        self.ahead = LaneAhead()
        self.dynamical = bool(scenario.action_type.dynamical)
        self.routed = bool(scenario.route())
        self.elements = self._elements(scenario)

    def _elements(self, scenario: Scenario) -> tuple[Element, ...]:
        view, fast = scenario.VIEW, scenario.TOP_SPEED
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
                Element(f"neighbour {number} right", "m", -view, view),
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
        along = lane.heading_at(longitudinal)
        c, s = math.cos(along), math.sin(along)
        into_lane = np.array(((c, -s), (s, c)))  # world row vectors to along and across the lane
        slip = (car.lateral_speed, car.yaw_rate) if self.dynamical else ()
        way = (min(self.ahead.remaining(scenario, index, longitudinal), 250.0),) if self.routed else ()
        points = (np.array(self.ahead.points(scenario, index, longitudinal)) - car.position) @ into_lane
        error = lane.local_angle(car.heading, longitudinal)
        own = (car.speed, *slip, lateral, error, *edges(scenario, index), *way)
        return np.concatenate((own, points.ravel(), neighbours(scenario, into_lane).ravel()))


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


def neighbours(scenario: Scenario, into_lane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Presence, position [m] and velocity [m/s] relative to the car of the nearest others (NEIGHBOURS, 5)."""
    car, road = scenario.vehicle, scenario.road
    others = [other for other in (*road.vehicles, *road.objects) if other is not car and other.solid]
    rows = np.zeros((NEIGHBOURS, 5))
    if not others:
        return rows
    positions = np.array([other.position for other in others]) - car.position
    distances = np.einsum("ij,ij->i", positions, positions)
    nearest = [i for i in np.argsort(distances, kind="stable")[:NEIGHBOURS] if distances[i] < scenario.VIEW**2]
    if nearest:
        velocities = np.array([others[i].velocity for i in nearest]) - car.velocity
        rows[: len(nearest), 0] = 1.0
        rows[: len(nearest), 1:3] = positions[nearest] @ into_lane
        rows[: len(nearest), 3:5] = velocities @ into_lane
    return rows

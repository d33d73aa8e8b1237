"""How a lane goes on through a road network, ahead of a car and behind it."""

from typing import NamedTuple

import numpy as np
from highway_env.road.lane import AbstractLane
from highway_env.road.road import LaneIndex, RoadNetwork
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Scenario


class Stretch(NamedTuple):
    """A lane as part of a course."""

    lane: AbstractLane
    origin: float
    """Where on the course the lane begins [m]; the car is at 0."""


class LaneCourse:
    """Follows a road network from lane to lane; remembers which lane continues which."""

    def __init__(self) -> None:
        self.network: RoadNetwork | None = None
        self.continuations: dict[LaneIndex, tuple[LaneIndex, float] | None] = {}
        self.origins: dict[LaneIndex, tuple[LaneIndex, float]] = {}

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

    def stretches(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> list[Stretch]:
        """Lanes in view behind and ahead of `longitudinal` [m] on lane `start`, which is the first of them."""
        self._enter(scenario)
        found = [Stretch(scenario.road.network.get_lane(start), -longitudinal)]
        index, origin = start, -longitudinal
        while (follows := self._continuation(scenario, index)) and origin + self._length(index) < scenario.VIEW:
            origin += self._length(index) - follows[1]
            index = follows[0]
            found.append(Stretch(scenario.road.network.get_lane(index), origin))
        index, origin = start, -longitudinal
        while (before := self.origins.get(index)) and origin > -scenario.VIEW:
            origin += before[1] - self._length(before[0])
            index = before[0]
            found.append(Stretch(scenario.road.network.get_lane(index), origin))
        return found

    def _enter(self, scenario: Scenario) -> None:
        if self.network is scenario.road.network:
            return
        self.network, self.continuations, self.origins = scenario.road.network, {}, {}
        for index in self.network.lanes_dict():
            follows = self._continuation(scenario, index)
            if follows:
                self.origins.setdefault(follows[0], (index, follows[1]))

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

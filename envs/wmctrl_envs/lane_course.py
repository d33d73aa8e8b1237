"""How a lane goes on through a road network, ahead of a car and behind it."""

from collections.abc import Iterator
from itertools import takewhile
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

    @property
    def end(self) -> float:
        """Where on the course the lane ends [m]."""
        return self.origin + float(self.lane.length)


class LaneCourse:
    """Follows a road network from lane to lane; remembers which lane continues which."""

    def __init__(self) -> None:
        self.network: RoadNetwork | None = None
        self.continuations: dict[LaneIndex, tuple[LaneIndex, float]] = {}
        """The lane after each and where on it one arrives [m]; none where the road or the route ends."""
        self.origins: dict[LaneIndex, tuple[LaneIndex, float]] = {}
        """The lane before each and where one arrives from it [m]."""

    def points(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> list[NDArray[np.float64]]:
        """Centre of the lane at each of the scenario's look-ahead distances from `longitudinal` [m] on lane `start`."""
        ahead, found = self._ahead(scenario, start, longitudinal), []
        stretch = next(ahead)
        for distance in scenario.LOOK_AHEAD:
            while distance > stretch.end and (further := next(ahead, None)):
                stretch = further
            found.append(stretch.lane.position(distance - stretch.origin, 0.0))
        return found

    def remaining(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> float:
        """Way from `longitudinal` on lane `start` to the end of the route [m]."""
        *_, last = self._ahead(scenario, start, longitudinal)
        return last.end

    def stretches(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> list[Stretch]:
        """Lanes in view behind and ahead of `longitudinal` [m] on lane `start`, which is the first of them."""
        ahead = takewhile(lambda stretch: stretch.origin < scenario.VIEW, self._ahead(scenario, start, longitudinal))
        behind = takewhile(lambda stretch: stretch.end > -scenario.VIEW, self._behind(scenario, start, longitudinal))
        return [*ahead, *behind]

    def _ahead(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> Iterator[Stretch]:
        """The lane `start` and those that follow, for ever on a closed circuit."""
        self._enter(scenario)
        stretch = Stretch(scenario.road.network.get_lane(start), -longitudinal)
        yield stretch
        index = start
        while index in self.continuations:
            index, arrival = self.continuations[index]
            stretch = Stretch(scenario.road.network.get_lane(index), stretch.end - arrival)
            yield stretch

    def _behind(self, scenario: Scenario, start: LaneIndex, longitudinal: float) -> Iterator[Stretch]:
        """The lanes before `start`, the nearest first."""
        self._enter(scenario)
        index, origin = start, -longitudinal
        while index in self.origins:
            index, arrival = self.origins[index]
            lane = scenario.road.network.get_lane(index)
            origin += arrival - float(lane.length)
            yield Stretch(lane, origin)

    def _enter(self, scenario: Scenario) -> None:
        """Look at a road network's joints, where it is a new one."""
        if self.network is scenario.road.network:
            return
        self.network, self.continuations, self.origins = scenario.road.network, {}, {}
        for index in self.network.lanes_dict():
            if follows := self._find_continuation(scenario, index):
                self.continuations[index] = follows
                self.origins.setdefault(follows[0], (index, follows[1]))

    def _find_continuation(self, scenario: Scenario, index: LaneIndex) -> tuple[LaneIndex, float] | None:
        network, route = scenario.road.network, scenario.route()
        begin, end, number = index
        nodes = network.graph.get(end, {})
        if route:
            nodes = {node: lanes for node, lanes in nodes.items() if (end, node) in route}
        if not nodes:
            return None
        lane = network.get_lane(index)
        arrival = lane.position(lane.length, 0.0)
        options = {}
        for node in nodes:
            chosen, distance = network.next_lane_given_next_road(begin, end, number, node, None, arrival)
            options[end, node, chosen] = distance
        follows = min(options, key=lambda option: options[option])
        return follows, float(network.get_lane(follows).local_coordinates(arrival)[0])

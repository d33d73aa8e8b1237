"""The lane nearest to a vehicle, found at once among all lanes: highway-env's commonest and slowest question."""

from collections.abc import Callable, Collection

import numpy as np
from highway_env.road.lane import AbstractLane, CircularLane, SineLane, StraightLane
from highway_env.road.road import LaneIndex, RoadNetwork
from numpy.typing import NDArray

Array = NDArray[np.float64]
TIE = 1e-6
"""Lanes this close to the nearest [m] are measured again one by one, so that rounding cannot change the answer."""


def wrapped(angle: Array) -> Array:
    """Angle in [-pi, pi) [rad]."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


class Curves:
    """Straight and sinusoidal lanes side by side, a straight one being a sine without amplitude."""

    def __init__(self, lanes: list[AbstractLane]):
        self.start = column(lanes, lambda lane: lane.start)
        self.along = column(lanes, lambda lane: lane.direction)
        self.across = column(lanes, lambda lane: lane.direction_lateral)
        self.heading = column(lanes, lambda lane: lane.heading)
        self.length = column(lanes, lambda lane: lane.length)
        waves = [
            (lane.amplitude, lane.pulsation, lane.phase) if type(lane) is SineLane else (0, 0, 0) for lane in lanes
        ]
        self.amplitude, self.pulsation, self.phase = np.array(waves, np.float64).reshape(-1, 3).T

    def __call__(self, position: Array) -> tuple[Array, Array, Array]:
        """Longitudinal and lateral coordinates [m] and the lane's heading there [rad], each (lanes,)."""
        offset = position - self.start.reshape(-1, 2)
        longitudinal = np.einsum("ij,ij->i", offset, self.along.reshape(-1, 2))
        wave = self.pulsation * longitudinal + self.phase
        lateral = np.einsum("ij,ij->i", offset, self.across.reshape(-1, 2)) - self.amplitude * np.sin(wave)
        return longitudinal, lateral, self.heading + np.arctan(self.amplitude * self.pulsation * np.cos(wave))


class Arcs:
    """Circular lanes side by side."""

    def __init__(self, lanes: list[AbstractLane]):
        self.centre = column(lanes, lambda lane: lane.center)
        self.radius = column(lanes, lambda lane: lane.radius)
        self.start = column(lanes, lambda lane: lane.start_phase)
        self.turn = column(lanes, lambda lane: lane.direction)
        self.length = column(lanes, lambda lane: lane.length)

    def __call__(self, position: Array) -> tuple[Array, Array, Array]:
        """Longitudinal and lateral coordinates [m] and the lane's heading there [rad], each (lanes,)."""
        offset = position - self.centre.reshape(-1, 2)
        swept = wrapped(np.arctan2(offset[:, 1], offset[:, 0]) - self.start)
        lateral = self.turn * (self.radius - np.hypot(offset[:, 0], offset[:, 1]))
        return self.turn * swept * self.radius, lateral, swept + self.start + np.pi / 2 * self.turn


def column(lanes: list[AbstractLane], read: Callable[[AbstractLane], object]) -> Array:
    """One attribute of every lane."""
    return np.array([read(lane) for lane in lanes], np.float64)


class SearchedNetwork(RoadNetwork):
    """A road network that measures its distance to all lanes at once, and answers as highway-env's does.

    It knows straight, sinusoidal and circular lanes, and must not gain lanes.
    """

    def __init__(self, network: RoadNetwork):
        super().__init__()
        self.graph = network.graph
        self.lanes = list(network.lanes_dict().items())
        curved = [lane for _, lane in self.lanes if isinstance(lane, StraightLane)]
        arcs = [lane for _, lane in self.lanes if isinstance(lane, CircularLane)]
        assert len(curved) + len(arcs) == len(self.lanes), "a lane is neither straight, sinusoidal nor circular"
        self.curves, self.arcs = Curves(curved), Arcs(arcs)
        order = [
            i
            for kind in (StraightLane, CircularLane)
            for i, (_, lane) in enumerate(self.lanes)
            if isinstance(lane, kind)
        ]
        self.rank = np.argsort(order)
        self.length = np.concatenate((self.curves.length, self.arcs.length))

    def distances(self, position: Array, heading: float | None) -> Array:
        """`distance_with_heading` of every lane in the network's order (lanes,)."""
        pairs = zip(self.curves(position), self.arcs(position), strict=True)
        longitudinal, lateral, direction = (np.concatenate(pair) for pair in pairs)
        beyond = np.maximum(longitudinal - self.length, 0) + np.maximum(-longitudinal, 0)
        turned = 0.0 if heading is None else np.abs(wrapped(heading - direction))
        return np.asarray(np.abs(lateral) + beyond + turned)[self.rank]

    def get_closest_lane_index(self, position: Array, heading: float | None = None) -> LaneIndex:
        """Index of the lane nearest to a position [m] and heading [rad]; the first among equals."""
        distances = self.distances(position, heading)
        near = np.flatnonzero(distances <= distances.min() + TIE)
        if len(near) == 1:
            return self.lanes[near[0]][0]
        return min((self.lanes[i] for i in near), key=lambda item: item[1].distance_with_heading(position, heading))[0]

    def closest_on(self, roads: Collection[tuple[str, str]], position: Array, heading: float) -> LaneIndex:
        """Index of the lane nearest to a position [m] and heading [rad] among those of some roads."""
        distances = self.distances(position, heading).tolist()
        allowed = [i for i, (index, _) in enumerate(self.lanes) if index[:2] in roads]
        return self.lanes[min(allowed, key=distances.__getitem__)][0]

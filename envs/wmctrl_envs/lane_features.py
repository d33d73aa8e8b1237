"""What a driver sees: the road ahead, its edges, its lanes and the nearest others, as they lie along the road.

Everything is told along and across the road (Frenet coordinates), whose course is that of its leftmost lane. In the
car's own frame everything would swing with every turn of the wheel; along the car's own lane everything would jump
where the car enters another. What jumps is hard to predict, and its errors drown all others. For the same reason
everything that is told of another is weighted by how near it is, and fades in and out of view; and it is told in the
same place for as long as it is among the nearest. In order of nearness, one place in eight would jump by more than 10 m
at every step on a highway.
"""

import math
from collections.abc import Sequence

import numpy as np
from highway_env.road.lane import AbstractLane
from highway_env.road.road import LaneIndex
from highway_env.vehicle.objects import RoadObject
from numpy.typing import NDArray

from wmctrl_envs.driving_scenario import Scenario
from wmctrl_envs.lane_course import LaneCourse, Stretch
from wmctrl_envs.task import Element

NEIGHBOURS = 5
"""Vehicles and obstacles seen, the nearest ones."""

FAR = 10.0
"""Bodies further apart than this are not close [m]."""

CORNERS = np.array(((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)))
"""Of a rectangle, in half lengths and half widths."""

SLIP = (Element("lateral speed", "m/s", -5, 5), Element("yaw rate", "rad/s", -3, 3))
"""Hidden in the path of a kinematic car, states of their own in one whose tyres slip."""


class RoadSenses:
    """The car on the road and across its lane, the road ahead and the nearest others."""

    def __init__(self, scenario: Scenario):
        self.course = LaneCourse()
        self.dynamical = bool(scenario.action_type.dynamical)
        self.routed = bool(scenario.route())
        self.elements = self._elements(scenario)

    def _elements(self, scenario: Scenario) -> tuple[Element, ...]:
        view, aside, fast = scenario.VIEW, scenario.ASIDE, scenario.TOP_SPEED
        car = (Element("speed", "m/s", -fast / 4, fast), *(SLIP if self.dynamical else ()))
        road = (
            Element("heading error", "rad", -math.pi / 2, math.pi / 2),
            Element("distance to left edge", "m", 0, 15),
            Element("distance to right edge", "m", 0, 15),
            Element("across lane, cosine", "1", -1, 1),
            Element("across lane, sine", "1", -1, 1),
        )
        way = (Element("way left on the route", "m", 0, 250),) if self.routed else ()
        points = [
            Element(f"road {distance:g} m on, {axis}", "m", 0 if axis == "ahead" else -distance / 2, distance)
            for distance in scenario.LOOK_AHEAD
            for axis in ("ahead", "right")
        ]
        others = [
            element
            for number in range(1, NEIGHBOURS + 1)
            for element in (
                Element(f"neighbour {number} nearness", "1", 0, 1),
                Element(f"neighbour {number} ahead", "m", -view / 4, view / 4),  # x (1 - x / view) is at most view / 4
                Element(f"neighbour {number} right", "m", -aside / 4, aside / 4),
                Element(f"neighbour {number} relative speed ahead", "m/s", -20, 20),
                Element(f"neighbour {number} relative speed right", "m/s", -20, 20),
                Element(f"neighbour {number} closeness along", "m", 0, 2 * FAR),
                Element(f"neighbour {number} closeness across", "m", 0, 2 * FAR),
            )
        ]
        return (*car, *road, *way, *points, *others)

    def read(self, scenario: Scenario) -> NDArray[np.float64]:
        """Values in the elements' order."""
        car, followed = scenario.vehicle, scenario.lane_followed()
        begin, end, _ = followed
        index = (begin, end, 0)
        lane = scenario.road.network.get_lane(index)
        longitudinal, lateral = lane.local_coordinates(car.position)
        turned = frame(lane.heading_at(longitudinal))
        slip = (car.lateral_speed, car.yaw_rate) if self.dynamical else ()
        own = (car.speed, *slip, lane.local_angle(car.heading, longitudinal), *place_across(scenario, followed))
        way = (min(self.course.remaining(scenario, index, longitudinal), 250.0),) if self.routed else ()
        foot = lane.position(longitudinal, 0.0)
        points = (np.array(self.course.points(scenario, index, longitudinal)) - foot) @ turned
        course = self.course.stretches(scenario, index, longitudinal)
        others = neighbours(scenario, course, lateral, car.velocity @ turned)
        return np.concatenate((own, way, points.ravel(), others.ravel()))


def frame(heading: float) -> NDArray[np.float64]:
    """Matrix that takes row vectors of the world to along and across a heading (2, 2)."""
    c, s = math.cos(heading), math.sin(heading)
    return np.array(((c, -s), (s, c)))


def place_across(scenario: Scenario, index: LaneIndex) -> tuple[float, float, float, float]:
    """Distance to the road's left and right edge [m], negative beyond it; cosine and sine of the place in a lane.

    The latter is an angle: 0 at the lane's centre, half a turn at its borders, the same for every lane.
    """
    begin, end, number = index
    lanes = scenario.road.network.graph[begin][end]
    (left, left_width), (own, width), (right, right_width) = (
        _offset(lane, scenario.vehicle.position) for lane in (lanes[0], lanes[number], lanes[-1])
    )
    angle = 2 * math.pi * own / width
    return left_width / 2 + left, right_width / 2 - right, math.cos(angle), math.sin(angle)


def _offset(lane: AbstractLane, position: NDArray[np.float64]) -> tuple[float, float]:
    """How far a position is to the right of a lane's centre, and how wide the lane is there [m]."""
    longitudinal, lateral = lane.local_coordinates(position)
    return lateral, lane.width_at(longitudinal)


def neighbours(
    scenario: Scenario, course: Sequence[Stretch], lateral: float, velocity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The nearest others in their seats, each weighted by its nearness, which leads; zeros where a seat is empty.

    Args:
        course: The road's leftmost lane and what follows and precedes it.
        lateral: The car's offset from that lane [m].
        velocity: The car's, along and across the road [m/s] (2,).

    Returns:
        Nearness; times that: distance along and across the road [m], relative velocity likewise [m/s], how much closer
        than `FAR` the two bodies are along and across the car [m]. (NEIGHBOURS, 7)
    """
    car, road = scenario.vehicle, scenario.road
    seen: dict[RoadObject, NDArray[np.float64]] = {}
    for other in (*road.vehicles, *road.objects):
        if other is car or not other.solid or np.hypot(*(other.position - car.position)) > scenario.VIEW:
            continue
        stretch = min(course, key=lambda stretch: stretch.lane.distance(other.position))
        along, across = stretch.lane.local_coordinates(other.position)
        ahead, right = stretch.origin + along, across - lateral
        nearness = 1.0 - math.hypot(ahead / scenario.VIEW, right / scenario.ASIDE)
        if nearness > 0.0:
            relative = other.velocity @ frame(stretch.lane.heading_at(along)) - velocity
            closeness = np.maximum(FAR - gaps(car, other), 0.0)
            seen[other] = nearness * np.array((1.0, ahead, right, *relative, *closeness))
    scenario.seats = seated(scenario.seats, sorted(seen, key=lambda other: -seen[other][0])[:NEIGHBOURS])
    nobody = np.zeros(7)
    return np.stack([nobody if other is None else seen[other] for other in scenario.seats])


def seated(before: Sequence[RoadObject | None], nearest: Sequence[RoadObject]) -> list[RoadObject | None]:
    """Seats of the nearest others, NEIGHBOURS in all: those who had one keep it, and others take what is empty."""
    newcomers = iter([other for other in nearest if other not in before])
    kept = [other if other in nearest else None for other in before] or [None] * NEIGHBOURS
    return [next(newcomers, None) if other is None else other for other in kept]


def gaps(body: RoadObject, other: RoadObject) -> NDArray[np.float64]:
    """How far another body lies beyond the ends and beyond the sides of a body [m] (2,); negative where it overlaps.

    Two that are parallel touch when both are negative. Each moves in proportion to the motion, whichever way the other
    is passed, so a model can tell a contact ahead; their distance would fall, and then stay or not, all of a sudden.
    """
    half, reach = (np.array((one.LENGTH, one.WIDTH)) / 2 for one in (body, other))
    corners = (other.position + CORNERS * reach @ frame(other.heading).T - body.position) @ frame(body.heading)
    return np.asarray(np.maximum(corners.min(0), -corners.max(0)) - half)

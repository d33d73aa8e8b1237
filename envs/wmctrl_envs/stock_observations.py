"""highway-env's `Kinematics` and `OccupancyGrid` observations in numpy: the same numbers without data frames."""

from collections.abc import Callable
from typing import Any

import numpy as np
from highway_env import utils
from highway_env.envs.common.observation import KinematicObservation, OccupancyGridObservation
from highway_env.road.lane import AbstractLane, CircularLane
from highway_env.vehicle.kinematics import Vehicle
from highway_env.vehicle.objects import RoadObject
from numpy.typing import NDArray

from wmctrl_envs.task import Element

Array = NDArray[np.float64]
Reader = Callable[[Any], float]

RELATIVE = ("x", "y", "vx", "vy")
"""Features that are differences to the observer where an observer is given."""
OF_ALL: dict[str, Reader] = {
    "presence": lambda thing: 1.0,
    "x": lambda thing: thing.position[0],
    "y": lambda thing: thing.position[1],
    "vx": lambda thing: thing.velocity[0],
    "vy": lambda thing: thing.velocity[1],
    "cos_h": lambda thing: thing.direction[0],
    "sin_h": lambda thing: thing.direction[1],
}
OF_VEHICLES: dict[str, Reader] = {
    "heading": lambda vehicle: vehicle.heading,
    "cos_d": lambda vehicle: vehicle.destination_direction[0],
    "sin_d": lambda vehicle: vehicle.destination_direction[1],
    "long_off": lambda vehicle: vehicle.lane_offset[0],
    "lat_off": lambda vehicle: vehicle.lane_offset[1],
    "ang_off": lambda vehicle: vehicle.lane_offset[2],
}
FEATURES = (*OF_ALL, *OF_VEHICLES)
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


def feature(thing: RoadObject, name: str, intentions: bool = True) -> float:
    """One feature of a vehicle or an obstacle; 0 where an obstacle has none, for which highway-env says NaN."""
    if name in OF_ALL:
        return OF_ALL[name](thing)
    if not isinstance(thing, Vehicle) or (name in ("cos_d", "sin_d") and not intentions):
        return 0.0
    return OF_VEHICLES[name](thing)


class FastKinematics(KinematicObservation):
    """`Kinematics`: one row for the car and one for each of the nearest others."""

    features_range: dict[str, list[float]] | None

    def elements(self) -> tuple[Element, ...]:
        """What `observe` returns, row by row."""
        rows = [f"vehicle {row}" for row in range(self.vehicles_count)]
        ranges = dict.fromkeys(self.features, ("1", -1.0, 1.0)) if self.normalize else RANGES
        return tuple(Element(f"{row} {name}", *ranges[name]) for row in rows for name in self.features)

    def observe(self) -> NDArray[np.float32]:
        """Features of the car and of its neighbours (vehicles_count, features), zero where there is no neighbour."""
        car = self.observer_vehicle
        table = [[feature(car, name) for name in self.features]]
        origin = [feature(car, name) if name in RELATIVE and not self.absolute else 0.0 for name in self.features]
        for other in self._nearest(car)[-self.vehicles_count + 1 :]:
            values = [feature(other, name, self.observe_intentions) for name in self.features]
            table.append([value - zero for value, zero in zip(values, origin, strict=True)])
        seen = np.array(table, np.float64)
        if self.normalize:
            seen = self._normalised(seen)
        missing = max(self.vehicles_count - len(seen), 0)
        rows = np.concatenate((seen, np.zeros((missing, len(self.features)))))
        if self.order == "shuffled":
            self.env.np_random.shuffle(rows[1:])
        return rows.astype(np.float32)

    def _nearest(self, car: Vehicle) -> list[RoadObject]:
        """As `Road.close_objects_to`, with every distance along the lane taken once."""
        lane, reach = car.lane, self.env.PERCEPTION_DISTANCE
        own, _ = lane.local_coordinates(car.position)
        found = []
        others = [(other, self.see_behind) for other in self.env.road.vehicles if other is not car]
        others += [(other, False) for other in self.env.road.objects] if self.include_obstacles else []
        for other, behind in others:
            if np.linalg.norm(other.position - car.position) < reach:
                along = lane.local_coordinates(other.position)[0] - own
                if behind or along > -2 * car.LENGTH:
                    found.append((abs(along), other))
        if self.order == "sorted":
            found.sort(key=lambda pair: pair[0])
        return [other for _, other in found[: self.vehicles_count - 1 or None]]

    def _normalised(self, rows: Array) -> Array:
        if not self.features_range:
            lanes = len(self.env.road.network.all_side_lanes(self.observer_vehicle.lane_index))
            span, speed = 5.0 * Vehicle.MAX_SPEED, 2 * Vehicle.MAX_SPEED
            width = AbstractLane.DEFAULT_WIDTH * lanes
            self.features_range = {
                "x": [-span, span], "y": [-width, width], "vx": [-speed, speed], "vy": [-speed, speed]
            }  # fmt: skip
        for name, (low, high) in self.features_range.items():
            if name in self.features:
                at = self.features.index(name)
                scaled = utils.lmap(rows[:, at], [low, high], [-1, 1])
                rows[:, at] = np.clip(scaled, -1, 1) if self.clip else scaled
        return rows


class FastOccupancyGrid(OccupancyGridObservation):
    """`OccupancyGrid`: one layer a feature, the car in the middle."""

    features_range: dict[str, list[float]]

    def elements(self) -> tuple[Element, ...]:
        """What `observe` returns, layer by layer and row by row."""
        _, ahead, across = self.grid.shape
        cells = [(name, i, j) for name in self.features for i in range(ahead) for j in range(across)]
        return tuple(Element(f"{name} at {i}, {j}", "1", -1.0, 1.0) for name, i, j in cells)

    def observe(self) -> NDArray[Any]:
        """Layers (features, cells ahead, cells across), zero where nothing is."""
        self.grid.fill(np.nan)
        speed = 2 * Vehicle.MAX_SPEED
        self.features_range = self.features_range or {"vx": [-speed, speed], "vy": [-speed, speed]}
        others = self.env.road.vehicles
        offsets = np.array([other.position - self.observer_vehicle.position for other in others])
        cells, inside = self._cells(offsets)
        for layer, name in enumerate(self.features):
            if name == "on_road":
                self._fill_road(layer)
            elif name in FEATURES:
                for i in np.flatnonzero(inside)[::-1]:
                    self.grid[layer, cells[i, 0], cells[i, 1]] = self._scaled(others[i], name)
        grid = np.clip(self.grid, -1, 1) if self.clip else self.grid
        if self.as_image:
            grid = ((np.clip(grid, -1, 1) + 1) / 2 * 255).astype(np.uint8)
        return np.asarray(np.nan_to_num(grid).astype(self.space().dtype))

    def _scaled(self, other: RoadObject, name: str) -> float:
        value = feature(other, name)
        if name in RELATIVE:
            value -= feature(self.observer_vehicle, name)
        return float(utils.lmap(value, self.features_range[name], [-1, 1])) if name in self.features_range else value

    def _cells(self, offsets: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Cell (n, 2) of each offset from the car (n, 2), and whether it is within the grid (n,)."""
        if self.align_to_vehicle_axes:
            c, s = np.cos(self.observer_vehicle.heading), np.sin(self.observer_vehicle.heading)
            offsets = offsets @ np.array(((c, -s), (s, c)))
        cells = np.floor((offsets - self.grid_size[:, 0]) / self.grid_step).astype(np.int64)
        return cells, np.all((cells >= 0) & (cells < self.grid.shape[-2:]), axis=1)

    def _fill_road(self, layer: int, reach: float = 100.0) -> None:
        car, spacing = self.observer_vehicle.position, np.amin(self.grid_step)
        points = []
        for lane in self.env.road.network.lanes_list():
            origin, _ = lane.local_coordinates(car)
            points.append(centres(lane, np.arange(origin - reach, origin + reach, spacing).clip(0, lane.length)))
        cells, inside = self._cells(np.concatenate(points) - car)
        self.grid[layer, cells[inside, 0], cells[inside, 1]] = 1


def centres(lane: AbstractLane, longitudinal: Array) -> Array:
    """Points (n, 2) of a lane's centre at n longitudinal coordinates [m]."""
    if isinstance(lane, CircularLane):
        phase = lane.direction * longitudinal / lane.radius + lane.start_phase
        return np.asarray(lane.center + lane.radius * np.stack((np.cos(phase), np.sin(phase)), axis=1))
    return np.asarray(lane.position(longitudinal[:, None], 0.0))


FAST: dict[str, type[FastKinematics] | type[FastOccupancyGrid]] = {
    "Kinematics": FastKinematics,
    "OccupancyGrid": FastOccupancyGrid,
}

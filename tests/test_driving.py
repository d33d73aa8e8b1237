"""The driving plants against hand-worked numbers, and as plants that can be planned on, shifted and seen."""

import functools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from highway_env.envs.intersection_env import ContinuousIntersectionEnv
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.objects import RoadObject
from numpy.typing import NDArray
from wmctrl_envs import PlantError, driving
from wmctrl_envs.driving_parameters import traffic
from wmctrl_envs.driving_task import DrivingTask
from wmctrl_envs.lane_features import FAR, gaps
from wmctrl_envs.task import Observation

from tests.driving_plant import build, gentle

ROADS = tuple(task_id for task_id in driving.IDS if task_id != "parking-v0")
ARRIVALS = ("parking-v0", "roundabout-v0", "intersection-v1")
"""Tasks of which success is a place; the others' is that all is well."""


def drive(task: DrivingTask, actions: NDArray[np.float32]) -> list[tuple[Observation, float]]:
    return [task.step(action)[:2] for action in actions]


def same(one: list[tuple[Observation, float]], other: list[tuple[Observation, float]]) -> bool:
    return all(
        a[1] == b[1] and all(np.array_equal(a[0][part], b[0][part]) for part in a[0])
        for a, b in zip(one, other, strict=True)
    )


def test_the_list_of_tasks_is_read_without_the_simulator() -> None:
    code = "import sys; from wmctrl_envs import driving; driving.IDS; sys.exit('highway_env' in sys.modules)"
    path = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=path, check=False).returncode == 0


@pytest.mark.parametrize("task_id", driving.IDS)
def test_every_element_is_named_measured_and_finite(task_id: str) -> None:
    task = build(task_id)
    observation, info = task.reset(seed=3)
    spec = task.task_spec
    assert len(spec.proprio) == len(observation["proprio"]) == len({element.name for element in spec.proprio})
    for element in (*spec.proprio, *spec.goal, *spec.action):
        assert element.unit
        assert np.isfinite((element.low, element.high)).all()
        assert element.low < element.high
    low, high = np.array([(element.low, element.high) for element in spec.proprio]).T
    assert (observation["proprio"] >= low - 1e-6).all()
    assert (observation["proprio"] <= high + 1e-6).all()
    assert info == {"success": task_id not in ARRIVALS, "failure": False, "cost": 0.0}


@pytest.mark.parametrize("task_id", driving.IDS)
def test_restored_plant_repeats_itself_to_the_bit(task_id: str) -> None:
    task = build(task_id)
    task.reset(seed=5, options={"parameters": {"action_delay": 2.0}})
    drive(task, gentle(task, 0, 3))
    snapshot = task.snapshot()
    first = drive(task, gentle(task, 1, 5))
    for _ in range(2):
        task.restore(snapshot)
        assert same(first, drive(task, gentle(task, 1, 5)))


@pytest.mark.parametrize("task_id", driving.IDS)
def test_second_episode_equals_that_of_a_fresh_plant(task_id: str) -> None:
    fresh, used = build(task_id), build(task_id)
    first, expected = fresh.reset(seed=2)[0], drive(fresh, gentle(fresh, 1, 5))
    shifted = {p.name: p.low if p.low != p.nominal else p.high for p in used.task_spec.parameters}
    used.reset(seed=1, options={"parameters": shifted})
    drive(used, gentle(used, 0, 4))
    used.set_parameters(shifted)
    assert np.array_equal(used.reset(seed=2)[0]["proprio"], first["proprio"])
    assert same(drive(used, gentle(used, 1, 5)), expected)


def test_goal_cost_reads_the_observation() -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    observation, reward, *_ = task.step(np.array((1.0, 0.2), np.float32))
    cost = task.task_spec.goal_cost
    assert cost is not None
    assert -cost(observation["proprio"][list(cost.achieved)], observation["goal"]) == pytest.approx(reward, abs=1e-6)


def test_no_goal_cost_where_highway_envs_observation_is_asked_for() -> None:
    spec = build("parking-v0", observation={"type": "Kinematics"}).task_spec
    assert [element.name for element in spec.goal][:2] == ["spot x", "spot y"]
    assert spec.goal_cost is None


def test_driving_into_the_wall_fails_and_costs() -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    task.scenario.vehicle.heading = np.pi / 2
    for _ in range(30):
        _, reward, terminated, truncated, info = task.step(np.array((1.0, 0.0), np.float32))
        if terminated:
            break
    assert (terminated, truncated) == (True, False)
    assert info == {"success": False, "failure": True, "cost": 1.0}
    assert -6 < reward < -5
    # 21 m to the wall's middle, less half a wall (0.5 m) and half a car (2.5 m), less what it covers in one step
    assert 15 < task.scenario.vehicle.position[1] < 18.1


def test_standing_in_the_spot_is_success() -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    car, spot = task.scenario.vehicle, task.scenario.vehicle.goal
    car.position, car.heading = spot.position + np.array((0.1, 0.0)), spot.heading
    _, reward, terminated, truncated, info = task.step(np.zeros(2, np.float32))
    assert reward == pytest.approx(-np.sqrt(0.1 / 100))
    assert (terminated, truncated, info["success"], info["failure"]) == (True, False, True, False)


def far_from_the_spot(task: DrivingTask) -> float:
    """Reward of a car in the corner furthest from the spot, turned round and as fast as any."""
    car, spot = task.scenario.vehicle, task.scenario.vehicle.goal
    car.position, car.heading, car.speed = -np.sign(spot.position) * (34, 20), spot.heading + np.pi, 15.0
    return float(task.scenario._distance_reward())


@pytest.mark.parametrize("weights", [(1, 0.3, 0, 0, 0.02, 0.02), (9, 0, 0, 0, 0, 0), (0, 5, 0, 2, 3, 0), (0,) * 6])
def test_no_place_in_the_car_park_earns_less_than_a_crash(weights: tuple[float, ...]) -> None:
    task = build("parking-v0", reward_weights=list(weights))
    credited = task.task_spec.failure_reward
    assert credited is not None
    for seed in range(10):
        task.reset(seed=seed)
        assert credited <= far_from_the_spot(task)


def test_a_crash_is_credited_with_one_a_step_at_highway_envs_weights() -> None:
    assert build("parking-v0").task_spec.failure_reward == -1.0


def test_time_is_up_after_a_hundred_steps_without_terminating() -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    ends = [task.step(np.zeros(2, np.float32))[2:4] for _ in range(100)]
    assert ends == [(False, False)] * 99 + [(False, True)]


def path_turning(task: DrivingTask, parameters: dict[str, float]) -> tuple[float, NDArray[np.float64]]:
    """Heading [rad] and position [m] after two seconds of speeding up round a bend."""
    task.reset(seed=0, options={"parameters": parameters})
    car = task.scenario.vehicle
    car.heading = 0.0
    drive(task, np.tile(np.array((0.8, 0.3), np.float32), (10, 1)))
    return float(car.heading), car.position


def test_less_grip_slides_wider_and_reset_restores_it() -> None:
    task = build("parking-v0", dynamical=True)
    heading, position = path_turning(task, {})
    slippery_heading, slippery_position = path_turning(task, {"friction": 0.2})
    assert slippery_heading < heading
    assert slippery_position[1] < position[1] - 0.5  # carried outwards: the bend is to the right
    assert path_turning(task, {"friction_front": 0.5})[0] < 0.92 * heading  # understeer
    again = path_turning(task, {})
    assert again[0] == heading
    assert np.array_equal(again[1], position)


@pytest.mark.parametrize("task_id", ["parking-v0", "racetrack-v1", "lane-keeping-v0", "intersection-v1", "highway-v0"])
def test_every_parameter_changes_the_plant_while_it_runs(task_id: str) -> None:
    task = build(task_id)
    task.reset(seed=0)
    before = task.snapshot()
    nominal = drive(task, gentle(task, 0, 12))
    for parameter in task.task_spec.parameters:
        if parameter.name in ("traffic_politeness", "traffic_braking_imposed"):
            continue  # they show in rare lane changes only
        task.restore(before)
        task.set_parameters({parameter.name: parameter.high})
        assert not same(nominal, drive(task, gentle(task, 0, 12))), parameter.name
        task.restore(before)
        task.set_parameters({parameter.name: parameter.high})
        task.set_parameters({parameter.name: parameter.nominal})
        assert same(nominal, drive(task, gentle(task, 0, 12))), parameter.name


def test_traffic_that_appears_later_is_slowed_and_freed_like_the_rest() -> None:
    task = build("intersection-v1", spawn_probability=1.0)
    task.reset(seed=0, options={"parameters": {"traffic_speed": 0.5}})
    first = traffic(task.scenario)
    drive(task, np.zeros((30, 2), np.float32))
    appeared = [vehicle for vehicle in traffic(task.scenario) if vehicle not in first]
    assert len(appeared) >= 3
    # highway-env lets a vehicle want 8 m/s give or take a few, 10 m/s after it gave way, and 0 m/s while it does
    assert all(vehicle.target_speed == 0 or 2.5 < vehicle.target_speed < 5.5 for vehicle in traffic(task.scenario))
    task.set_parameters({"traffic_speed": 1.0})
    assert all(vehicle.target_speed == 0 or 5 < vehicle.target_speed < 11 for vehicle in traffic(task.scenario))


def test_speed_that_highway_env_gives_a_vehicle_is_nominal_and_remembered_by_snapshots() -> None:
    task = build("highway-v0")
    task.reset(seed=0, options={"parameters": {"traffic_speed": 0.5}})
    for nominal in (0.0, 10.0):
        traffic(task.scenario)[0].target_speed = nominal
        for _ in range(2):
            task.step(np.zeros(2, np.float32))
            assert traffic(task.scenario)[0].target_speed == nominal / 2
    snapshot = task.snapshot()
    for _ in range(2):
        task.restore(snapshot)
        task.set_parameters({"traffic_speed": 1.5})
        assert traffic(task.scenario)[0].target_speed == 15.0
        task.set_parameters({"traffic_speed": 1.0})
        assert traffic(task.scenario)[0].target_speed == 10.0


def test_delayed_command_takes_effect_after_the_delay() -> None:
    task = build("parking-v0")
    task.reset(seed=0, options={"parameters": {"action_delay": 3.0}})
    speeds = [float(task.step(np.array((1.0, 0.0), np.float32))[0]["proprio"][6]) for _ in range(5)]
    assert speeds == pytest.approx([0, 0, 0, 1, 2])  # 5 m/s^2 for 0.2 s from the fourth step on


def test_while_a_delay_grows_the_last_command_goes_on() -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    full, none = np.array((1.0, 0.0), np.float32), np.zeros(2, np.float32)
    task.step(full)
    task.set_parameters({"action_delay": 2.0})
    speeds = [float(task.step(none)[0]["proprio"][6]) for _ in range(4)]
    assert speeds == pytest.approx([2, 3, 3, 3])  # 5 m/s^2 for 0.2 s, two steps longer


def vehicles_a_second(simulator: Any, monkeypatch: pytest.MonkeyPatch) -> float:
    """How many vehicles the intersection's simulator may be expected to let in."""
    chances: list[float] = []
    monkeypatch.setattr(simulator, "_spawn_vehicle", lambda spawn_probability: chances.append(spawn_probability))
    for _ in range(simulator.config["policy_frequency"]):
        simulator.step(np.zeros(2))
    return sum(chances)


def test_as_many_vehicles_come_to_the_intersection_as_in_highway_env(monkeypatch: pytest.MonkeyPatch) -> None:
    task, stock = build("intersection-v1"), ContinuousIntersectionEnv()
    task.reset(seed=0)
    assert (task.scenario.config["policy_frequency"], stock.config["policy_frequency"]) == (5, 1)
    assert vehicles_a_second(task.scenario, monkeypatch) == pytest.approx(vehicles_a_second(stock, monkeypatch))


def test_making_an_intersection_leaves_other_traffic_alone() -> None:
    before = (IDMVehicle.DISTANCE_WANTED, IDMVehicle.COMFORT_ACC_MAX, IDMVehicle.COMFORT_ACC_MIN)
    build("intersection-v1")
    assert before == (IDMVehicle.DISTANCE_WANTED, IDMVehicle.COMFORT_ACC_MAX, IDMVehicle.COMFORT_ACC_MIN)


def test_the_car_is_told_where_it_is_on_the_road_and_across_its_lane() -> None:
    task = build("racetrack-v1", other_vehicles=0)
    task.reset(seed=0)
    car = task.scenario.vehicle
    car.position, car.heading, car.speed = np.array((60.0, 6.0)), 0.1, 0.0
    observation = task.step(np.zeros(1, np.float32))[0]["proprio"]
    seen = dict(zip([element.name for element in task.task_spec.proprio], observation.tolist(), strict=True))
    # the straight's lanes have their centres at y = 0 and 5 and span -2.5 to 7.5, so the car is a fifth of a lane off
    assert seen["heading error"] == pytest.approx(0.1)
    assert (seen["distance to left edge"], seen["distance to right edge"]) == pytest.approx((8.5, 1.5))
    assert (seen["across lane, cosine"], seen["across lane, sine"]) == pytest.approx((0.309017, 0.951057))  # 72 degrees
    assert (seen["road 8 m on, ahead"], seen["road 8 m on, right"]) == pytest.approx((8.0, 0.0), abs=1e-5)


@pytest.mark.parametrize("place", ["straight", "bend"])
def test_nothing_jumps_where_the_car_enters_another_lane(place: str) -> None:
    task = build("racetrack-v1")
    task.reset(seed=0)
    car = task.scenario.vehicle
    road = ("a", "b") if place == "straight" else ("b", "c")
    left = task.scenario.road.network.get_lane((*road, 0))

    def read(lateral: float) -> NDArray[np.float64]:
        middle = left.length / 2
        car.position, car.heading = left.position(middle, lateral), left.heading_at(middle)
        car.lane_index = task.scenario.road.network.get_closest_lane_index(car.position, car.heading)
        return task.senses.read(task.scenario)

    before, after = read(2.499), read(2.501)
    assert car.lane_index == (*road, 1)
    assert after == pytest.approx(before, abs=0.005)


def test_road_ahead_follows_the_bend_and_the_route() -> None:
    task = build("intersection-v1")
    task.reset(seed=0)
    car = task.scenario.vehicle
    car.position, car.heading, car.speed = np.array((2.0, 11.0)), -np.pi / 2, 0.0  # at the mouth, going north
    seen = task.step(np.zeros(2, np.float32))[0]["proprio"]
    names = [element.name for element in task.task_spec.proprio]
    across = [seen[names.index(f"road {distance} m on, right")] for distance in (8, 12, 18)]
    assert across[0] < -1.5 > across[1] > across[2]  # left, towards o1
    assert seen[names.index("way left on the route")] == pytest.approx(13 * np.pi / 2 + 100, abs=0.5)


def test_nearest_neighbours_come_first_and_lie_along_the_road() -> None:
    task = build("highway-v0")
    task.reset(seed=0)
    car = task.scenario.vehicle
    others = [vehicle for vehicle in task.scenario.road.vehicles if vehicle is not car][:2]
    car.heading, car.speed, task.scenario.road.vehicles = np.pi / 2, 10.0, [car, *others]
    others[0].position, others[0].heading, others[0].speed = car.position + np.array((30.0, 0.0)), 0.0, 5.0
    others[1].position, others[1].heading, others[1].speed = car.position + np.array((0.0, 12.0)), np.pi / 2, 7.0
    task.scenario.seats = []
    seen = task.senses.read(task.scenario)[-35:].reshape(5, 7)
    # the first is 30 of 100 m ahead and beside the car, which looks across the road; the second is 12 of 15 m aside and
    # stands across the road as well, bumper to bumper
    assert seen[0] == pytest.approx(0.7 * np.array((1, 30, 0, 5, -10, FAR + 3.5, 0)))
    assert seen[1] == pytest.approx(0.2 * np.array((1, 0, 12, 0, -3, FAR - (12 - 5), FAR + 2)))
    assert not seen[2:].any()


def test_others_are_told_in_the_same_place_for_as_long_as_they_are_in_view() -> None:
    task = build("highway-v0")
    task.reset(seed=0)
    car = task.scenario.vehicle
    one, two, three = [vehicle for vehicle in task.scenario.road.vehicles if vehicle is not car][:3]

    def seen(*places: tuple[RoadObject, float]) -> list[float]:
        """Which others are told where, by how far ahead they are [m]."""
        task.scenario.road.vehicles = [car, *(other for other, _ in places)]
        for other, ahead in places:
            other.position = car.position + np.array((ahead, 0.0))
        rows = task.senses.read(task.scenario)[-35:].reshape(5, 7)[:3]
        return [float(row[1] / row[0]) if row[0] else 0.0 for row in rows]

    task.scenario.seats = []
    assert seen((one, 50.0), (two, 60.0)) == pytest.approx([50.0, 60.0, 0.0])
    assert seen((one, 40.0), (two, -10.0)) == pytest.approx([40.0, -10.0, 0.0])  # the second is the nearest now
    assert seen((two, -20.0), (three, 90.0)) == pytest.approx([90.0, -20.0, 0.0])
    assert seen((one, 30.0), (two, -20.0), (three, 80.0)) == pytest.approx([80.0, -20.0, 30.0])
    before = task.snapshot()
    assert seen((two, -20.0)) == pytest.approx([0.0, -20.0, 0.0])
    task.restore(before)
    assert task.scenario.seats[1] in task.scenario.road.vehicles
    task.reset(seed=0)
    assert task.scenario.seats[0] is not None


@pytest.mark.parametrize("gap", [15.0, -15.0, 20.0, -30.0])
@pytest.mark.parametrize("lane", [0, 1])
def test_in_a_bend_the_other_lane_is_beside_and_the_gap_is_along_it(gap: float, lane: int) -> None:
    """The car is half through the first bend; the other is in its lane or the right one, in the bend or beyond it.

    The bend reaches a little into the straight that follows.
    """
    task = build("racetrack-v1")
    task.reset(seed=0)
    network, car = task.scenario.road.network, task.scenario.vehicle
    bend = network.get_lane(("b", "c", 0))
    middle = bend.length / 2
    car.position, car.heading, car.speed = bend.position(middle, 0.0), bend.heading_at(middle), 10.0
    car.lane_index = ("b", "c", 0)
    other = next(vehicle for vehicle in task.scenario.road.vehicles if vehicle is not car)
    own, follows = network.get_lane(("a", "b", lane)), network.get_lane(("c", "d", lane))
    overlap = network.get_lane(("c", "d", 0)).local_coordinates(bend.position(bend.length, 0.0))[0]
    way = gap + middle  # from where the bend begins
    if 0 < way < bend.length:
        road = network.get_lane(("b", "c", lane))
        along = way * road.length / bend.length
    else:
        road = own if way < 0 else follows
        along = own.length + way if way < 0 else way - bend.length + overlap
    other.position, other.heading, other.speed = road.position(along, 0.0), road.heading_at(along), 6.0
    seen = task.senses.read(task.scenario)[-35:].reshape(5, 7)[0]
    nearness = 1 - np.hypot(gap / 60, 5 * lane / 15)
    assert seen[:5] == pytest.approx(nearness * np.array((1, gap, 5 * lane, -4, 0)), abs=1e-6)


@pytest.mark.parametrize("direction", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.6, 0.8)])
def test_another_car_fades_into_view(direction: tuple[float, float]) -> None:
    task = build("racetrack-v1")
    task.reset(seed=0)
    car = task.scenario.vehicle
    other = next(vehicle for vehicle in task.scenario.road.vehicles if vehicle is not car)
    car.position, car.heading = np.array((70.0, 0.0)), 0.0  # on the straight
    car.lane_index = ("a", "b", 0)

    def told(share: float) -> NDArray[np.float64]:
        other.position = car.position + share * np.array(direction) * (60.0, 15.0)
        return task.senses.read(task.scenario)[-35:-28]

    assert not told(1.001).any()
    assert np.abs(told(0.999)).max() < 0.1
    assert told(0.5)[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("turned", [0.0, 0.7, -2.0])
@pytest.mark.parametrize(
    ("ahead", "right", "heading", "expected"),
    [
        (9.0, 0.0, 0.0, (4.0, -2.0)),  # behind it: two half lengths less; as wide
        (0.0, 5.0, 0.0, (-5.0, 3.0)),  # beside it: two half widths less
        (-8.0, -6.0, np.pi, (3.0, 4.0)),  # behind and to the left
        (0.0, 4.0, np.pi / 2, (-3.5, 0.5)),  # its nose points at the car's flank
        (3.5 + 3.5 / np.sqrt(2), 1.5 / np.sqrt(2), np.pi / 4, (1.0, -1.0 - np.sqrt(2))),  # a corner of it ahead
        (4.0, 0.5, 0.0, (-1.0, -1.5)),  # into each other
        (0.0, 0.0, np.pi / 2, (-3.5, -3.5)),  # crossed: no corner of one lies in the other
    ],
)
def test_gaps_are_what_lies_between_the_bodies(
    turned: float, ahead: float, right: float, heading: float, expected: tuple[float, float]
) -> None:
    """However the road lies; highway-env's cars are 5 m long and 2 m wide."""
    task = build("highway-v0")
    task.reset(seed=0)
    car, other = task.scenario.road.vehicles[:2]
    car.position, car.heading = np.array((100.0, 8.0)), turned
    along, across = np.array((np.cos(turned), np.sin(turned))), np.array((-np.sin(turned), np.cos(turned)))
    other.position, other.heading = car.position + ahead * along + right * across, turned + heading
    assert gaps(car, other) == pytest.approx(expected, abs=1e-9)


def test_turning_the_wheel_moves_nothing_but_the_car() -> None:
    """Its corners come nearer to a car that is near; where that one is does not change."""
    task = build("racetrack-v1")
    task.reset(seed=0)
    car = task.scenario.vehicle
    other = next(vehicle for vehicle in task.scenario.road.vehicles if vehicle is not car)
    other.position, other.heading = car.position + 8.0 * np.array((np.cos(car.heading), np.sin(car.heading))), 0.0
    before, car.heading = task.senses.read(task.scenario), car.heading + 0.2
    changed = np.flatnonzero(np.abs(task.senses.read(task.scenario) - before) > 1e-9)
    names = {task.task_spec.proprio[i].name for i in changed}
    own = {"heading error", "neighbour 1 closeness along", "neighbour 1 closeness across"}
    assert names >= own
    assert all("relative speed" in name for name in names - own)


@pytest.mark.parametrize("task_id", ["merge-v0", "roundabout-v0", "intersection-v1"])
def test_speed_across_the_road_earns_nothing(task_id: str) -> None:
    task = build(task_id)
    task.reset(seed=0)
    car = task.scenario.vehicle
    along = task.scenario._rewards(np.zeros(2))["high_speed_reward"]
    car.heading += np.pi / 2
    assert along > 0
    assert task.scenario._rewards(np.zeros(2))["high_speed_reward"] <= 1e-9


@pytest.mark.parametrize("task_id", ROADS)
def test_leaving_the_road_is_a_failure(task_id: str) -> None:
    task = build(task_id)
    task.reset(seed=0)
    task.scenario.vehicle.position = np.array((400.0, 400.0))
    _, _, terminated, _, info = task.step(np.zeros(task.action_space.shape or (), np.float32))
    assert terminated
    assert info == {"success": False, "failure": True, "cost": 1.0}


@pytest.mark.parametrize(
    ("task_id", "place", "heading"),
    [
        ("merge-v0", (371.0, 0.0), 0.0),
        ("roundabout-v0", (2.0, -80.0), -np.pi / 2),
        ("intersection-v1", (-50.0, -2.0), np.pi),
    ],
)
def test_arriving_is_success_and_no_failure(task_id: str, place: tuple[float, float], heading: float) -> None:
    task = build(task_id)
    task.reset(seed=0)
    car = task.scenario.vehicle
    task.scenario.road.vehicles = [car]
    car.position, car.heading, car.speed = np.array(place), heading, 5.0
    _, _, terminated, truncated, info = task.step(np.zeros(2, np.float32))
    assert (terminated, truncated) == (False, True)
    assert info == {"success": True, "failure": False, "cost": 0.0}


@pytest.mark.parametrize("task_id", driving.IDS)
def test_picture_shows_the_car_even_without_a_display(task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    task = build(task_id, ["camera"])
    picture = task.reset(seed=0)[0]["camera"]
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    assert ((green > red + 40) & (green > blue + 40)).sum() >= 3  # the car is green
    assert task.task_spec.proprio == ()
    assert task.render().shape == (480, 480, 3)


def test_picture_shows_the_spot() -> None:
    task = build("parking-v0", ["camera", "proprio"])
    observation, _ = task.reset(seed=0)
    assert set(observation) == {"camera", "proprio"}
    assert (task.task_spec.goal, task.task_spec.goal_cost) == ((), None)
    red, _, blue = observation["camera"].astype(int).transpose(2, 0, 1)
    rows, columns = np.nonzero(blue > red + 100)
    x, y = (np.mean(axis) + 0.5 - 32 for axis in (columns, rows))
    assert np.array((x, y)) * 72 / 64 == pytest.approx(task.scenario.vehicle.goal.position, abs=1.2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vehicle_count": 3}, "did you mean vehicles_count"),
        ({"action": {"stering_range": [-1, 1]}}, "did you mean steering_range"),
        ({"action": {"type": "DiscreteAction"}}, "ContinuousAction"),
        ({"manual_control": True}, "unknown config key 'manual_control'"),
        ({"observation": {"type": "Lidar"}}, "unknown config observation type 'Lidar'"),
    ],
)
def test_config_highway_env_would_ignore_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("highway-v0", **config)


@pytest.mark.parametrize(
    ("task_id", "config", "message"),
    [
        ("racetrack-v1", {"other_vehicles": "many"}, "other_vehicles must be a whole number of at least 0, got 'many'"),
        ("racetrack-v1", {"other_vehicles": -1}, "other_vehicles must be a whole number of at least 0, got -1"),
        ("racetrack-v1", {"max_steps": "abc"}, "max_steps must be a whole number of at least 1, got 'abc'"),
        ("racetrack-v1", {"max_steps": -3}, "max_steps must be a whole number of at least 1, got -3"),
        ("racetrack-v1", {"max_steps": 0}, "max_steps must be a whole number of at least 1, got 0"),
        ("racetrack-v1", {"max_steps": 2.5}, "max_steps must be a whole number of at least 1, got 2.5"),
        ("racetrack-v1", {"max_steps": True}, "max_steps must be a whole number of at least 1, got True"),
        ("racetrack-v1", {"max_steps": np.inf}, "max_steps must be a whole number of at least 1, got inf"),
        ("racetrack-v1", {"duration": -3}, r"duration must be above 0 \[s\], got -3"),
        ("racetrack-v1", {"collision_reward": "low"}, "collision_reward must be a number, such as -1, got 'low'"),
        ("racetrack-v1", {"offroad_terminal": 1}, "offroad_terminal must be true or false, got 1"),
        ("racetrack-v1", {"action": 3}, r"action must be keys with values, such as \{type: ...\}, got 3"),
        ("racetrack-v1", {"observation": 3}, r"observation must be keys with values, such as \{type: ...\}, got 3"),
        ("racetrack-v1", {"action": {"steering_range": 3}}, "action.steering_range must be 2 numbers, got 3"),
        ("highway-v0", {"action": {"acceleration_range": [-8, 3]}}, "action.acceleration_range must be the same both "),
        ("racetrack-v1", {"action": {"lateral": "no"}}, "action.lateral must be true or false, got 'no'"),
        ("racetrack-v1", {"dynamical": "no"}, "action.dynamical must be true or false, got 'no'"),
        ("parking-v0", {"reward_weights": [1, 2]}, r"reward_weights must be 6 numbers, got \[1, 2\]"),
        ("parking-v0", {"reward_weights": [1, 1, 0, 0, 0, -1]}, "reward_weights must be at least 0, got"),
        ("intersection-v1", {"destination": "o9"}, "destination must be o1, o2 or o3, got 'o9'"),
    ],
)
def test_config_value_of_another_kind_is_refused_by_its_key(task_id: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^config {message}") as caught:
        build(task_id, **config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"type": "Kinematics", "vehicle_count": 7}, "unknown .* key 'vehicle_count'; did you mean vehicles_count?"),
        ({"type": "OccupancyGrid", "normalize": False}, "unknown config observation key 'normalize'"),
        ({"features": ["x"]}, "unknown config observation key 'features'; known: type"),
        (
            {"type": "Kinematics", "vehicles_count": 1},
            "observation.vehicles_count must be a whole number of at least 2",
        ),
        ({"type": "Kinematics", "clip": 3}, "config observation.clip must be true or false, got 3"),
        ({"type": "Kinematics", "features": [3]}, r"config observation.features must be a list of names, got \[3\]"),
        ({"type": "Kinematics", "features": ["x", "on_road"]}, "unknown config observation feature 'on_road'"),
        ({"type": "OccupancyGrid", "features": ["on_raod"]}, "'on_raod'; did you mean on_road?"),
        ({"type": "OccupancyGrid", "absolute": True}, "observation.absolute must be false: highway-env implements no"),
    ],
)
def test_observation_highway_env_would_not_give_is_refused(observation: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build("racetrack-v1", observation=observation)
    assert "\n" not in str(caught.value)


def test_whole_counts_may_be_written_with_a_point() -> None:
    task = build("highway-fast-v0", vehicles_count=3.0, observation={"type": "Kinematics", "vehicles_count": 2.0})
    assert len(task.reset(seed=0)[0]["proprio"]) == 2 * 5
    assert len(task.scenario.road.vehicles) == 3 + 1


def test_what_highway_env_raises_while_it_is_made_is_told_with_its_config() -> None:
    message = (
        r"^highway-v0 could not be made with config \{'vehicles_density': 0\}: ZeroDivisionError: division by zero$"
    )
    with pytest.raises(ValueError, match=message):
        build("highway-v0", vehicles_density=0)


def overheat(*_: Any, **__: Any) -> None:
    raise RuntimeError("the simulator\nis hot")


@pytest.mark.parametrize("place", ["scenario.road.step", "scenario._reward", "senses.read"])
def test_what_highway_env_raises_is_a_breakdown_of_the_plant(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = build("racetrack-v1")
    task.reset(seed=0)
    task.step(np.zeros(1, np.float32))
    *owners, name = place.split(".")
    monkeypatch.setattr(functools.reduce(getattr, owners, task), name, overheat)
    with pytest.raises(PlantError, match=r"^racetrack-v1: RuntimeError: the simulator is hot after [12] steps; reset"):
        task.step(np.zeros(1, np.float32))


def test_a_reset_that_breaks_down_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    task = build("racetrack-v1")
    task.reset(seed=0)
    task.step(np.zeros(1, np.float32))
    monkeypatch.setattr(task.scenario, "_reset", overheat)
    with pytest.raises(PlantError, match=r"^racetrack-v1: RuntimeError: the simulator is hot after 0 steps; reset"):
        task.reset(seed=0)


@pytest.mark.parametrize("observe", [None, ["camera"]])
def test_a_car_that_is_nowhere_is_a_breakdown_of_the_plant(
    observe: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = build("parking-v0", observe)
    task.reset(seed=0)
    monkeypatch.setattr(task.scenario, "achieved", lambda: np.full(6, np.nan))
    with pytest.raises(PlantError, match=r"^parking-v0: `car x` became nan at step 1; reset the task$"):
        task.step(np.zeros(2, np.float32))


def test_a_goal_or_reward_that_is_not_finite_is_a_breakdown_of_the_plant(monkeypatch: pytest.MonkeyPatch) -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    monkeypatch.setattr(task.scenario, "desired", lambda: np.full(6, np.nan))
    with pytest.raises(PlantError, match="`spot x` became nan at step 1"):
        task.step(np.zeros(2, np.float32))
    monkeypatch.undo()
    task.reset(seed=0)
    monkeypatch.setattr(task.scenario, "_reward", lambda action: -np.inf)
    with pytest.raises(PlantError, match="the reward became -inf at step 1"):
        task.step(np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"policy_frequency": 10}, "=10 does not divide simulation_frequency=15; .* among 1, 3, 5, 15 or .* of 10$"),
        ({"policy_frequency": 30}, "=30 does not divide simulation_frequency=15; .* among 1, 3, 5, 15 or .* of 30$"),
        ({"policy_frequency": 0.1}, "=0.1 does not divide simulation_frequency=15"),  # 15 // 0.1 is 149
        ({"simulation_frequency": 12}, "policy_frequency=5 does not divide simulation_frequency=12"),
        ({"simulation_frequency": 7.5, "policy_frequency": 7.5}, "simulation_frequency must be a whole number"),
        ({"simulation_frequency": -15}, r"simulation_frequency must be a number above 0 \[Hz\], got -15"),
        ({"simulation_frequency": float("inf")}, "simulation_frequency must be a number above 0 .* got inf"),
        ({"policy_frequency": 0, "max_steps": 7}, "policy_frequency must be a number above 0 .* got 0"),
        ({"policy_frequency": float("nan")}, "policy_frequency must be a number above 0 .* got nan"),
        ({"policy_frequency": "5"}, "policy_frequency must be a number above 0 .* got '5'"),
        ({"policy_frequency": True}, "policy_frequency must be a number above 0 .* got True"),
    ],
)
def test_rates_that_would_not_keep_the_control_period_are_refused(rates: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build("racetrack-v1", **rates)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task_id", driving.IDS)
def test_rates_may_be_written_with_a_point(task_id: str) -> None:
    task = build(task_id, simulation_frequency=20.0, policy_frequency=10.0)
    task.reset(seed=0)
    task.step(np.zeros(len(task.task_spec.action), np.float32))
    assert task.scenario.steps == 2  # frames of 0.05 s
    assert (task.task_spec.control_period, task.scenario.elapsed) == (0.1, 1)


@pytest.mark.parametrize("rates", [(15, 3), (20, 10), (30, 30)])
def test_a_control_period_takes_as_long_as_the_task_says(rates: tuple[int, int]) -> None:
    simulation, policy = rates
    task = build("racetrack-v1", simulation_frequency=simulation, policy_frequency=policy, max_steps=4)
    task.reset(seed=0)
    vehicle = task.scenario.vehicle
    before, speed = vehicle.position.copy(), vehicle.speed
    *_, over = (task.step(np.zeros(len(task.task_spec.action), np.float32))[3] for _ in range(4))
    assert over, "after as many steps as were asked for"
    assert task.task_spec.control_period == pytest.approx(1 / policy)
    assert np.linalg.norm(vehicle.position - before) == pytest.approx(4 * speed / policy, rel=1e-3)


def test_episode_can_be_given_another_length() -> None:
    task = build("highway-fast-v0", max_steps=7, vehicles_count=3)
    assert task.task_spec.max_steps == 7
    task.reset(seed=0)
    assert [task.step(np.zeros(2, np.float32))[3] for _ in range(7)] == [False] * 6 + [True]


def test_parameters_are_checked_by_name_and_range() -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    with pytest.raises(ValueError, match="did you mean steering_gain"):
        task.set_parameters({"steering_gian": 1.0})
    with pytest.raises(ValueError, match=r"length must be from 3.5 to 7 m, came 50"):
        task.reset(options={"parameters": {"length": 50.0}})
    with pytest.raises(ValueError, match="proprio"):
        build("parking-v0", ["proprioception"])
    with pytest.raises(ValueError, match="did you mean parking-v0"):
        build("parkin-v0")


def test_unknown_reset_option_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown reset option 'parametres'; did you mean parameters"):
        build("parking-v0").reset(options={"parametres": {"length": 4.0}})


@pytest.mark.parametrize("action", [(0.0,), (0.0, np.nan), (0.0, 0.0, 0.0), (0.0, -np.inf)])
def test_malformed_action_is_refused(action: tuple[float, ...]) -> None:
    task = build("parking-v0")
    task.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action must be \(2,\) finite values in \[-1, 1\], got array"):
        task.step(np.array(action, np.float32))


@pytest.mark.parametrize(
    ("task_id", "config", "failure"),
    [
        ("parking-v0", {}, "The car crashed."),
        ("racetrack-v1", {}, "The car crashed or left the road."),
        ("racetrack-v1", {"offroad_terminal": False}, "The car crashed."),
    ],
)
def test_leaving_the_road_is_called_a_failure_where_it_is_one(
    task_id: str, config: dict[str, Any], failure: str
) -> None:
    assert build(task_id, **config).task_spec.failure == failure


def test_success_and_failure_are_said_without_docstrings_too() -> None:
    code = (
        "import sys; from wmctrl_envs import driving; spec = driving.build('parking-v0').task_spec;"
        "sys.exit((spec.success, spec.failure) != ('The car stands in the spot.', 'The car crashed.'))"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-BOO", "-c", code], env=path, check=False).returncode == 0

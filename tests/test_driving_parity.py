"""The driving plants against highway-env itself, and their tyres against its tyres and against theory."""

from itertools import product
from typing import Any, cast

import numpy as np
import pytest
from highway_env.envs import common
from highway_env.envs.highway_env import HighwayEnv
from highway_env.envs.parking_env import ParkingEnv
from highway_env.envs.racetrack_env import ConnectedLaneRacetrackEnv
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.dynamics import BicycleVehicle
from numpy.typing import NDArray
from wmctrl_envs.driving_parameters import FRICTION, FRICTION_FRONT, MASS
from wmctrl_envs.driving_vehicles import TyreCar

from tests.driving_plant import build, gentle

STEERED: dict[str, Any] = {"type": "ContinuousAction"}


@pytest.mark.parametrize("seed", range(6))
def test_parking_moves_crashes_and_pays_as_in_highway_env(seed: int) -> None:
    task, stock = build("parking-v0"), ParkingEnv({"duration": 20})
    task.reset(seed=seed)
    stock.reset(seed=seed)
    generator = np.random.default_rng(seed)
    for _ in range(100):
        action = np.clip(generator.normal((0.5, 0.0), 0.5), -1, 1).astype(np.float32)
        observation, reward, terminated, truncated, info = task.step(action)
        _, stock_reward, stock_terminated, stock_truncated, stock_info = stock.step(action.astype(np.float64))
        assert np.array_equal(task.scenario.vehicle.position, stock.vehicle.position)
        assert reward == pytest.approx(stock_reward, abs=1e-12)
        assert (terminated, info["failure"], info["success"]) == (
            stock_terminated, stock.vehicle.crashed, stock_info["is_success"]
        )  # fmt: skip
        assert observation["proprio"][6] == np.float32(stock.vehicle.speed)
        if terminated or truncated:
            break
    assert truncated or terminated
    assert stock_truncated or stock_terminated


def test_goal_cost_is_highway_envs_reward_and_success() -> None:
    task, stock = build("parking-v0"), ParkingEnv()
    cost = task.task_spec.goal_cost
    assert cost is not None
    generator, scales = np.random.default_rng(0), np.array((100, 100, 5, 5, 1, 1))
    achieved, goal = generator.normal(size=(2, 500, 6)) * scales * np.logspace(-4, 0, 500)[:, None]
    costs = cost(achieved, goal)
    for one, other, value in zip(achieved / scales, goal / scales, costs, strict=True):
        assert -value == pytest.approx(stock.compute_reward(one, other, {}), rel=1e-12)
        assert (value < cost.threshold) == stock._is_success(one, other)
    assert 0 < (costs < cost.threshold).sum() < 500


@pytest.mark.parametrize(
    ("task_id", "stock"),
    [
        ("racetrack-v1", ConnectedLaneRacetrackEnv()),
        (
            "highway-v0",
            HighwayEnv(
                {
                    "vehicles_count": 15,
                    "policy_frequency": 5,
                    "action": STEERED | {"steering_range": [-0.1, 0.1]},
                    "offroad_terminal": True,
                }
            ),
        ),
    ],
)
def test_roads_move_and_pay_as_in_highway_env(task_id: str, stock: common.abstract.AbstractEnv) -> None:
    task = build(task_id)
    for seed in range(2):
        task.reset(seed=seed)
        stock.reset(seed=seed)
        for action in gentle(task, seed, 20):
            _, reward, terminated, _, _ = task.step(action)
            _, stock_reward, stock_terminated, _, _ = stock.step(action.astype(np.float64))
            ours = [vehicle.position for vehicle in task.scenario.road.vehicles]
            assert np.array_equal(ours, [vehicle.position for vehicle in stock.road.vehicles])
            assert (reward, terminated) == (stock_reward, stock_terminated)
            if terminated:
                break


@pytest.mark.parametrize("task_id", ["racetrack-v1", "merge-v0", "roundabout-v0", "intersection-v1", "lane-keeping-v0"])
def test_nearest_lane_is_highway_envs(task_id: str) -> None:
    network = build(task_id).scenario.road.network
    generator = np.random.default_rng(0)
    for position, heading in zip(generator.uniform(-150, 150, (300, 2)), generator.uniform(-7, 7, 300), strict=True):
        for turned in (heading, None):
            assert network.get_closest_lane_index(position, turned) == RoadNetwork.get_closest_lane_index(
                network, position, turned
            )


OBSERVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("highway-v0", {"type": "Kinematics"}),
    ("highway-v0", {"type": "Kinematics", "see_behind": True, "normalize": False, "vehicles_count": 7}),
    ("merge-v0", {"type": "Kinematics", "absolute": True, "features": ["presence", "x", "vx", "cos_h", "heading"]}),
    ("intersection-v1", {"type": "Kinematics", "vehicles_count": 5, "observe_intentions": True,
     "features": ["presence", "x", "y", "vx", "vy", "long_off", "lat_off", "ang_off", "cos_d"]}),
    ("racetrack-v1", ConnectedLaneRacetrackEnv.default_config()["observation"]),
    ("roundabout-v0", {"type": "OccupancyGrid", "features": ["presence", "vx", "vy", "on_road"]}),
]  # fmt: skip


@pytest.mark.parametrize(("task_id", "observation"), OBSERVATIONS)
def test_fast_observation_is_highway_envs(task_id: str, observation: dict[str, Any]) -> None:
    task = build(task_id, observation=observation)
    task.reset(seed=4)
    for action in gentle(task, 0, 8):
        seen = task.step(action)[0]["proprio"]
        stock = common.observation.observation_factory(task.scenario, observation).observe()
        assert np.array_equal(seen, stock.ravel())
    assert len(seen) == len(task.task_spec.proprio)


def test_what_an_obstacle_has_not_is_zero_where_highway_env_says_not_a_number() -> None:
    features = ["presence", "x", "y", "vx", "heading", "lat_off", "cos_d"]
    observation = {"type": "Kinematics", "features": features, "vehicles_count": 2, "normalize": False}
    task = build("merge-v0", observation=observation)
    task.reset(seed=0)
    car, obstacle = task.scenario.vehicle, task.scenario.road.objects[0]
    task.scenario.road.vehicles, car.position = [car], obstacle.position - np.array((30.0, 0.0))
    seen = task.step(np.zeros(2, np.float32))[0]["proprio"]
    stock = common.observation.observation_factory(task.scenario, observation).observe()
    assert np.isnan(stock).sum() == 2
    np.testing.assert_array_equal(seen, np.nan_to_num(stock).ravel())


def test_tyres_slip_as_in_highway_env_at_speed() -> None:
    ours, stock = (kind(None, (0.0, 0.0), 0.3, 10.0) for kind in (TyreCar, BicycleVehicle))
    for steering in np.random.default_rng(0).uniform(-0.2, 0.2, 60):
        for car in (ours, stock):
            car.act({"acceleration": 0.5, "steering": steering})
            car.step(1 / 15)
        assert np.allclose(ours.state, stock.state, atol=1e-9)


@pytest.mark.parametrize("speed", [0.4, -0.4])
def test_slow_tyres_roll_like_a_kinematic_car_forward_and_back(speed: float) -> None:
    car = TyreCar(None, (0.0, 0.0), 0.0, speed)
    car.act({"acceleration": 0.0, "steering": 0.1})
    for _ in range(30):
        car.step(1 / 15)
    assert car.yaw_rate == pytest.approx(speed * 0.1 / 5.0, rel=0.02)  # v * steering / wheelbase
    assert car.lateral_speed == pytest.approx(speed * 0.1 / 2, rel=0.02)  # rear axle follows, centre is 2.5 m ahead


def test_tyres_settle_at_every_speed_as_in_small_steps() -> None:
    for speed in np.linspace(-15, 15, 31):
        coarse, fine = (TyreCar(None, (0.0, 0.0), 0.0, speed) for _ in range(2))
        for car, dt in ((coarse, 1 / 10), (fine, 1 / 200)):
            car.act({"acceleration": 0.0, "steering": 0.1})
            for _ in range(round(5 / dt)):
                car.step(dt)
        assert (coarse.yaw_rate, coarse.lateral_speed) == pytest.approx((fine.yaw_rate, fine.lateral_speed), abs=1e-5)


SHIFTS = (FRICTION, FRICTION_FRONT, MASS)
EXTREMES = list(product(*((shift.low, shift.nominal, shift.high) for shift in SHIFTS)))


def shifted_car(values: tuple[float, ...]) -> TyreCar:
    """A car with these values of SHIFTS."""
    task = build("parking-v0", dynamical=True)
    shifts = {shift.name: value for shift, value in zip(SHIFTS, values, strict=True)}
    task.reset(seed=0, options={"parameters": shifts})
    return cast(TyreCar, task.scenario.vehicle)


def growth(car: TyreCar, dt: float) -> NDArray[np.float64]:
    """Matrix by which `dt` [s] change a small lateral speed and yaw rate (2, 2)."""
    small, columns = 1e-4, []
    for state in ((small, 0.0), (0.0, small)):
        car.lateral_speed, car.yaw_rate = state
        car.step(dt)
        columns.append((car.lateral_speed, car.yaw_rate))
    return np.array(columns).T / small


@pytest.mark.parametrize("values", EXTREMES)
def test_fastest_rate_bounds_both_lateral_modes_closely(values: tuple[float, ...]) -> None:
    car, moment = shifted_car(values), 1e-6
    for speed in (-15.0, -4.0, -1.0, 0.0, 0.7, 1.0, 4.0, 9.0, 15.0, 40.0):
        car.speed = speed
        rates = np.linalg.eigvals((growth(car, moment) - np.eye(2)) / moment)
        assert 0.9999 < car.fastest_rate() / np.abs(rates).max() < 1.0001 * np.sqrt(2), speed


@pytest.mark.parametrize("values", EXTREMES)
def test_a_slow_car_stops_sliding_whatever_its_tyres_and_mass(values: tuple[float, ...]) -> None:
    """Where every car does: with the worst of them a slide grows from 1.05 m/s backwards and from 5.5 m/s forward."""
    car = shifted_car(values)
    for speed in np.linspace(-1.0, 4.0, 21):
        car.speed = speed
        assert np.abs(np.linalg.eigvals(growth(car, 1 / 10))).max() < 1, speed

"""The driving plants against highway-env itself, and their tyres against its tyres."""

from typing import Any

import numpy as np
import pytest
from highway_env.envs import common
from highway_env.envs.highway_env import HighwayEnv
from highway_env.envs.parking_env import ParkingEnv
from highway_env.envs.racetrack_env import ConnectedLaneRacetrackEnv
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.dynamics import BicycleVehicle
from numpy.typing import NDArray
from wmctrl_envs import driving
from wmctrl_envs.driving_task import DrivingTask
from wmctrl_envs.driving_vehicles import TyreCar

STEERED: dict[str, Any] = {"type": "ContinuousAction"}


def build(task_id: str, observe: list[str] | None = None, **config: Any) -> DrivingTask:
    task = driving.build(task_id, observe, config=config)
    assert isinstance(task, DrivingTask)
    return task


def gentle(task: DrivingTask, seed: int, steps: int) -> NDArray[np.float32]:
    size = task.action_space.shape or ()
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (steps, *size)).astype(np.float32)


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
        assert np.array_equal(seen, stock.ravel(), equal_nan=True)
    assert len(seen) == len(task.task_spec.proprio)


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


def test_tyres_stay_stable_at_every_speed() -> None:
    for speed in np.linspace(-15, 15, 31):
        car = TyreCar(None, (0.0, 0.0), 0.0, speed)
        car.act({"acceleration": 0.0, "steering": 0.1})
        for _ in range(60):
            car.step(1 / 10)
        assert abs(car.yaw_rate) < 0.5
        assert abs(car.lateral_speed) < 5

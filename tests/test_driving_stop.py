"""What brings a car to rest does, on its road and without a model."""

from typing import Any

import numpy as np
import pytest
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs.task import Task


def stopping(task: Task, proprio: NDArray[np.float32]) -> NDArray[np.float32]:
    """The command (A,) that brings a plant to rest, given its readings (O,)."""
    command = np.zeros(len(task.task_spec.action), np.float32)
    for gain in task.task_spec.safe:
        command[gain.action] += gain.gain * proprio[gain.proprio]
    return np.clip(command, -1.0, 1.0)


def driven(task: Task, seconds: float, throttle: float | None, observation: dict[str, Any]) -> dict[str, Any]:
    """The observation after some time of steering along the road, with a throttle instead of the brake."""
    accelerates = [index for index, action in enumerate(task.task_spec.action) if action.name == "acceleration"]
    for _ in range(round(seconds / task.task_spec.control_period)):
        command = stopping(task, observation["proprio"])
        if throttle is not None:
            command[accelerates] = throttle
        observation, _, terminated, _, info = task.step(command)
        assert not info["failure"]
        assert not terminated
    return observation


@pytest.mark.parametrize("task_id", ["parking-v0", "highway-v0", "merge-v0", "intersection-v1"])
@pytest.mark.parametrize("throttle", [0.6, -0.6])
def test_a_car_that_can_brake_comes_to_rest_and_stays_there(task_id: str, throttle: float) -> None:
    task = wmctrl_envs.make(task_id)
    observation, _ = task.reset(seed=1)
    speed = [element.name for element in task.task_spec.proprio].index("speed")
    observation = driven(task, 1.0, throttle, observation)
    before = abs(observation["proprio"][speed])
    observation = driven(task, 0.4 + before / 5.0, None, observation)  # it brakes by 5 m/s^2
    assert abs(observation["proprio"][speed]) < 0.05
    observation = driven(task, 1.0, None, observation)
    assert abs(observation["proprio"][speed]) < 0.01
    task.close()


@pytest.mark.parametrize(
    ("task_id", "config"),
    [("racetrack-v1", {"other_vehicles": 0}), ("lane-keeping-v0", {})],
    ids=["kinematic", "slips"],
)
def test_a_car_that_only_steers_keeps_to_its_lane(task_id: str, config: dict[str, Any]) -> None:
    task = wmctrl_envs.make(task_id, config=config)
    for seed in range(3):
        observation, _ = task.reset(seed=seed)
        driven(task, 5.0 if task_id == "lane-keeping-v0" else 60.0, None, observation)
    task.close()


def test_a_camera_alone_tells_no_speed_to_brake_by() -> None:
    task = wmctrl_envs.make("parking-v0", observe=["camera", "goal"])
    assert task.task_spec.safe == ()
    task.close()

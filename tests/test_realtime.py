"""A plant on the wall clock steps as it would otherwise, and waits for nobody."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import wmctrl_envs
from wmctrl_envs.realtime import RealtimePlant
from wmctrl_envs.task import PlantError

PATIENCE = 60.0
"""Longest time that a step may take [s]."""


@pytest.fixture(scope="module")
def plant() -> Iterator[RealtimePlant]:
    make = partial(wmctrl_envs.make, "Pendulum-v1")
    task = make()
    made = RealtimePlant(make, task.task_spec, period=0.005)
    task.close()
    yield made
    made.close()
    assert not made.process.is_alive()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.001)


def test_it_stands_still_until_it_is_told_to_run_and_then_does_not_wait(plant: RealtimePlant) -> None:
    plant.reset(3)
    first = plant.read()
    assert first.step == 0
    time.sleep(0.05)
    np.testing.assert_array_equal(plant.read().observation["proprio"], first.observation["proprio"])
    plant.run(time.monotonic())
    until(lambda: plant.read().step >= 5)


def test_it_steps_as_the_task_does_with_the_commands_that_were_there(plant: RealtimePlant) -> None:
    task = wmctrl_envs.make("Pendulum-v1")
    seen, _ = task.reset(seed=4)
    plant.reset(4)
    np.testing.assert_array_equal(plant.read().observation["proprio"], seen["proprio"])
    plant.run(time.monotonic() + 0.02)
    plant.write(np.array([0.5], np.float32))
    until(lambda: plant.result().over)
    result, total, over, steps = plant.result(), 0.0, False, 0
    while not over:
        seen, reward, terminated, truncated, _ = task.step(np.array([0.5], np.float32))
        total, over, steps = total + float(reward), terminated or truncated, steps + 1
    assert (result.steps, result.success, result.failure) == (steps, False, False)
    assert result.reward == pytest.approx(total)
    np.testing.assert_array_equal(plant.read().observation["proprio"], seen["proprio"])


def test_an_episode_starts_again_where_it_is_told_to(plant: RealtimePlant) -> None:
    plant.reset(5)
    plant.run(time.monotonic())
    until(lambda: plant.read().step >= 2)
    plant.reset(5)
    assert plant.read().step == 0
    assert plant.result().reward == 0.0


def broken() -> wmctrl_envs.task.Task:
    raise ValueError("no plant is here")


def test_a_plant_that_cannot_be_made_says_why() -> None:
    spec = wmctrl_envs.make("Pendulum-v1").task_spec
    made = RealtimePlant(broken, spec, 0.01)
    with pytest.raises(PlantError, match="no plant is here"):
        made.reset(0)
    made.close()

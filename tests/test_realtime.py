"""A plant on the wall clock steps as it would otherwise, and waits for nobody."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs.realtime import BEGIN, RUN, RealtimePlant, Shared, _run
from wmctrl_envs.task import PlantError, Task

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


def test_what_is_asked_for_during_an_episode_s_last_step_is_not_lost() -> None:
    task = wmctrl_envs.make("Pendulum-v1", config={"max_steps": 1})
    shared = Shared(task.task_spec)

    class Asked:
        """Steps as a task does, and is told meanwhile to begin anew."""

        def step(self, action: NDArray[np.float32]) -> Any:
            shared.state.value = BEGIN
            return task.step(action)

    task.reset(seed=0)
    shared.state.value = RUN
    _run(cast("Task", Asked()), shared, 0.001)
    assert shared.state.value == BEGIN


def test_an_episode_starts_again_where_it_is_told_to(plant: RealtimePlant) -> None:
    plant.reset(5)
    plant.run(time.monotonic())
    until(lambda: plant.read().step >= 2)
    plant.reset(5)
    assert plant.read().step == 0
    assert plant.result().reward == 0.0


def broken(error: type[Exception]) -> wmctrl_envs.task.Task:
    raise error("no plant is here")


@pytest.mark.parametrize("error", [ValueError, RuntimeError, MemoryError])
def test_a_plant_that_cannot_be_made_says_why(error: type[Exception]) -> None:
    spec = wmctrl_envs.make("Pendulum-v1").task_spec
    made = RealtimePlant(partial(broken, error), spec, 0.01)
    with pytest.raises(PlantError, match="no plant is here"):
        made.reset(0)
    made.close()


def test_a_plant_whose_process_is_killed_is_not_taken_for_one_that_stands_still() -> None:
    make = partial(wmctrl_envs.make, "Pendulum-v1")
    made = RealtimePlant(make, make().task_spec, 0.01)
    made.reset(0)
    made.run(time.monotonic())
    made.result()
    made.process.kill()
    made.process.join()
    with pytest.raises(PlantError, match="Pendulum-v1 died, with exit code -9"):
        made.result()
    made.close()

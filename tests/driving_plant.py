"""A driving plant for a test, and actions that keep it on the road for a while."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmctrl_envs import driving
from wmctrl_envs.driving_task import DrivingTask


def build(task_id: str, observe: list[str] | None = None, **config: Any) -> DrivingTask:
    """A driving task, with differences from its configuration."""
    task = driving.build(task_id, observe, config=config)
    assert isinstance(task, DrivingTask)
    return task


def gentle(task: DrivingTask, seed: int, steps: int) -> NDArray[np.float32]:
    """Random actions of at most 0.3 (steps, A)."""
    size = task.action_space.shape or ()
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (steps, *size)).astype(np.float32)

"""All tasks by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from wmctrl_envs.task import Task


def catalogue() -> dict[str, str]:
    """Curated tasks with a line on each; any other Gymnasium id with a box action can be made too."""
    from wmctrl_envs import driving, robotics

    return robotics.IDS | driving.IDS


def make(
    task_id: str,
    observe: Sequence[str] | None = None,
    camera_size: int = 64,
    config: Mapping[str, Any] | None = None,
) -> Task:
    """The task of a curated name or of any Gymnasium id, such as `package.module:Env-v0`.

    Args:
        observe: Parts of the observation among `proprio`, `camera` and `goal`; None for every vector part the task
            has. A goal left out can be seen in the picture only.
        camera_size: Height and width of the camera's picture [pixels].
        config: Further keyword arguments or configuration entries of the environment, and `max_steps`.

    Raises:
        ValueError: An unknown id, part or configuration key, or an environment that cannot be driven.
    """
    from wmctrl_envs import driving, generic, robotics

    if task_id in robotics.IDS:
        return robotics.build(task_id, observe, camera_size, config or {})
    if task_id in driving.IDS:
        return driving.build(task_id, observe, camera_size, config or {})
    return generic.build(task_id, observe, camera_size, config or {}, known=tuple(catalogue()))

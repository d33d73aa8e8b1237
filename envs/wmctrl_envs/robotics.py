"""Curated robotics tasks."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from wmctrl_envs import arms, fetch, locomotion
from wmctrl_envs.camera import draw_off_screen
from wmctrl_envs.task import Task

_RECIPES = fetch.RECIPES | locomotion.RECIPES | arms.RECIPES
IDS = {task_id: recipe.description for task_id, recipe in _RECIPES.items()}
"""Curated tasks with a line on each."""


def build(task_id: str, observe: Sequence[str] | None, camera_size: int, config: Mapping[str, Any]) -> Task:
    """A curated task; `config` holds keyword arguments of its environment, and `max_steps`."""
    draw_off_screen()
    if task_id in fetch.RECIPES:
        _import_robotics()
    return _RECIPES[task_id].build(task_id, observe, camera_size, config)


def _import_robotics() -> None:
    # The package announces news about tasks other than these on stderr when it is imported.
    with contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics  # noqa: F401  # importing it registers the Fetch tasks

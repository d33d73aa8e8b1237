"""A run's settings: which task, and what learns it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wmctrl.config_files import read_yaml, shipped, updated, with_overrides
from wmctrl.learning.agent import AgentConfig
from wmctrl.learning.plants import CollectConfig
from wmctrl.learning.replay import ReplayConfig
from wmctrl.learning.train import Schedule


@dataclass(frozen=True)
class TaskConfig:
    """Which plant, and what of it is observed."""

    id: str
    observe: tuple[str, ...] | None = None
    """Some of `proprio`, `camera` and `goal`; without `goal`, the goal is only in the picture. None: every vector."""
    camera_size: int = 64
    """Height and width of the picture."""
    config: dict[str, Any] = field(default_factory=dict)
    """Entries of the environment's own configuration, such as vehicles_count of highway-v0."""


@dataclass(frozen=True)
class Config:
    """Everything that decides how a run turns out, its seed apart."""

    task: TaskConfig
    agent: AgentConfig = field(default_factory=AgentConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    schedule: Schedule = field(default_factory=Schedule)


def resolve(task: str, file: Path | None = None, overrides: tuple[str, ...] = ()) -> Config:
    """Defaults, then the task's shipped settings or the given file, then `a.b=c` overrides.

    Raises:
        ValueError: Unknown setting or wrong type, with the file and the nearest known name; or a file for another task.
    """
    config = Config(TaskConfig(task))
    path = file or shipped("configs") / f"{task}.yaml"
    if file is not None or path.exists():
        config = updated(config, read_yaml(path), str(path))
        if config.task.id != task:
            raise ValueError(f"{path}: task.id is {config.task.id}, --env asks for {task}; leave one of them out")
    return with_overrides(config, overrides)

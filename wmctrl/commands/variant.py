"""A run that drives otherwise than it learned: what may differ, and where what comes of it is kept."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wmctrl.commands import training
from wmctrl.config import Config
from wmctrl.config_files import to_mapping, with_overrides


def planning_otherwise(config: Config, overrides: Sequence[str]) -> Config:
    """A run's settings with `a.b=c` differences that what was learned does not depend on.

    Raises:
        ValueError: There is no such setting, or what was learned depends on it.
    """
    if not overrides:
        return config
    changed = with_overrides(config, overrides)
    free = {name: getattr(config.agent, name) for name in ("planner", "objective", "proposals")}
    if dataclasses.replace(changed, agent=dataclasses.replace(changed.agent, **free)) != config:
        raise ValueError("--set can change agent.planner, agent.objective and agent.proposals of what has learned")
    training.require_taught(changed.agent)
    return changed


def differences(learned: Config, planned: Config) -> list[str]:
    """Settings that are planned with and differ from those that were learned with, such as `planner.samples=64`."""
    return [*_differences(to_mapping(learned.agent), to_mapping(planned.agent))]


def _differences(learned: Mapping[str, Any], planned: Mapping[str, Any], group: str = "") -> Iterator[str]:
    for name, value in planned.items():
        if isinstance(value, Mapping):
            yield from _differences(learned[name], value, f"{group}{name}.")
        elif value != learned[name]:
            yield f"{group}{name}={value}"


def place(run: Path, changed: Sequence[str]) -> Path:
    """Where what drives with some differences, and what came of it, is kept: with the run, where there are none."""
    return run / "-".join(["eval", *changed]) if changed else run

"""The folder of a run: what is needed to repeat it, written once, found again, and used by one process at a time."""

import fcntl
import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wmctrl.commands import provenance
from wmctrl.config import Config
from wmctrl.config_files import from_mapping, read_yaml, to_mapping, to_yaml
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.runtime.files import write_atomic


def begin(config: Config, seed: int, device: str, root: Path, recorded: Path | None) -> Path:
    """Make a run's folder with what is needed to repeat it, and return its path."""
    folder = _new_folder(_home(config.task.id, root), f"{time.strftime('%Y%m%d-%H%M%S')}-s{seed}")
    facts = {
        "seed": seed,
        "device": device,
        "recorded": None if recorded is None else str(recorded.resolve()),
        "command": provenance.command_line(),
        "python": platform.python_version(),
        "machine": platform.platform(),
        **provenance.made_by(),
    }
    write_atomic(folder / "config.yaml", to_yaml(config).encode())
    write_atomic(folder / "run.json", json.dumps(facts, indent=1).encode())
    return folder


def _home(task: str, root: Path) -> Path:
    """Where a task's runs are."""
    return root / task.replace(":", "-")


def _new_folder(home: Path, name: str) -> Path:
    """A new folder of this name, or of `name-2` and so on where another run began in the same second."""
    folder, number = home / name, 1
    while folder.exists():
        number += 1
        folder = home / f"{name}-{number}"
    folder.mkdir(parents=True)
    return folder


def open_run(folder: Path) -> tuple[Config, dict[str, Any]]:
    """Settings and facts of a run.

    Raises:
        ValueError: The folder is not a run, or its facts are damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder} is not a run (it has no run.json); runs are in runs/<task>/")
    config = from_mapping(Config, read_yaml(folder / "config.yaml"), str(folder / "config.yaml"))
    try:
        facts = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from a backup or start again") from error
    return config, facts


def extend(folder: Path, steps: int) -> None:
    """Give a run more environment steps in all, for a resumed training to do.

    Nothing that is learned depends on how many there are in all, so it becomes, bit for bit, the run that had as many
    from the start.

    Raises:
        ValueError: It has as many already, is no run, or is being trained.
    """
    config, _ = open_run(folder)
    if steps <= config.schedule.steps:
        raise ValueError(
            f"--steps must be more than the {config.schedule.steps:,} that {folder} has, came {steps:,}; leave it out"
            " to go on with those"
        )
    longer = replace(config, schedule=replace(config.schedule, steps=steps))
    with alone_with(folder):
        write_atomic(folder / "config.yaml", to_yaml(longer).encode())


def newest_run(config: Config, seed: int, root: Path, *, whatever_looks: bool = False) -> Path | None:
    """The newest run of these settings and this seed by this code and these versions, where there is one.

    Args:
        whatever_looks: However often it looked at itself, which nothing that is learned depends on.
    """
    compared = _unseen if whatever_looks else lambda same: same
    wanted = {"seed": seed, "recorded": None, **provenance.made_by()}
    for path in sorted(_home(config.task.id, root).glob("*/run.json"), reverse=True):
        try:
            theirs, facts = open_run(path.parent)
        except ValueError:  # another version's run, with settings that this one does not have
            continue
        if compared(theirs) == compared(config) and wanted.items() <= facts.items():
            return path.parent
    return None


def _unseen(config: Config) -> Config:
    """Settings of a run that never looks."""
    return replace(config, schedule=replace(config.schedule, evaluate_every=0, evaluate_episodes=1))


def begun_otherwise(folder: Path) -> bool:
    """Whether a run was begun by other code or versions, so that it does not go on bit for bit."""
    _, facts = open_run(folder)
    return not provenance.made_by().items() <= facts.items()


def recorded_replay(folder: Path, config: Config) -> CheckpointFolder:
    """The opened checkpoint of a run whose replay fits these settings.

    Raises:
        ValueError: It is no run, or recorded another task or other parts of it.
    """
    theirs, _ = open_run(folder)
    recorded, wanted = _recorded_settings(theirs), _recorded_settings(config)
    for name, value in recorded.items():
        if wanted[name] != value:
            raise ValueError(f"{folder} was recorded with {name}={value}, this run has {wanted[name]}; give the same")
    checkpoint = CheckpointFolder(folder / "checkpoint")
    checkpoint.open()
    return checkpoint


def _recorded_settings(config: Config) -> dict[str, Any]:
    """The settings on which it depends what is recorded."""
    return {f"task.{name}": value for name, value in to_mapping(config.task).items()} | {
        "collect.plants": config.collect.plants
    }


@contextmanager
def alone_with(folder: Path) -> Iterator[None]:
    """Keep other processes from training the same run.

    Raises:
        ValueError: One does already.
    """
    with (folder / "run.json").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the system however the process ends
        except BlockingIOError:
            raise ValueError(f"{folder} is being trained by another process; stop that one first") from None
        yield

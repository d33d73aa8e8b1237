"""What `wm run` does: a bundle drives its plant through the same runtime as on a board, and people watch."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from wmctrl_envs.task import Task

from wmctrl.commands import archive, evaluation, exporting, training
from wmctrl.commands.bundle_driver import BundleDriver
from wmctrl.commands.intervals import in_digits
from wmctrl.commands.keyboard import Panel
from wmctrl.commands.video import film
from wmctrl.config import TaskConfig
from wmctrl.learning.evaluate import Outcome, drive_episode
from wmctrl.runtime import json_file, manifest, plant
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.latency import Latency


@dataclass(frozen=True)
class Drive:
    """An episode as a bundle drove it."""

    outcome: Outcome
    latency: Latency
    """Of its decisions."""


def load(
    folder: Path, *, policy_only: bool, provider: str | None, threads: int | None, public_key_hex: str | None
) -> Controller:
    """The controller in a bundle's folder, or in that of the run that holds it.

    Raises:
        ValueError: There is no bundle, it is refused, or it holds no policy to react with.
    """
    found = Controller.load(
        bundle_in(folder), provider=provider, threads=threads, public_key_hex=public_key_hex, in_time=False
    )
    if not policy_only:
        return found
    if "policy" not in found.bundle.manifest.graphs:
        raise ValueError("this bundle holds no policy; leave out --policy, or train with agent.learn_behavior=true")
    return Controller(found.bundle, found.engine, policy_only=True)


def drive(
    controller: Controller, episodes: int, seed: int, shown: Path | None, env: str | None = None
) -> Iterator[Drive]:
    """Drive episodes with a bundle, a live line beside, whose keys change what for; the last one is filmed.

    Args:
        shown: Where the film goes; None films nothing.
        env: The task, for those that are not ours to import.

    Raises:
        ValueError: The bundle was made for another task, or another version of it.
    """
    with contextlib.closing(matching_task(controller.bundle.manifest.task, env)) as task:
        panel = Panel(controller)
        driver = BundleDriver(controller, panel.goal.wanted)
        for number in range(episodes):
            pictures: list[NDArray[np.uint8]] = []
            filmed = shown is not None and number == episodes - 1
            with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live, panel.listening():

                def watch(task: Task, live: Live = live, pictures: list[Any] = pictures, filmed: bool = filmed) -> None:
                    if live.console.is_interactive:  # elsewhere its last line would run into what is printed next
                        live.update(line(driver, task) + panel.line())
                    if filmed:
                        pictures.append(evaluation.picture(task))

                episode = drive_episode(driver, task, seed, number, watch)
            if shown is not None and pictures:
                write_atomic(shown, film(pictures, task.task_spec.control_period))
            yield Drive(episode.outcome, Latency.of(episode.seconds))


def bundle_in(folder: Path) -> Path:
    """The bundle's folder: the given one, that of the given run, archive, or controller that comes with the package.

    Raises:
        ValueError: There is none; says how to write one where it is a run.
    """
    if not folder.exists() and folder.name == str(folder):
        folder = archive.path_of(folder.name)
    if folder.name.endswith(archive.ENDING) and folder.is_file():
        return archive.unpacked(folder)
    for found in (folder, folder / exporting.FOLDER):
        if (found / manifest.NAME).exists():
            return found
    if (folder / "run.json").exists():
        raise ValueError(f"{folder} holds no bundle yet; write it with `wm export {folder}`")
    raise ValueError(
        f"{folder} is neither a bundle (it has no {manifest.NAME}) nor a run (no run.json); name the folder of one,"
        " runs are in runs/<task>/"
    )


def require_filmable(path: Path) -> None:
    """Refuse a film's place before anything is driven for it.

    Raises:
        ValueError: It names another format, or is in no folder.
    """
    if path.suffix != ".webp":
        raise ValueError(f"--film writes animated WebP and must end in .webp, came {path}")
    if not path.parent.is_dir():
        raise ValueError(f"--film: there is no folder {path.parent}; make it first")


def require_known(told: str, env: str | None) -> None:
    """Refuse to import whatever module a stranger's bundle names, unless the one who drives names it too.

    Raises:
        ValueError: It names one, or another task than the given one.
    """
    if env is not None and env != told:
        raise ValueError(f"this bundle drives {told}, not {env}")
    if env is None and ":" in told:
        raise ValueError(f"{told} imports a module that the bundle names; if you know it, add --env {told}")


def matching_task(told: plant.Task, env: str | None = None) -> Task:
    """The plant that a bundle was made for.

    Args:
        env: The task as whoever drives names it, for those that are not ours to import.

    Raises:
        ValueError: It is one of those and was not named, or observes or commands something else by now.
    """
    require_known(told.id, env)
    settings = settings_of(told)
    task = training.make_task(settings)
    if exporting.task_of(task.task_spec, settings) != told:
        task.close()
        raise ValueError(f"{told.id} observes or commands other elements than this bundle; export its run again")
    return task


def settings_of(told: plant.Task) -> TaskConfig:
    """The settings of the plant that a bundle was made for."""
    config = {name: entry(name, value) for name, value in told.config.items()}
    return TaskConfig(told.id, told.observe, told.camera[0] if told.camera else 64, config)


def entry(name: str, text: str) -> Any:
    """An entry of the environment's configuration as a manifest tells it.

    Raises:
        ValueError: It is not JSON, or deeper than anything of ours.
    """
    found = json_file.parse(f'{{"value": {text}}}'.encode(), f"task.config.{name}")
    if len(found) > 1:
        raise ValueError(f"task.config.{name}: holds more than one value")
    return found["value"]


def line(driver: BundleDriver, task: Task) -> str:
    """How an episode stands, such as `step 120, 4.1 ms a decision (p99 6.0) of 40, surprise 3.2`."""
    if not driver.decisions:
        return f"{task.task_spec.id} starts"
    taken = Latency.of([action.seconds for action in driver.decisions])
    last, period = driver.decisions[-1], 1000.0 * task.task_spec.control_period
    return (
        f"step {len(driver.decisions)}, {taken.p50:.1f} ms a decision (p99 {taken.p99:.1f}) of {period:.0f},"
        f" surprise {'none' if last.surprise is None else in_digits(last.surprise)} nats, by {last.source}"
    )

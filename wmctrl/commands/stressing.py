"""What `wm stress` does: courses over shifts, arms and seeds in several processes, kept one by one."""

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from wmctrl_envs.suggestion import refuse_unknown

from wmctrl.commands import driving, evaluation, provenance
from wmctrl.commands.stopping import end_with_parent
from wmctrl.commands.video import RATE, film
from wmctrl.config_files import from_mapping, nearest, read_yaml, shipped, to_yaml
from wmctrl.runtime import bundle, json_file, manifest
from wmctrl.runtime.adaptation import Event
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import read_bounded, write_atomic
from wmctrl.runtime.keeping import origin_of
from wmctrl.runtime.plant import Task
from wmctrl.stress import course
from wmctrl.stress.arms import ARMS
from wmctrl.stress.course import Course, Episode, Trace
from wmctrl.stress.suite import Suite

SUITES = Path("configs/stress")
"""Folder of the suites that travel with the package."""
COURSES = Path(course.__file__).parent
"""Sources that decide how a course goes, beside those that decide how a run does."""
FROZEN = "frozen"
LARGEST = 4 << 20
"""Bytes of a kept course."""
LONGEST_FILM = 10.0
"""Of a course [s]."""


class Cell(NamedTuple):
    """One course of a suite."""

    shift: str
    arm: str
    seed: int

    @property
    def file(self) -> str:
        """Where it is kept."""
        plain = "".join(letter if letter.isalnum() else "-" for letter in f"{self.shift}-{self.arm}")
        digest = hashlib.sha256(repr(tuple(self)).encode()).hexdigest()[:8]  # names may differ in what is not plain
        return f"{plain}-s{self.seed}-{digest}.json"

    @property
    def film(self) -> str:
        """Where its film is kept, if there is one."""
        return f"{self.file.removesuffix('.json')}.webp"


@dataclasses.dataclass(frozen=True)
class Tasks:
    """What a suite's file says of each task alone."""

    tasks: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


def suite_of(given: str, task: str) -> Suite:
    """A suite from a YAML file, or one by name that travels with the package, as far as it is for a task.

    Raises:
        ValueError: There is no such suite, it is broken, or has nothing for the task.
    """
    path = Path(given)
    if not path.suffix:
        names = [one.stem for one in sorted(shipped(str(SUITES)).glob("*.yaml"))]
        if given not in names:
            raise ValueError(f"there is no suite {given}; {nearest(given, names)}, or name a YAML file")
        path = shipped(str(SUITES)) / f"{given}.yaml"
    content = read_yaml(path)
    tasks = from_mapping(Tasks, {"tasks": content.pop("tasks", {})}, str(path)).tasks
    if task not in tasks:
        raise ValueError(f"{path}: tasks has nothing for {task}; known: {', '.join(tasks) or 'none'}")
    return from_mapping(Suite, content | tasks[task], f"{path}: {task}")


class Rival(NamedTuple):
    """Another controller of the same task, which is driven beside and learns nothing."""

    arm: str
    """What it is called."""
    shift: str | None
    """The shift it is for; None is for all."""
    folder: Path
    """Of its bundle, or of its run."""

    @classmethod
    def of(cls, text: str) -> "Rival":
        """One told as NAME=FOLDER or NAME@SHIFT=FOLDER.

        Raises:
            ValueError: It is told otherwise, or named as a way to learn is.
        """
        named, separator, folder = text.partition("=")
        arm, _, shift = named.partition("@")
        if not (separator and arm and folder) or named.endswith("@") or arm in ARMS:
            raise ValueError(
                f"--rival takes NAME=FOLDER or NAME@SHIFT=FOLDER, under a name that no arm has, came {text!r}"
            )
        return cls(arm, shift or None, Path(folder))


def cells(suite: Suite, rivals: Sequence[Rival] = ()) -> list[Cell]:
    """All courses of a suite; those that learn nothing come first, for the others are held against them."""
    refuse_unknown("arm", suite.arms, ARMS)
    refuse_unknown("shift", [rival.shift for rival in rivals if rival.shift], suite.shifts)
    arms = dict.fromkeys([FROZEN, *(rival.arm for rival in rivals), *suite.arms])
    for_all = {*ARMS, *(rival.arm for rival in rivals if rival.shift is None)}
    for_one = {(rival.arm, rival.shift) for rival in rivals}
    return [
        Cell(shift, arm, seed)
        for arm in arms
        for shift in suite.shifts
        for seed in suite.seeds
        if arm in for_all or (arm, shift) in for_one
    ]


def run(
    folder: Path, suite: Suite, kept: Path, processes: int, env: str | None, rivals: Sequence[Rival] = ()
) -> Iterator[tuple[Cell, Trace]]:
    """Drive every course of a suite that is not kept yet, and tell of each as it is over.

    Args:
        folder: Of a bundle that can learn, or of its run.
        kept: Folder of the courses.
        env: The task, for those that are not ours to import.
        rivals: Controllers that are driven beside; one for a shift goes before one of that name for all.

    Raises:
        ValueError: The bundle cannot learn, a shift is not one of its task, or a rival is not to be driven on it.
    """
    place = driving.bundle_in(folder)
    held = bundle.load(place, learning=True)
    if not held.parameters and set(suite.arms) - {FROZEN}:
        raise ValueError(f"{place} cannot learn; write it with `wm export {folder} --learn`")
    with contextlib.closing(driving.matching_task(held.manifest.task, env)) as task:
        suite.require_known({parameter.name: parameter for parameter in task.task_spec.parameters})
    wanted, settings = dict[Cell, Path](), {}
    places = _places(rivals, held.manifest.task)
    origins = {one: origin_of((one / manifest.NAME).read_bytes()) for one in {place, *places.values()}}
    for cell in cells(suite, rivals):
        driven = places.get((cell.arm, cell.shift)) or places.get((cell.arm, None)) or place
        settings[cell] = _settings(origins[driven], suite, cell)
        found = read(kept / cell.file, settings[cell])
        if found is None:
            wanted[cell] = driven
        else:
            yield cell, found
    if not wanted:
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(processes, len(wanted)), initializer=end_with_parent) as pool:
        for cell, trace, filmed in pool.imap_unordered(partial(_driven, suite), wanted.items()):
            write_film(kept, cell, filmed)
            write(kept / cell.file, trace, settings[cell])
            yield cell, trace


def _places(rivals: Sequence[Rival], task: Task) -> dict[tuple[str, str | None], Path]:
    """Folders of rivals' bundles by what they are called and for, all of them sound.

    Raises:
        ValueError: One is damaged, drives another task, or is called and for what another is.
    """
    found: dict[tuple[str, str | None], Path] = {}
    for arm, shift, folder in rivals:
        if (arm, shift) in found:
            raise ValueError(f"--rival {arm}: is told twice; give each a name of its own")
        found[arm, shift] = driving.bundle_in(folder)
        theirs = bundle.load(found[arm, shift]).manifest.task
        if (theirs.id, theirs.config) != (task.id, task.config):
            raise ValueError(f"{folder} drives {theirs.id} {theirs.config}, not {task.id} {task.config}")
    return found


def _settings(origin: str, suite: Suite, cell: Cell) -> str:
    """What tells a course of a bundle and suite from others."""
    alone = dataclasses.replace(suite, arms=(cell.arm,), seeds=(cell.seed,))  # others change nothing of this one
    asked = f"{to_yaml(alone)}{cell}{provenance.versions()}{provenance.code(COURSES)}"
    return hashlib.sha256(f"{origin}{asked}".encode()).hexdigest()


class Camera:
    """Films an episode late in a change, as much of it as a short film has."""

    def __init__(self, period: float) -> None:
        """
        Args:
            period: Between two steps [s].
        """
        self.every = max(1, round(1.0 / (RATE * period)))
        self.period, self.seen, self.pictures = period * self.every, 0, list[NDArray[np.uint8]]()
        self.episode: int | None = None
        """The one that is filmed."""

    def __call__(self, course: Course) -> None:
        """Look at the plant, if it can be seen, in the first episode that begins late in the change."""
        if not (course.phase == "shifted" and course.closing and self.episode in (None, len(course.episodes))):
            return
        self.episode = len(course.episodes)
        if self.seen % self.every == 0 and len(self.pictures) < LONGEST_FILM * RATE:
            with contextlib.suppress(ValueError, OSError):
                self.pictures.append(evaluation.picture(course.task))
        self.seen += 1

    def film(self) -> bytes:
        """What was seen; nothing where nothing was."""
        return film(self.pictures, self.period) if self.pictures else b""


def _driven(suite: Suite, asked: tuple[Cell, Path]) -> tuple[Cell, Trace, bytes]:
    """A course of the bundle in a folder, in a process of its own, and a film of the first seed's."""
    cell, place = asked
    trace, filmed = driven(suite, cell, place)
    return cell, trace, filmed


def driven(
    suite: Suite,
    cell: Cell,
    place: Path,
    watch: Callable[[Course], None] = lambda course: None,
    budget: float | None = None,
) -> tuple[Trace, bytes]:
    """A course of the bundle in a folder, and a film of it if its seed is the first; nothing where nothing is seen.

    Args:
        watch: Looks on at every observation.
        budget: Time for a decision [s]; None leaves the controller all it takes.
    """
    controller = Controller.load(place, provider="cpu", in_time=False)
    arm = ARMS.get(cell.arm)
    told = controller.bundle.manifest.task
    with contextlib.closing(driving.matching_task(told, told.id)) as task:  # checked before any course began
        camera = Camera(task.task_spec.control_period) if cell.seed == suite.seeds[0] else None

        def look(course: Course) -> None:
            if camera is not None:
                camera(course)
            watch(course)

        adapter = None if arm is None else arm.adapter(controller)
        trace = Course(controller, task, adapter, cell.seed, look, budget).drive(suite, suite.shift(cell.shift))
    return trace, b"" if camera is None else camera.film()


def write_film(folder: Path, cell: Cell, film: bytes) -> None:
    """Keep a course's film in place of an earlier one; none where it is empty."""
    (folder / cell.film).unlink(missing_ok=True)
    if film:
        write_atomic(folder / cell.film, film)


def write(path: Path, trace: Trace, settings: str) -> None:
    """Keep a course."""
    content = {"settings": settings, **provenance.made_by(), **dataclasses.asdict(trace)}
    content["events"] = [event._asdict() for event in trace.events]
    write_atomic(path, json.dumps(content, indent=1).encode())


def read(path: Path, settings: str) -> Trace | None:
    """A course that was kept; None where there is none of these settings."""
    if not path.exists():
        return None
    content = json_file.parse(read_bounded(path, LARGEST), path.name)
    if content.get("settings") != settings:
        return None
    episodes = tuple(Episode(**one) for one in content["episodes"])
    events = tuple(Event(**one) for one in content["events"])
    return Trace(episodes, events, tuple(content["phases"]), tuple(content["surprises"]), content["seconds"])

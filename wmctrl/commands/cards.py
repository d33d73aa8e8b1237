"""Cards of the controllers that come with the package: what was measured of each, and what only people can tell."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmctrl.commands import archive
from wmctrl.commands.intervals import FIGURES, Estimate, cells, in_digits, shown
from wmctrl.config_files import from_mapping, read_yaml, shipped
from wmctrl.runtime import json_file
from wmctrl.runtime.files import read_bounded, write_atomic

SCHEMA = 1
LARGEST = 1 << 20
"""Bytes of a card."""
JUDGED = ("success", "failure", "return")
"""What must come out within the card's intervals when it is measured again."""
COLUMNS = ("", "episodes", *FIGURES, "ms/decision, p50 (p99)")
"""What a table tells of those who drive."""
PLANNER = "controller"


@dataclass(frozen=True)
class Story:
    """What only people can tell of a controller, in `NAME.yaml` beside its archive."""

    learned: str
    """From how much, and how long that took."""
    trained_over: str
    """Which shifts of the plant it has seen."""
    reproduce: tuple[str, ...]
    """The commands that make it."""
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """How a controller drives, beside random actions; of one that comes with the package it is kept in `NAME.json`."""

    schema: int
    task: str
    bundle: str
    """SHA-256 of its manifest, which tells every other file's."""
    seeds: Sequence[int]
    """Of every episode."""
    command: Sequence[str]
    versions: Mapping[str, str]
    drivers: Mapping[str, Mapping[str, Any]]
    """Figures, timing and episodes of each, as `wm eval` keeps them."""

    def figures(self, driver: str = PLANNER) -> dict[str, Estimate]:
        """Figures with their 95 % intervals."""
        return {name: Estimate(**figure) for name, figure in self.drivers[driver]["figures"].items()}

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Rows under COLUMNS."""
        for driver, told in self.drivers.items():
            took = f"{told['timing']['ms_p50']:.1f} ({told['timing']['ms_p99']:.1f})" if driver == PLANNER else ""
            yield (driver, str(len(told["episodes"])), *cells(self.figures(driver)), took)

    def deviations(self, again: "Measured") -> list[str]:
        """Which figures did not come out within their intervals when it was measured again."""
        found = again.figures()
        return [
            f"{name} {in_digits(found[name].value)} instead of {shown(name, figure)}"
            for name, figure in self.figures().items()
            if name in JUDGED and not figure.low <= found[name].value <= figure.high
        ]


def story(name: str) -> Story:
    """What people tell of a controller that comes with the package.

    Raises:
        ValueError: There is none of this name, or its file is not as it should be.
    """
    path = _beside(name, ".yaml")
    return from_mapping(Story, read_yaml(path), str(path))


def card(name: str) -> Measured:
    """What was measured of a controller that comes with the package.

    Raises:
        ValueError: There is none of this name, or its file is not as it should be.
    """
    path = _beside(name, ".json")
    held = json_file.parse(read_bounded(path, LARGEST), str(path))
    if held.get("schema") != SCHEMA:
        raise ValueError(f"{path}: is of another version; write it anew with `wm eval {name} --card`")
    try:
        return Measured(**held)
    except TypeError as error:
        raise ValueError(f"{path}: {error}; write it anew with `wm eval {name} --card`") from None


def keep(name: str, found: Measured) -> Path:
    """Write what was measured of a controller that comes with the package."""
    path = _beside(name, ".json")
    write_atomic(path, json.dumps(dataclasses.asdict(found), indent=1).encode())
    return path


def _beside(name: str, ending: str) -> Path:
    """A file beside the archive of a controller that comes with the package."""
    archive.path_of(name)
    return shipped(archive.SHIPPED) / f"{name}{ending}"

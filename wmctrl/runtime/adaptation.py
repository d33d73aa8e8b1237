"""How a controller learns while it drives, by whom, and how that stands."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.actuation import LONGEST_DELAY, Actuation
from wmctrl.runtime.arguments import hold_whole
from wmctrl.runtime.descent import Parameters
from wmctrl.runtime.experience import Columns

MOST = 10_000_000
"""Of whatever is counted."""


@dataclass(frozen=True)
class Adaptation:
    """How a controller learns while it drives."""

    replay: float = 0.5
    """Share of stored sequences in a batch, the rest being new."""
    most_replay: float = 0.9
    """What it rises to where the first plant is being forgotten."""
    calibrate: bool = True
    """Find out what commands do to a plant that has changed, before anything else is learned of it."""
    learn: bool = True
    """Learn the parameters of the model."""
    behavior: bool = True
    """Learn actor and critic as well, where the bundle has them."""
    gate: bool = True
    """Drive only by what proved better; otherwise by whatever was learned last."""
    always: bool = False
    """Learn whether or not anything has changed."""
    capacity: int = 20_000
    """Steps that are remembered."""
    fresh: int = 50
    """Steps recorded after what was learned, on which it is judged."""
    updates: int = 20
    """Of the model, at least, before it is judged."""
    better: float = 0.05
    """Share by which the errors of what was learned must be smaller for it to drive."""
    clearly: float = 0.2
    """Share by which those of a calibration or of a known plant must be: now and then nobody foresees what comes."""
    far: float = 0.5
    """Share by which those of a known plant must be where no alarm tells that anything has changed."""
    worse: float = 2.0
    """How many times as large as on the first plant errors must be for its parameters to be left for learned ones.

    And how many times as large they may be for a plant to be recognised without an alarm.
    """
    forgotten: float = 0.1
    """Share by which errors on the first plant may be larger."""
    consolidated: int = 300
    """Steps without an alarm, and without anything better, after which what was learned is consolidated."""
    regimes: int = 8
    """Plants that are remembered, the first one included."""

    def __post_init__(self) -> None:
        for name, least in {"capacity": 1, "fresh": 1, "updates": 1, "consolidated": 1, "regimes": 2}.items():
            hold_whole(name, getattr(self, name), least, MOST)
        for name in ("replay", "most_replay"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be from 0 to 1, came {getattr(self, name):g}")

    def hold_room(self, length: int, telling: int) -> None:
        """Refuse to remember, or to wait for, fewer steps than are learned from.

        Args:
            length: Steps of a sequence that is learned from.
            telling: Steps that tell what commands do.

        Raises:
            ValueError: Names what is too small.
        """
        sequence = length + LONGEST_DELAY
        hold_whole("capacity", self.capacity, telling + sequence + self.fresh, MOST)
        hold_whole("consolidated", self.consolidated, sequence, MOST)


class Drives(Protocol):
    """What drives, and can with other parameters."""

    @property
    def actuation(self) -> Actuation:
        """What is known of what commands do."""

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of those that it takes."""

    def prepared(self, values: Parameters) -> Any:
        """Parameters as it takes them."""

    def take(self, prepared: Any, actuation: Actuation) -> None:
        """Drive with prepared parameters from now on, commands doing what is told."""


class Learns(Protocol):
    """What improves parameters by sequences."""

    sequences: int
    length: int
    generator: np.random.Generator
    parameters: Parameters

    @property
    def averaged(self) -> Parameters:
        """The running average of its parameters, which is what may drive."""

    @property
    def importance(self) -> Parameters:
        """How much each parameter matters to what is held on to."""

    def restart(self, parameters: Parameters, importance: Parameters | None) -> None:
        """Go on from other parameters, and hold on to them by how much they matter, where that is told."""

    def update(self, batch: Columns) -> float:
        """Learn from sequences (B, T, ...); refuses what is not finite by a ValueError."""

    def holds(self, driving: Parameters, batch: Columns) -> bool:
        """Whether what was learned is imagined to drive sequences (B, T, ...) no worse than what drives."""

    def consolidate(self, sequences: Columns) -> None:
        """Hold on to what is known of sequences (n, T, ...)."""


class Judges(Protocol):
    """What tells how badly parameters foresee recorded steps."""

    def error(self, parameters: Parameters, steps: Columns, since: int = 0) -> float:
        """Of the steps from one on; infinite where it cannot be told."""

    def residuals(self, parameters: Parameters, steps: Columns) -> NDArray[np.float32]:
        """Errors (n, O) of what parameters foresee a few steps ahead of recorded ones, in standard deviations."""


class Event(NamedTuple):
    """Something that happened to what is known."""

    step: int
    what: str
    """alarm, calibrated, promoted, kept, rolled back, recognised, consolidated or refused."""
    detail: str


class Alarm(NamedTuple):
    """Drift that was noticed."""

    step: int
    since: int
    """Step after which it seems to have begun."""


@dataclass(eq=False)
class Regime:
    """A plant that is known; told from others by identity, for two may have the same parameters."""

    parameters: Parameters
    actuation: Actuation
    """What commands do to it."""
    importance: Parameters | None = None
    """How much each of them matters to it; None before it is consolidated."""


@dataclass
class AdaptationState:
    """How learning stands."""

    learning: bool = False
    since: int = 0
    """Step of the change that is being learned."""
    untried: int | None = None
    """Step of a change on which the plants that are known were not tried yet."""
    uncalibrated: int | None = None
    """Step of a change since which what commands do was not found out yet."""
    frontier: int = 0
    """Steps before it are learned from, those after it judge."""
    updates: int = 0
    """Since what is learned was judged last."""
    looked: int = 0
    """Step at which the plants that are known were compared last without an alarm."""
    compared: bool = False
    """Whether the last piece of work was to compare them."""
    last_alarm: int = 0
    """Step of the last alarm."""
    promoted: int = 0
    """Step at which what drives began to."""
    replay: float = 0.5
    events: list[Event] = field(default_factory=list)

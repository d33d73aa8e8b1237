"""Sensors that fail, in kinds and amounts (after realworldrl_suite, Dulac-Arnold et al. 2020), at any time."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.contract import PARTS
from wmctrl_envs.signals import UNBOUNDED, range_of
from wmctrl_envs.suggestion import refuse_unknown
from wmctrl_envs.task import Element, TaskSpec

SHORTEST, FOREVER = 2.0, 1 << 30
"""Control periods that a fault lasts: what freezes shows the truth in the first."""
LONGEST_DELAY = 16
"""Most control periods that an observation can be held back."""
AMOUNTS = ("a little", "much", "severely")
"""How much a sensor fails, in words."""
FAR = 10.0
"""How far beyond its range a reading is sent, in ranges."""

Shown = dict[str, NDArray[Any] | None]
"""An observation; None stands for what did not arrive."""


@dataclass(frozen=True)
class Kind:
    """A way to fail."""

    meaning: str
    unit: str
    """Of how much it fails."""
    amounts: tuple[float, float, float]
    """In the order of AMOUNTS."""
    most: float
    """Largest amount."""


KINDS = {
    "frozen": Kind("Shows the same for some time, and claims that it is new.", "s", (0.2, 1.0, np.inf), np.inf),
    "dropped": Kind("Observations do not arrive, each with this probability.", "1", (0.1, 0.3, 0.6), 1.0),
    "delayed": Kind("Observations arrive so many control periods late.", "1", (1.0, 2.0, 4.0), LONGEST_DELAY),
    "reordered": Kind("An older observation arrives instead, with this probability.", "1", (0.1, 0.3, 0.6), 1.0),
    "nan": Kind("Readings are not numbers, each with this probability.", "1", (0.05, 0.3, 1.0), 1.0),
    "beyond": Kind("Readings are far out of their ranges, each with this probability.", "1", (0.05, 0.3, 1.0), 1.0),
    "noise": Kind("Readings are noisy: standard deviation, in their ranges.", "1", (0.02, 0.1, 0.3), 10.0),
    "lost": Kind("Whole senses are silent for some time.", "s", (0.2, 1.0, np.inf), np.inf),
}
"""By name."""


class Reading(NamedTuple):
    """What arrives at the controller."""

    observation: Shown
    taken: int
    """The step at which it was taken, as it says."""


@dataclass(frozen=True)
class Fault:
    """A sensor's failure."""

    kind: str
    amount: float
    """In the kind's unit."""
    begins: int = 0
    """Step of an episode at which it begins."""
    senses: tuple[str, ...] = ("proprio", "camera")
    """Parts of the observation that fail."""

    def __post_init__(self) -> None:
        refuse_unknown("kind of fault", [self.kind], KINDS)
        refuse_unknown("part of an observation", self.senses, PARTS)
        if not 0.0 <= self.amount <= KINDS[self.kind].most:
            raise ValueError(f"{self.kind} must be from 0 to {KINDS[self.kind].most:g}, got {self.amount:g}")
        if self.begins < 0:
            raise ValueError(f"a fault begins at step 0 or later, got {self.begins}")


class FaultySensors:
    """The way from a task's observations to its controller, with a fault on it."""

    def __init__(self, fault: Fault, spec: TaskSpec) -> None:
        self.fault, self.spec = fault, spec
        self.ranges = np.array([range_of(element) for element in spec.proprio], np.float32)
        self.far = np.array([_far(element) for element in spec.proprio], np.float32)
        self.ways = {
            "frozen": self._frozen,
            "dropped": self._dropped,
            "delayed": self._delayed,
            "reordered": self._reordered,
            "nan": self._nan,
            "beyond": self._beyond,
            "noise": self._noise,
            "lost": self._lost,
        }
        lasts = fault.amount / spec.control_period if KINDS[fault.kind].unit == "s" else FOREVER
        self.ends = fault.begins + (round(min(max(lasts, SHORTEST), FOREVER)) if fault.amount else 0)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Before an episode; the same seed fails the same."""
        self.rng = np.random.default_rng(seed)
        self.past: deque[Mapping[str, NDArray[Any]]] = deque(maxlen=LONGEST_DELAY + 1)
        self.step = -1
        self.frozen: dict[str, NDArray[Any]] = {}

    def arrives(self, observation: Mapping[str, NDArray[Any]]) -> Reading:
        """What the controller gets when the task shows its next observation."""
        self.step += 1
        self.past.append(observation)
        if not self.fault.begins <= self.step < self.ends:
            return Reading(dict(observation), self.step)
        failing = [name for name in self.fault.senses if name in observation]
        return self.ways[self.fault.kind](dict(observation), failing)

    def _frozen(self, shown: Shown, failing: Sequence[str]) -> Reading:
        for name in failing:
            shown[name] = self.frozen.setdefault(name, self.past[-1][name])
        return Reading(shown, self.step)

    def _dropped(self, shown: Shown, failing: Sequence[str]) -> Reading:
        if self.rng.random() < self.fault.amount:
            shown |= dict.fromkeys(failing)
        return Reading(shown, self.step)

    def _delayed(self, shown: Shown, failing: Sequence[str]) -> Reading:
        return self._older(shown, failing, round(self.fault.amount))

    def _reordered(self, shown: Shown, failing: Sequence[str]) -> Reading:
        late = self.rng.random() < self.fault.amount
        return self._older(shown, failing, int(self.rng.integers(1, 4)) if late else 0)

    def _older(self, shown: Shown, failing: Sequence[str], periods: int) -> Reading:
        """What was shown some periods before, as far as the episode goes back."""
        back = min(periods, len(self.past) - 1)
        return Reading(shown | {name: self.past[-1 - back][name] for name in failing}, self.step - back)

    def _nan(self, shown: Shown, failing: Sequence[str]) -> Reading:
        return self._replaced(shown, failing, np.float32(np.nan))

    def _beyond(self, shown: Shown, failing: Sequence[str]) -> Reading:
        return self._replaced(shown, failing, self.far)

    def _noise(self, shown: Shown, failing: Sequence[str]) -> Reading:
        if "proprio" in failing:
            noise = self.rng.standard_normal(len(self.ranges), np.float32)
            shown["proprio"] = self.past[-1]["proprio"] + np.float32(self.fault.amount) * self.ranges * noise
        return Reading(shown, self.step)

    def _lost(self, shown: Shown, failing: Sequence[str]) -> Reading:
        return Reading(shown | dict.fromkeys(failing), self.step)

    def _replaced(self, shown: Shown, failing: Sequence[str], value: Any) -> Reading:
        """Readings replaced, each with the fault's probability; a picture has no such values."""
        if "proprio" in failing:
            hit = self.rng.random(len(self.ranges)) < self.fault.amount
            shown["proprio"] = np.where(hit, value, self.past[-1]["proprio"])
        return Reading(shown, self.step)


def _far(element: Element) -> float:
    """A reading that no sensor of an element would show."""
    width = range_of(element)
    return (element.high if element.high <= UNBOUNDED else 0.0) + FAR * width

"""What a stress test asks: which shifts of a task's parameters, how they come, and for how long."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from wmctrl_envs.suggestion import refuse_unknown
from wmctrl_envs.task import Parameter

SCHEDULES = ("step", "drift", "random_walk", "cyclic", "saw_wave")
"""How a shift comes, after realworldrl_suite (Dulac-Arnold et al. 2020)."""
PERIOD = 0.25
"""Of a cycle or a saw's tooth, as a share of the shifted phase."""
WALK = 0.05
"""Standard deviation of a walk's step, as a share of the shift."""


@dataclass(frozen=True)
class Shift:
    """A change of the plant."""

    parameters: dict[str, float]
    """Where physical parameters go, by name."""
    schedule: str = "step"
    then: "Shift | None" = None
    """What comes after the nominal plant is back."""

    def __post_init__(self) -> None:
        refuse_unknown("schedule", [self.schedule], SCHEDULES)
        if not self.parameters:
            raise ValueError("parameters must name one at least, came none")


@dataclass(frozen=True)
class Suite:
    """A stress test of one controller."""

    shifts: dict[str, dict[str, float]] = field(default_factory=dict)
    """Parameters of each shift, by its name; one that goes by steps unless `schedules` says otherwise."""
    schedules: dict[str, str] = field(default_factory=dict)
    """Of shifts, by name."""
    then: dict[str, str] = field(default_factory=dict)
    """Of some shifts, the one that comes next, the nominal plant between them and at the end: A-B-A-C-A."""
    nominal: int = 200
    """Steps before the change; an episode that has begun is ended."""
    shifted: int = 1000
    """Steps of the change."""
    after: int = 200
    """Steps on the nominal plant again, each time."""
    arms: tuple[str, ...] = (
        *("frozen", "fine-tune", "replay", "EWC", "EWC + replay", "EWC + replay + gate"),
        *("calibration", "all"),
    )
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        if not self.shifts:
            raise ValueError("shifts must name one at least, came none")
        refuse_unknown("shift", [*self.schedules, *self.then, *self.then.values()], self.shifts)
        for name in self.shifts:
            self.shift(name)  # which refuses a schedule that there is not
        for name in ("nominal", "shifted"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 step, came {getattr(self, name)}")
        if self.after < 0 or not self.arms or not self.seeds:
            raise ValueError("after must be at least 0, and arms and seeds must name one at least")
        if min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ and be at least 0, came {', '.join(map(str, self.seeds))}")

    def shift(self, name: str) -> Shift:
        """One of the shifts."""
        alone, after = self._alone(name), self.then.get(name)
        return alone if after is None else replace(alone, then=self._alone(after))

    def _alone(self, name: str) -> Shift:
        return Shift(self.shifts[name], self.schedules.get(name, "step"))

    def require_known(self, parameters: Mapping[str, Parameter]) -> None:
        """Refuse shifts of parameters that a task does not have, or to where they cannot go.

        Raises:
            ValueError: There is one; says which is nearest, or how far it goes.
        """
        for name, values in self.shifts.items():
            refuse_unknown(f"parameter in shift {name}", values, parameters)
            for parameter, value in values.items():
                parameters[parameter].require_within(f"shift {name}", value)


def strength(schedule: str, step: int, steps: int, seed: int) -> float:
    """How much of a shift there is at a step of its phase, from 0 to 1.

    Args:
        steps: Of the phase.
    """
    done = step / max(1, steps)
    if schedule == "drift":
        return min(1.0, done)
    if schedule == "cyclic":
        return 0.5 - 0.5 * math.cos(2.0 * math.pi * done / PERIOD)
    if schedule == "saw_wave":
        return (done / PERIOD) % 1.0
    if schedule == "random_walk":
        return _walk(step, seed)
    return 1.0


def _walk(step: int, seed: int) -> float:
    """A random walk that is reflected at 0 and 1, and begins at 0."""
    place = float(np.random.default_rng(seed).normal(0.0, WALK, step).sum())
    folded = abs(place) % 2.0
    return 2.0 - folded if folded > 1.0 else folded

"""What commands do to a plant: by what gain and offset they take effect, how late, and how recorded steps tell that.

A motor that has weakened, a steering wheel that is bent or a line that is slow changes what commands do, and nothing
else of what is known of the plant. A delay, and a gain and an offset of each command, are so few that some dozens of
steps tell them, long before a network has learned as much: plans are then made of effects, and what is sent is what has
them.
"""

from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.arguments import hold_whole
from wmctrl.runtime.limits import Limits, Vector
from wmctrl.runtime.records import shown

LEAST, MOST = 0.2, 3.0
"""Gains that are considered."""
FURTHEST = 0.5
"""Offset that is considered, either way."""
LONGEST_DELAY = 8
"""Control periods that a command may take to have an effect."""
LATEST = 3
"""Control periods, at most, until an effect that is considered where recorded steps tell."""
ROUNDS = 6
"""How often gains and offsets are improved."""
PROBE = 0.05
"""Change of a gain or an offset by which its effect on errors is told."""
STRIDE = 0.4
"""Largest change of a gain or an offset at once."""
EXPECTED = 0.5
"""Standard deviation of what gains and offsets are expected to differ from a plant's whose commands take effect as they
are."""
REPEATED = 30.0
"""Errors that tell about as much as one that has nothing to do with the others."""
DEVIATION, CAUCHY = 1.4826, 2.385
"""Standard deviation of a normal distribution by its median deviation, and how many of them it takes to halve a Cauchy
weight, for 95 % efficiency there (Holland and Welsch 1977)."""
LEAST_ERROR = 0.05
"""Usual error that is reckoned with at least, in standard deviations."""

Residuals = Callable[["Actuation"], NDArray[np.float32]]
"""Errors of what is foreseen (n, O), in standard deviations, if commands took effect so."""


class Actuation(NamedTuple):
    """How the effects of commands follow from what is sent: effect = gain command + offset, some steps later."""

    gain: Vector
    """(A,)"""
    offset: Vector
    """(A,)"""
    delay: int = 0
    """Control periods until a command has an effect."""

    @classmethod
    def plain(cls, actions: int) -> "Actuation":
        """Commands take effect as they are."""
        return cls(np.ones(actions, np.float32), np.zeros(actions, np.float32))

    def effect(self, command: Vector) -> Vector:
        """What commands (..., A) do, within what a plant was ever commanded."""
        return np.clip(self.gain * command + self.offset, np.float32(-1.0), np.float32(1.0))

    def done(self, commands: NDArray[np.float32], first: NDArray[np.float32]) -> NDArray[np.float32]:
        """What was done on the way to recorded steps (..., T, A), by what was sent a step before each of them.

        What was sent before the first of them is taken to have been as that; an episode begins at rest.

        Args:
            first: 1 where an episode starts (..., T).
        """
        came = np.maximum(np.arange(first.shape[-1]) - self.delay, 0)
        episode = first.cumsum(-1)
        within = (episode == episode[..., came])[..., None]
        return self.effect(np.where(within, commands[..., came, :], np.float32(0.0)))

    def command(self, effect: Vector) -> Vector:
        """What to send (A,) for an effect (A,)."""
        return np.clip((effect - self.offset) / self.gain, np.float32(-1.0), np.float32(1.0))

    def limits(self, commands: Limits) -> Limits:
        """Those of effects, where commands are held to limits."""
        low, high = self.effect(commands.low), self.effect(commands.high)
        return commands._replace(low=low, high=high, rate=self.gain * commands.rate)

    def require_sound(self, actions: int) -> None:
        """Refuse what is of other actions, or not considered.

        Raises:
            ValueError: It is.
        """
        for name, part, least, most in (("gain", self.gain, LEAST, MOST), ("offset", self.offset, -FURTHEST, FURTHEST)):
            if np.shape(part) != (actions,) or not ((part >= least) & (part <= most)).all():
                raise ValueError(f"{name} must be {actions} numbers from {least:g} to {most:g}, came {shown(part)}")
        hold_whole("the delay", self.delay, 0, LONGEST_DELAY)

    def __str__(self) -> str:
        gains, offsets = (", ".join(f"{one:.2f}" for one in part) for part in (self.gain, self.offset))
        return f"gain {gains}, offset {offsets}, delay {self.delay}"

    def values(self) -> NDArray[np.float64]:
        """Gains and offsets (2 A,)."""
        return np.concatenate([self.gain, self.offset]).astype(np.float64)

    def with_values(self, values: NDArray[np.float64]) -> "Actuation":
        """With other gains and offsets (2 A,)."""
        gain, offset = np.split(values.astype(np.float32), 2)
        return self._replace(gain=gain, offset=offset)

    def considered(self) -> "Actuation":
        """With gains and offsets as far as they are considered."""
        return self._replace(gain=np.clip(self.gain, LEAST, MOST), offset=np.clip(self.offset, -FURTHEST, FURTHEST))


def explained(believed: Actuation, residuals: Residuals) -> Generator[None, None, Actuation]:
    """What commands do, by recorded steps, found out a piece of work at a time.

    How late they come is told by which delay explains the steps best once gains and offsets were improved for it.
    """
    started = []
    for delay in sorted({*range(LATEST + 1), believed.delay}):
        started.append(improved(believed._replace(delay=delay), residuals))
        yield
    found = min(started, key=lambda one: error_of(residuals(one)))
    for _ in range(ROUNDS - 1):
        found = improved(found, residuals)
        yield
    return found


def improved(believed: Actuation, residuals: Residuals) -> Actuation:
    """Gains and offsets that explain recorded steps better: a Gauss-Newton step with Cauchy weights.

    They are drawn to commands that take effect as they are, so that what the steps do not tell stays so. Slopes are
    told by both sides: a command that goes as far as it can has no effect beyond.
    """
    values, plain = believed.values(), Actuation.plain(len(believed.gain)).values()
    errors = residuals(believed).ravel().astype(np.float64)
    beyond, short = (
        [residuals(believed.with_values(one)).ravel() for one in values + way * PROBE * np.eye(len(values))]
        for way in (1.0, -1.0)
    )
    slopes = (np.stack(beyond, 1) - np.stack(short, 1)).astype(np.float64) / (2.0 * PROBE)
    usual = max(LEAST_ERROR, DEVIATION * float(np.median(np.abs(errors))))
    weights = 1.0 / (1.0 + (errors / (CAUCHY * usual)) ** 2)
    held = REPEATED * (usual / EXPECTED) ** 2
    curvature = slopes.T @ (weights[:, None] * slopes) + held * np.eye(len(values))
    step = np.linalg.solve(curvature, -slopes.T @ (weights * errors) - held * (values - plain))
    return believed.with_values(values + np.clip(step, -STRIDE, STRIDE)).considered()


def error_of(residuals: NDArray[np.float32]) -> float:
    """One error of many (n, O); nan of none.

    Root mean square over the elements, and its mean over what was foreseen: squares of a few steps that nobody
    foresees, an arm that touches the table say, would be all that tells one model from another.
    """
    return float(np.sqrt((residuals**2).mean(1)).mean()) if len(residuals) else float("nan")

"""How far readings are believed: finite, within what was ever seen, alive, near what was foreseen, and not noisy."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.limits import Vector
from wmctrl.runtime.plant import Calibration

BEYOND = 1.0
"""How far a reading may be beyond all that were recorded, as a share of their range."""
JUMP = 4.0
"""How far a reading may be from what was foreseen, in errors that are ordinary."""
LEAST_ERROR = 0.02
"""What an ordinary error is at least, as a share of the recorded range."""
STUCK = 3
"""Readings in a row of which an element may be the same, beyond twice the most that were recorded."""
PATIENCE = 10
"""Readings in a row that may be doubted only because they were not foreseen; from then on it is the model that errs."""
ENDLESS = 1 << 30
"""Readings in a row that may be the same where nothing was recorded."""
DEVIATIONS = 3.3
"""Standard deviations that 999 of 1,000 draws do not exceed."""
FINEST = 0.001
"""Standard deviation of an error that is never noticed, as a share of the recorded range."""
UNUSUAL = 2.0
"""Error from which on it is more than ordinary, in standard deviations."""
OFTEN = 0.25
"""Share of such errors from which on noise is looked for; a single leap is not noise."""
MEMORY = 0.1
"""Share of the newest error in what is remembered of all."""
LEAST_GAIN = 0.1
"""Share of an error that is always corrected."""
BLURRED = JUMP * DEVIATIONS
"""Standard deviation of what is believed from which on it is of no use, in ordinary ones of an error."""


class Errors(NamedTuple):
    """What is remembered of an element's errors, the distances of readings from what was foreseen (O,) each."""

    last: Vector
    """The newest, in ordinary standard deviations."""
    corrected: Vector
    """Share of the newest that was."""
    unusual: Vector
    """Share of them all that were more than ordinary."""
    variance: Vector
    """Of them all."""
    noise: Vector
    """Variance of what the readings add to them."""

    @property
    def many(self) -> NDArray[np.bool_]:
        """Where errors are unusual often enough to ask why (O,)."""
        return self.unusual > OFTEN

    @property
    def noise_std(self) -> Vector:
        """Of what the readings add to errors, where that is looked for (O,)."""
        return np.where(self.many, np.sqrt(np.maximum(self.noise, 0.0)), np.float32(0.0))

    @property
    def gain(self) -> Vector:
        """Share of an error that is corrected where the reading is sound, LEAST_GAIN to 1 (O,)."""
        best = np.clip(1.0 - self.noise / self.variance, LEAST_GAIN, 1.0).astype(np.float32)
        return np.where(self.many, best, np.float32(1.0))

    @property
    def blurred(self) -> bool:
        """Whether noise leaves less of an element than is needed, whatever is made of it."""
        return bool((self.many & (self.gain * self.noise > BLURRED**2)).any())


class Doubt(NamedTuple):
    """What is remembered of the readings."""

    last: Vector
    """(O,)"""
    still: NDArray[np.int64]
    """Readings in a row, this one included, that were the same (O,)."""
    unforeseen: NDArray[np.int64]
    """Readings in a row that were too far from what was foreseen (O,)."""
    errors: Errors
    picture: NDArray[np.uint8] | None
    """(h, w, c)"""
    still_pictures: int
    """Pictures in a row, this one included, that were the same."""


class Senses:
    """Judges readings by what is ordinary."""

    def __init__(self, size: int, calibration: Calibration | None) -> None:
        """
        Args:
            size: Elements of a reading, O.
        """
        self.low, self.high = np.full(size, -np.inf, np.float32), np.full(size, np.inf, np.float32)
        self.error, self.deviation = np.full(size, np.inf, np.float32), np.full(size, np.inf, np.float32)
        self.longest, self.longest_whole, self.longest_picture = np.full(size, ENDLESS), ENDLESS, ENDLESS
        if calibration is not None:
            told = calibration.proprio
            least, most, error = (
                np.array([getattr(one, name) for one in told], np.float32) for name in ("least", "most", "error")
            )
            span = most - least
            self.low, self.high = least - BEYOND * span, most + BEYOND * span
            self.error = np.maximum(error, LEAST_ERROR * span)
            self.deviation = np.maximum(error / DEVIATIONS, FINEST * span)
            self.longest = np.array([2 * one.still + STUCK for one in told], np.int64)
            self.longest_whole = min((one.still for one in told), default=ENDLESS)
            self.longest_picture = 2 * calibration.still_pictures + STUCK

    def start(self) -> Doubt:
        """Before an episode's first reading."""
        O = len(self.error)
        zeros, ones, counts = np.zeros(O, np.float32), np.ones(O, np.float32), np.zeros(O, np.int64)
        return Doubt(np.full(O, np.nan, np.float32), counts, counts, Errors(zeros, ones, zeros, ones, zeros), None, 0)

    def judged(
        self, doubt: Doubt, sensed: Mapping[str, NDArray[Any]], foreseen: Vector | None
    ) -> tuple[Doubt, dict[str, Vector]]:
        """What is remembered from now on, and how far each element of `proprio` (O,), and all of `camera` (), is
        believed: 1 takes it as it is, 0 takes what was foreseen instead.

        Args:
            sensed: Parts of an observation, some of `proprio` (O,) and `camera` (h, w, c).
            foreseen: What the model expected of `proprio` (O,); None where it expected nothing.
        """
        found: dict[str, Vector] = {}
        if "proprio" in sensed:
            doubt, found["proprio"] = self._read(doubt, sensed["proprio"], foreseen)
        if "camera" in sensed:
            picture = sensed["camera"]
            same = doubt.picture is not None and np.array_equal(picture, doubt.picture)
            doubt = doubt._replace(picture=picture, still_pictures=doubt.still_pictures + 1 if same else 1)
            found["camera"] = np.array(doubt.still_pictures <= self.longest_picture, np.float32)
        return doubt, found

    def _read(self, doubt: Doubt, reading: Vector, foreseen: Vector | None) -> tuple[Doubt, Vector]:
        """The same of `proprio`."""
        still = np.where(reading == doubt.last, doubt.still + 1, 1)
        doubt = doubt._replace(last=reading, still=still)
        possible = np.isfinite(reading) & (self.low <= reading) & (reading <= self.high)
        if foreseen is None:
            return doubt, possible.astype(np.float32)
        error = np.subtract(reading, foreseen, out=np.zeros_like(reading), where=possible & np.isfinite(foreseen))
        off = np.abs(error)
        far = (off > JUMP * self.error) & (off / self.deviation > DEVIATIONS * doubt.errors.noise_std)
        unforeseen = np.where(far, doubt.unforeseen + 1, 0)
        doubted = (unforeseen > 0) & (unforeseen <= PATIENCE)
        stuck = (still > self.longest) & (off > self.error)
        # Two readings that are the same to the last digit in every element are one that is shown again.
        frozen = still.min() > self.longest_whole and bool((off > DEVIATIONS * self.deviation).any())
        sound = possible & ~doubted & ~stuck & (not frozen)
        errors = followed(doubt.errors, (error / self.deviation).astype(np.float32), possible)
        trust = np.where(sound, errors.gain, np.float32(0.0))
        errors = errors._replace(corrected=np.where(possible, trust, errors.corrected))
        return doubt._replace(unforeseen=unforeseen, errors=errors), trust


def followed(errors: Errors, error: Vector, possible: NDArray[np.bool_]) -> Errors:
    """What is remembered after an error (O,), in ordinary standard deviations, of readings that are possible (O,).

    How an error is followed by the next tells noise from a plant that does what the model does not know (Mehra 1970):
    with a variance P of what is foreseen and R of the readings' noise, errors have a variance of P + R, two in a row a
    mean product of (1 - c) P - c R where a share c of the first was corrected, and P / (P + R) is the share that errs
    least.
    """
    unusual = errors.unusual + MEMORY * ((np.abs(error) > UNUSUAL) - errors.unusual)
    variance = errors.variance + MEMORY * (error**2 - errors.variance)
    noise = errors.last * ((1.0 - errors.corrected) * errors.last - error)
    noise = errors.noise + MEMORY * (noise - errors.noise)
    found = Errors(error, errors.corrected, unusual, variance, noise)
    return Errors(*(np.where(possible, new, old).astype(np.float32) for new, old in zip(found, errors, strict=True)))

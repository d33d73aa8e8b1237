"""Which readings are believed: those that are finite, within what was ever seen, alive, and near what was foreseen."""

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
"""Readings in a row that may be the same, beyond twice the most that were recorded."""
PATIENCE = 10
"""Readings in a row that may be doubted only because they were not foreseen; from then on it is the model that errs."""
ENDLESS = 1 << 30
"""Readings in a row that may be the same where nothing was recorded."""


class Doubt(NamedTuple):
    """What is remembered of the readings."""

    last: Vector
    """(O,)"""
    still: NDArray[np.int64]
    """Readings in a row, this one included, that were the same (O,)."""
    unforeseen: NDArray[np.int64]
    """Readings in a row that were too far from what was foreseen (O,)."""
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
        self.error, self.longest = np.full(size, np.inf, np.float32), np.full(size, ENDLESS)
        self.longest_picture = ENDLESS
        if calibration is not None:
            told = calibration.proprio
            least, most, error = (
                np.array([getattr(one, name) for one in told], np.float32) for name in ("least", "most", "error")
            )
            span = most - least
            self.low, self.high = least - BEYOND * span, most + BEYOND * span
            self.error = np.maximum(error, LEAST_ERROR * span)
            self.longest = np.array([2 * one.still + STUCK for one in told], np.int64)
            self.longest_picture = 2 * calibration.still_pictures + STUCK

    def start(self) -> Doubt:
        """Before an episode's first reading."""
        O = len(self.error)
        return Doubt(np.full(O, np.nan, np.float32), np.zeros(O, np.int64), np.zeros(O, np.int64), None, 0)

    def judged(
        self, doubt: Doubt, sensed: Mapping[str, NDArray[Any]], foreseen: Vector | None
    ) -> tuple[Doubt, dict[str, NDArray[np.bool_]]]:
        """What is remembered from now on, and what is believed: every element of `proprio` (O,), all of `camera`.

        Args:
            sensed: Parts of an observation, some of `proprio` (O,) and `camera` (h, w, c).
            foreseen: What the model expected of `proprio` (O,); None where it expected nothing.
        """
        found: dict[str, NDArray[np.bool_]] = {}
        if "proprio" in sensed:
            doubt, found["proprio"] = self._read(doubt, sensed["proprio"], foreseen)
        if "camera" in sensed:
            picture = sensed["camera"]
            same = doubt.picture is not None and np.array_equal(picture, doubt.picture)
            doubt = doubt._replace(picture=picture, still_pictures=doubt.still_pictures + 1 if same else 1)
            found["camera"] = np.array(doubt.still_pictures <= self.longest_picture)
        return doubt, found

    def _read(self, doubt: Doubt, reading: Vector, foreseen: Vector | None) -> tuple[Doubt, NDArray[np.bool_]]:
        """The same of `proprio`."""
        still = np.where(reading == doubt.last, doubt.still + 1, 1)
        doubt = doubt._replace(last=reading, still=still)
        possible = np.isfinite(reading) & (self.low <= reading) & (reading <= self.high)
        if foreseen is None:
            return doubt, possible
        with np.errstate(invalid="ignore"):  # what is not finite is not possible anyway
            off = np.abs(reading - foreseen)
        unforeseen = np.where(off > JUMP * self.error, doubt.unforeseen + 1, 0)
        doubted = (unforeseen > 0) & (unforeseen <= PATIENCE)
        stuck = (still > self.longest) & (off > self.error)
        return doubt._replace(unforeseen=unforeseen), possible & ~doubted & ~stuck

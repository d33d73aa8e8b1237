"""How long the parts of a decision take here, told from those that were timed."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

KEPT = 256
"""Of every part, how many of the last times are kept."""
SHARE = 0.99
"""Of the kept times, which are no longer than what is expected."""
STALL = 3.0
"""Times the median: what took longer was the machine's doing rather than the part's."""
PATIENCE = 64
"""How often in a row a part may be left out before all of its times are forgotten."""


class Pace:
    """The last times of every part of a decision."""

    def __init__(self) -> None:
        self.times: dict[str, NDArray[np.float64]] = {}
        """By part, a ring of the last ones (KEPT,) [s]."""
        self.counts: dict[str, int] = {}
        """By part, how many were ever timed."""
        self.left_out: dict[str, int] = {}
        """By part, how often in a row it was not tried, for it might have taken too long."""

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Time what is done inside."""
        began = time.monotonic()
        yield
        count = self.counts.get(part, 0)
        self.times.setdefault(part, np.zeros(KEPT))[count % KEPT] = time.monotonic() - began
        self.counts[part], self.left_out[part] = count + 1, 0

    def expected(self, part: str) -> float:
        """Time that a part hardly ever exceeds, its 99th percentile [s]; 0 before it was ever timed."""
        known = min(self.counts.get(part, 0), KEPT)
        if not known:
            return 0.0
        rank = int(np.ceil(SHARE * known)) - 1
        return float(np.partition(self.times[part][:known], rank)[rank])

    def fits(self, deadline: float | None, *parts: str) -> bool:
        """Whether parts, one after another, are expected to be over by a time of `time.monotonic`; None never comes."""
        return deadline is None or time.monotonic() + sum(map(self.expected, parts)) <= deadline

    def leave_out(self, *parts: str) -> None:
        """Have a part count as quicker that was not tried: nothing else could show that it is.

        Its longest time counts as the median from now on if it was a stall. What was slow most of the time, while the
        processor was hot say, is tried again after a while.
        """
        for part in parts:
            known = min(self.counts.get(part, 0), KEPT)
            self.left_out[part] = self.left_out.get(part, 0) + 1
            if not known or self.left_out[part] == PATIENCE:
                self.counts[part], self.left_out[part] = 0, 0
            else:
                times = self.times[part][:known]
                longest, median = times.argmax(), np.median(times)
                if times[longest] > STALL * median:
                    times[longest] = median

    def take(self, other: "Pace") -> None:
        """Expect what another one does."""
        self.times, self.counts = dict(other.times), dict(other.counts)

    def forget(self) -> None:
        """Begin again: what was timed so far, while everything was cold say, tells nothing."""
        self.counts.clear()

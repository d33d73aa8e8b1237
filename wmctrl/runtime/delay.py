"""How long commands take to have an effect, told by what the sensors show of it."""

import numpy as np

from wmctrl.runtime.pace import Pace
from wmctrl.runtime.track import OBSERVE, Follower, Track

LONGEST = 5
"""Control periods that are told apart."""
SHARE = 0.02
"""Of the control period, that may be spent on comparing."""
LEAST = 8
"""Comparisons before another delay is believed."""
MEMORY = 25.0
"""Comparisons that count."""
ADVANTAGE = 0.3
"""How much less another delay must have surprised, mean of the comparisons [nats]."""
LARGEST = 20.0
"""Most that a single comparison counts [nats]."""


class DelayMeter:
    """Compares how much every observation surprises, and would if commands took effect after other delays.

    Commands that do not change tell nothing, and every delay the same.
    """

    def __init__(self, follower: Follower, pace: Pace, period: float) -> None:
        """
        Args:
            follower: Its delay is kept at the measured one.
            pace: Tells how long a comparison takes.
            period: Time between two commands [s].
        """
        self.follower, self.pace, self.period = follower, pace, period
        self.advantages = np.zeros(LONGEST + 1)
        """By delay: how much less it surprised than the present one (delays,) [nats]."""
        self.counts = np.zeros(LONGEST + 1)
        self.next = 0

    def compare(self, track: Track, surprise: float | None) -> None:
        """Compare some delays by the newest observation on a track, and take the better one, if it is by far.

        Args:
            surprise: Of that observation [nats]; None where none was just taken in.
        """
        if surprise is None or track.correction is None:
            return
        for _ in range(self._affordable()):
            self.next = (self.next + 1) % (LONGEST + 1)
            if self.next != self.follower.actuation.delay:
                self._count(self.next, surprise - self.follower.surprise(track, self.next))
        best = int(np.argmax(np.where(self.counts >= LEAST, self.advantages, -np.inf)))
        if self.counts[best] >= LEAST and self.advantages[best] > ADVANTAGE:
            self.follower.actuation = self.follower.actuation._replace(delay=best)
            self.advantages[:], self.counts[:] = 0.0, 0.0

    def _count(self, delay: int, advantage: float) -> None:
        self.counts[delay] += 1
        rate = 1.0 / min(self.counts[delay], MEMORY)
        self.advantages[delay] += rate * (np.clip(advantage, -LARGEST, LARGEST) - self.advantages[delay])

    def _affordable(self) -> int:
        """How many comparisons there is time for; one at least."""
        taken = max(self.pace.expected(OBSERVE), 1e-6)
        return min(LONGEST, max(1, int(SHARE * self.period / taken)))

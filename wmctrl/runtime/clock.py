"""The ticks of a control loop: absolute times of the monotonic clock, in phase whatever is missed."""

import math
import time


class Ticker:
    """Ticks once a period."""

    def __init__(self, period: float, first: float | None = None) -> None:
        """
        Args:
            period: [s]
            first: The first tick, a time of `time.monotonic` [s]; None is one period from now.
        """
        if not period > 0.0:
            raise ValueError(f"the period must be above 0 s, came {period:g}")
        self.period = period
        self.tick = time.monotonic() if first is None else first - period
        """The last one, a time of `time.monotonic` [s]."""

    def wait(self) -> int:
        """Sleep until the next tick; how many passed before this was called, and are missed."""
        self.tick += self.period
        late = time.monotonic() - self.tick
        missed = max(0, math.ceil(late / self.period))
        self.tick += missed * self.period
        time.sleep(max(0.0, self.tick - time.monotonic()))
        return missed

"""The thread that learns beside the one that drives, gives way to it, and takes no more than its share of a core."""

import threading
import time

from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.priority import give_way
from wmctrl.runtime.records import in_a_line

IDLE = 0.05
"""Time between two looks for work where there is none [s]."""


class Learning:
    """Has an adapter work in a thread of its own, for a share of a processor core's time."""

    def __init__(self, adapter: Adapter, share: float) -> None:
        """
        Args:
            share: Of a core, above 0 and at most 1.
        """
        if not 0.0 < share <= 1.0:
            raise ValueError(f"the share of a core must be above 0 and at most 1, came {share:g}")
        self.adapter, self.share, self.problem = adapter, share, ""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._live, name="learning", daemon=True)
        self.thread.start()

    def _live(self) -> None:
        give_way()
        while not self.over.is_set():
            began = time.monotonic()
            try:
                busy = self.adapter.work()
            except Exception as error:  # of whatever kind: driving goes on with what it has
                self.problem = in_a_line(error)
                return
            taken = time.monotonic() - began
            self.over.wait(taken * (1.0 / self.share - 1.0) if busy else IDLE)

    def close(self) -> None:
        """Stop after the piece that is being done."""
        self.over.set()
        self.thread.join()

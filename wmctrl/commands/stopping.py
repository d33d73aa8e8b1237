"""What tells a process to stop."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def told_to_stop(act: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have `act` called on Ctrl-C, SIGTERM, and SIGHUP where the terminal closes, unless nohup had that ignored."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {one: signal.signal(one, act) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def end_with_parent() -> None:
    """Have a process that another one started end as soon as that has, however it did: nobody waits for its answer."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "another one started it"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

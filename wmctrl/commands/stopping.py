"""What tells a process to stop."""

import signal
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

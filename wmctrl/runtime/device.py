"""What computes a bundle's graphs: a provider that repeats the golden steps, with as many threads as pay."""

import os
import time

from wmctrl.runtime import golden
from wmctrl.runtime.arguments import hold_whole
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.engine import Engine

MOST_THREADS = 1024
REPEATED = 5
"""Times that the golden steps are repeated to tell how long they take."""
QUICKER = 0.9
"""Share of the time at most that twice as many threads must take, to be worth the cores."""


def hold_threads(threads: int | None) -> None:
    """Refuse a number of threads that cannot be.

    Raises:
        ValueError: It is no whole number in range, and not None.
    """
    if threads is not None:
        hold_whole("threads", threads, 1, MOST_THREADS)


def proven(bundle: Bundle, provider: str, threads: int | None) -> Engine:
    """An engine that repeats a bundle's golden steps.

    Args:
        threads: None doubles them for as long as that is quicker, up to the cores that this process may use.

    Raises:
        ValueError: The provider does not take the graphs, or something else came out.
    """
    found = _repeating(bundle, provider, threads or 1)
    if threads is not None or provider != "cpu":
        return found
    taken = _seconds(bundle, found)
    while 2 * found.threads <= _cores():
        other = _repeating(bundle, provider, 2 * found.threads)
        needed = _seconds(bundle, other)
        if needed > QUICKER * taken:
            break
        found, taken = other, needed
    return found


def _repeating(bundle: Bundle, provider: str, threads: int) -> Engine:
    engine = Engine(bundle.manifest.graphs, bundle.graphs, provider, threads)
    golden.repeat(bundle, engine)
    return engine


def _seconds(bundle: Bundle, engine: Engine) -> float:
    """Least time that the golden steps take [s]."""
    found = []
    for _ in range(REPEATED):
        began = time.perf_counter()
        golden.repeat(bundle, engine)
        found.append(time.perf_counter() - began)
    return min(found)


def _cores() -> int:
    """That this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1

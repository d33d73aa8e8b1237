"""What the system can do for a control loop to be in time: priority, a core of its own, no collection of garbage."""

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

FIFO_PRIORITY = 50
"""Of the loop's thread, of 1 to 99: above ordinary programs, below the kernel's own threads."""
NICE = 10
"""By which a thread gives way to the loop's, where that has no priority of its own."""


@contextlib.contextmanager
def ahead_of_others(core: int | None = None, *, fifo: bool = True) -> Iterator[list[str]]:
    """Let this thread, and threads that it starts, go before others; all is as it was after the block.

    Threads that it starts are to `give_way`: on the same core it would wait for them, and not they for it.

    Args:
        core: The processor core to stay on; None is any.
        fifo: Ask for the scheduler's first-in-first-out class.

    Yields:
        What was asked for and not granted, in words.
    """
    refused: list[str] = []
    with contextlib.ExitStack() as undone:
        if core is not None:
            _stay(core, refused, undone)
        if fifo:
            _go_first(refused, undone)
        gc.collect()
        gc.freeze()
        undone.callback(gc.unfreeze)
        if gc.isenabled():
            gc.disable()
            undone.callback(gc.enable)
        yield refused


def give_way() -> None:
    """Let the thread that started this one go before it, as far as the system grants that."""
    with contextlib.suppress(AttributeError, OSError):
        if os.sched_getscheduler(0) == os.SCHED_FIFO:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY - 1))
        else:
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)


def _stay(core: int, refused: list[str], undone: contextlib.ExitStack) -> None:
    try:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError) as error:
        refused.append(f"core {core}: {error}")
    else:
        undone.callback(os.sched_setaffinity, 0, before)


def _go_first(refused: list[str], undone: contextlib.ExitStack) -> None:
    try:
        before, given = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except (AttributeError, OSError) as error:
        refused.append(f"first-in-first-out scheduling: {error}; root may, and who has `ulimit -r {FIFO_PRIORITY}`")
    else:
        undone.callback(os.sched_setscheduler, 0, before, given)

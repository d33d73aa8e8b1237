"""A planner that works while the last command is under way, in a thread of its own: whoever controls never waits."""

import threading
from typing import NamedTuple

from wmctrl.runtime.planner import Feeds, Plan, Planner, Refined


class Request(NamedTuple):
    """What is to be planned."""

    step: int
    """The first one that the plan is for."""
    plan: Plan
    """To start from."""
    situation: Feeds
    asked: Feeds


class Answer(NamedTuple):
    """A plan that was asked for, after some or all iterations."""

    step: int
    """The first one that it is for."""
    refined: Refined


class Companion:
    """Plans what was asked for last, and leaves what was asked for before as soon as it may.

    ONNX Runtime computes without Python's lock, so both threads run at the same time where there are two cores.
    """

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.answer: Answer | None = None
        """The newest one; it is replaced as a whole."""
        self.problem = ""
        """Why the last request has no answer, where it has none."""
        self._request: Request | None = None
        self._called = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, request: Request) -> None:
        """Plan this from now on; whoever planned and died, or never did, is replaced."""
        self._request = request
        self._called.set()
        if not self.alive:
            self.restart()

    @property
    def alive(self) -> bool:
        """Whether there is a thread that plans."""
        return self._thread is not None and self._thread.is_alive()

    def restart(self) -> None:
        """Plan in a new thread; an old one that hangs is left to itself, and says nothing any more."""
        self._thread = threading.Thread(target=self._work, name="planner", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Have no answer, before an episode."""
        self._request, self.answer, self.problem = None, None, ""

    def stop(self) -> None:
        """Plan nothing any more, until asked again."""
        self._thread = None
        self._called.set()

    def _work(self) -> None:
        """Plan what is asked for, for as long as this is the thread that does."""
        while self._thread is threading.current_thread():
            self._called.wait()
            self._called.clear()
            request = self._request
            if request is None:
                continue
            try:
                for refined in self.planner.refining(request.plan, request.situation, request.asked):
                    if self._request is not request or self._thread is not threading.current_thread():
                        break
                    self.answer, self.problem = Answer(request.step, refined), ""
            except Exception as error:  # of whatever kind: the next request may have an answer
                self.problem = " ".join(str(error).split()) or type(error).__name__

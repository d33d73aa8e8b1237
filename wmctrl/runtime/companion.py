"""A planner that works while the last command is under way, in a thread of its own: whoever controls never waits."""

import threading
from typing import NamedTuple

from wmctrl.runtime.planner import Feeds, Plan, Planner, Refined
from wmctrl.runtime.priority import give_way
from wmctrl.runtime.records import in_a_line


class Request(NamedTuple):
    """What is to be planned."""

    episode: int
    """As the companion counts them."""
    step: int
    """The first one that the plan is for."""
    plan: Plan
    """To start from."""
    situation: Feeds
    asked: Feeds


class Answer(NamedTuple):
    """A plan that was asked for, after some or all iterations."""

    episode: int
    """That it was asked for in."""
    step: int
    """The first one that it is for."""
    refined: Refined


class Companion:
    """Plans what was asked for last; of what was asked for before, only the iteration under way is still made.

    ONNX Runtime computes without Python's lock, so both threads run at the same time where there are two cores.
    """

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.episode = 0
        """How many were begun; what is answered to one is nothing to the next."""
        self.problem = ""
        """Why the last request has no answer, where it has none."""
        self.unanswered = 0
        """Requests in a row since the newest answer."""
        self._newest: Answer | None = None
        """Of whatever episode: one that ended meanwhile may still be answered. It is replaced as a whole."""
        self._known: Answer | None = None
        """The newest answer when something was asked for last."""
        self._request: Request | None = None
        self._called = threading.Event()
        """Wakes the thread that plans; it has its own, or one that is replaced could take its successor's call."""
        self._thread: threading.Thread | None = None

    def ask(self, request: Request) -> None:
        """Plan this from now on; whoever died, or has not answered for twice as long as plans last, is replaced."""
        self.unanswered = self.unanswered + 1 if self.answer is self._known else 0
        self._known, self._request = self.answer, request
        if not self.alive or self.unanswered > 2 * self.planner.longest_age + 1:
            self.restart()
        self._called.set()

    @property
    def answer(self) -> Answer | None:
        """The newest one of this episode."""
        newest = self._newest
        return newest if newest is not None and newest.episode == self.episode else None

    @property
    def alive(self) -> bool:
        """Whether there is a thread that plans."""
        return self._thread is not None and self._thread.is_alive()

    def restart(self) -> None:
        """Plan in a new thread; an old one that hangs is left to itself, and says nothing any more."""
        self.unanswered = 0
        replaced, self._called = self._called, threading.Event()
        self._thread = threading.Thread(target=self._work, args=(self._called,), name="planner", daemon=True)
        self._thread.start()
        replaced.set()

    def forget(self) -> None:
        """Have no answer, before an episode."""
        self.episode += 1
        self._request, self.problem, self.unanswered = None, "", 0

    def stop(self) -> None:
        """Plan nothing any more, until asked again."""
        self._thread = None
        self._called.set()

    def _work(self, called: threading.Event) -> None:
        """Plan what is asked for, for as long as this is the thread that does."""
        give_way()
        while self._is_current():
            called.wait()
            called.clear()
            request = self._request
            if request is not None and self._is_current():
                self._answer(request)

    def _answer(self, request: Request) -> None:
        """Publish the plan after every iteration, while nothing else is asked for."""
        try:
            for refined in self.planner.refining(request.plan, request.situation, request.asked):
                if self._is_current():
                    self._newest, self.problem = Answer(request.episode, request.step, refined), ""
                if self._request is not request or not self._is_current():
                    return
        except Exception as error:  # of whatever kind: the next request may have an answer
            self.problem = in_a_line(error)

    def _is_current(self) -> bool:
        """Whether the running thread is the one that plans."""
        return self._thread is threading.current_thread()

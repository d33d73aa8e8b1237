"""Planning beside control: whoever controls never waits, and planners that fail, hang or die are replaced."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_bundle import CHEETAH, controller
from wmctrl.runtime import companion
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.companion import Answer, Companion
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import Computes

LONGEST = 2
"""Decisions that a plan of these bundles is followed without being refined: half of its 5 actions."""
SEEN = {"proprio": np.linspace(-0.5, 0.5, 17, dtype=np.float32)}
PATIENCE = 20.0
"""Longest time that a thread may take to do what it is told [s]."""


class Gated:
    """An engine whose planner computes when it is let, or does something else instead."""

    provider = "gated"

    def __init__(self, engine: Computes) -> None:
        self.engine = engine
        self.instead: Callable[[], None] = lambda: None
        self.threads: list[str] = []

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""
        if name == "refine":
            self.threads.append(threading.current_thread().name)
            self.instead()
        return self.engine.run(name, feeds)


class Held:
    """Holds whoever plans beside until they are let go."""

    def __init__(self) -> None:
        self.begun, self.gate = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if threading.current_thread().name == "planner":
            self.begun.set()
            self.gate.wait(PATIENCE)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.001)


class Driven:
    """A controller with a companion, which is waited for only where the test says so."""

    def __init__(self, *overrides: str) -> None:
        loaded = controller(*CHEETAH, "agent.planner.iterations=3", "agent.planner.horizon=5", *overrides)
        self.engine = Gated(loaded.engine)
        self.controller = Controller(loaded.bundle, self.engine)
        self.controller.plan_beside()
        assert self.controller.companion is not None
        self.companion = self.controller.companion

    def answered(self) -> None:
        """Wait for all iterations of the next step's plan."""
        step = self.controller.state.track.now

        def ready() -> bool:
            answer = self.companion.answer
            return answer is not None and answer.step == step and answer.refined.iterations == 3

        until(ready)


@pytest.fixture
def driven() -> Iterator[Driven]:
    made = Driven()
    yield made
    made.companion.stop()


def test_the_first_decision_is_planned_at_once_and_the_others_beside(driven: Driven) -> None:
    first = driven.controller.act(SEEN)
    assert (first.source, first.iterations) == ("plan", 3)
    driven.answered()
    second = driven.controller.act(SEEN)
    assert (second.source, second.iterations, second.age) == ("plan", 3, 0)
    assert driven.engine.threads[3:6] == ["planner"] * 3


def test_a_plan_starts_where_what_was_sent_will_have_led(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()
    state, answer = driven.controller.state, driven.companion.answer
    assert answer is not None
    expected = driven.engine.run("imagine", {**state.belief._asdict(), "action": state.last})
    planner = driven.controller.planner
    assert planner is not None
    situation = {"deter": expected["next_deter"], "stoch": expected["next_stoch"]}
    other = Controller(driven.controller.bundle, driven.engine)
    other.act(SEEN)  # deals the noise of the first decision
    assert other.planner is not None
    assert other.state.plan is not None
    wanted = other.planner.refine(other.state.plan, situation, other._asked(), None)
    np.testing.assert_allclose(answer.refined.plan.mean, wanted.plan.mean, atol=1e-6)


def test_while_the_planner_is_slow_its_last_plan_is_followed_and_then_the_policy_reacts(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()
    gate = threading.Event()

    def wait() -> None:
        gate.wait(PATIENCE)

    driven.engine.instead = wait
    began = time.monotonic()
    found = [driven.controller.act(SEEN) for _ in range(LONGEST + 3)]
    assert time.monotonic() - began < PATIENCE / 4
    assert [action.source for action in found] == ["plan", *["shifted plan"] * LONGEST, "policy", "policy"]
    gate.set()
    driven.answered()
    assert driven.controller.act(SEEN).source == "plan"


def test_a_planner_that_raises_is_asked_again(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()

    def fail() -> None:
        raise RuntimeError("no memory\nleft")

    driven.engine.instead = fail
    found = [driven.controller.act(SEEN).source for _ in range(LONGEST + 2)]
    assert found[-1] == "policy"
    until(lambda: "no memory left" in driven.companion.problem)
    driven.engine.instead = lambda: None
    driven.controller.act(SEEN)
    driven.answered()
    assert driven.controller.act(SEEN).source == "plan"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_planner_that_dies_is_replaced(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()

    def die() -> None:
        raise SystemExit

    driven.engine.instead = die
    driven.controller.act(SEEN)
    until(lambda: not driven.companion.alive)
    driven.engine.instead = lambda: None
    driven.controller.act(SEEN)
    driven.answered()
    assert driven.controller.act(SEEN).source == "plan"


def test_a_planner_that_hangs_is_replaced_and_its_late_answer_is_not_taken(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()
    gate, hung = threading.Event(), list[threading.Thread]()

    def hang_once() -> None:
        if not hung:
            hung.append(threading.current_thread())
            gate.wait(PATIENCE)

    driven.engine.instead = hang_once
    driven.controller.act(SEEN)
    until(lambda: bool(hung))
    for _ in range(4 * LONGEST + 3):
        driven.controller.act(SEEN)
    driven.answered()
    newest = driven.companion.answer
    gate.set()
    hung[0].join(PATIENCE)
    assert not hung[0].is_alive()
    assert driven.companion.answer is newest


def test_a_planner_that_is_replaced_does_not_take_the_call_to_its_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Companion._work

    def begin_late(self: Companion, called: threading.Event) -> None:
        time.sleep(0.1)
        work(self, called)

    monkeypatch.setattr(Companion, "_work", begin_late)
    driven = Driven()
    driven.controller.act(SEEN)
    driven.answered()
    driven.companion.restart()  # while the one before waits to be called
    driven.controller.act(SEEN)
    driven.answered()
    driven.companion.stop()


def test_a_planner_that_is_slower_than_the_loop_answers_late_rather_than_never(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()
    turn = threading.Semaphore(0)

    def wait() -> None:
        turn.acquire(timeout=PATIENCE)

    driven.engine.instead = wait
    found = []
    for _ in range(4):
        for _ in range(2):
            found.append(driven.controller.act(SEEN).source)
        before = driven.companion.answer
        turn.release()  # an iteration every other step
        until(lambda before=before: driven.companion.answer is not before)  # type: ignore[misc]
    assert "policy" not in found[2::2]  # which come right after an answer, however late that is
    turn.release(100)


@pytest.mark.parametrize("publishing", [False, True])
def test_what_is_answered_to_an_episode_is_nothing_to_the_next(
    driven: Driven, publishing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven.controller.act(SEEN)
    driven.answered()
    last, following = Held(), Held()

    def answer(*fields: Any) -> Answer:
        last()
        return Answer(*fields)

    if publishing:
        monkeypatch.setattr(companion, "Answer", answer)
    else:
        driven.engine.instead = last
    driven.controller.act(SEEN)
    assert last.begun.wait(PATIENCE)
    driven.controller.reset()
    driven.controller.act(SEEN)
    driven.engine.instead = following
    last.gate.set()
    assert following.begun.wait(PATIENCE), "by when all is said to the last episode"
    assert driven.companion.answer is None
    following.gate.set()


def test_a_plan_for_a_step_to_come_is_not_followed(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()
    before = driven.controller.state
    driven.controller.act(SEEN)
    driven.answered()
    driven.controller.state = before
    found = driven.controller.act(SEEN)
    assert (found.source, found.age) == ("shifted plan", 1)


def test_nothing_to_plan_from_is_no_reason_to_fail(driven: Driven) -> None:
    assured = Assured(driven.controller)
    found = [assured.act({"proprio": None}) for _ in range(3)]
    assert [action.source for action in found] == ["safe action"] * 3


def test_an_episode_begins_without_the_plans_of_the_last_one(driven: Driven) -> None:
    driven.controller.act(SEEN)
    driven.answered()
    driven.controller.reset()
    assert driven.companion.answer is None
    assert driven.controller.act(SEEN).iterations == 3


def test_who_reacts_alone_has_nothing_to_plan_beside() -> None:
    reacting = controller(*CHEETAH, policy_only=True)
    with pytest.raises(ValueError, match="reacts without planning; there is nothing to do beside"):
        reacting.plan_beside()

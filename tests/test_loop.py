"""The control loop keeps its phase, counts what it misses, and tells the controller what the plant went on with."""

import gc
import os
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clock import Clock, Timed
from tests.tiny_bundle import CHEETAH, controller
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.clock import Ticker
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import SOURCES
from wmctrl.runtime.loop import Loop, LoopRecord
from wmctrl.runtime.priority import FIFO_PRIORITY, NICE, ahead_of_others, give_way

PERIOD = 16.0
SECONDS = {"observe": 0.5, "propose": 1.0, "refine": 4.0, "policy": 0.25}
"""What graphs take in these tests; numbers that binary floating point holds."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_ticks_come_once_a_period(clock: Clock) -> None:
    ticker = Ticker(PERIOD)
    assert [ticker.wait() for _ in range(3)] == [0, 0, 0]
    assert clock.now == ticker.tick == 100.0 + 3 * PERIOD


@pytest.mark.parametrize(("late", "missed"), [(0.0, 0), (15.9, 0), (16.1, 1), (32.5, 2), (100.0, 6)])
def test_ticks_that_pass_are_missed_and_the_next_one_is_in_phase(clock: Clock, late: float, missed: int) -> None:
    ticker = Ticker(PERIOD)
    ticker.wait()
    clock.now += late
    assert ticker.wait() == missed
    assert clock.now == ticker.tick == 100.0 + (2 + missed) * PERIOD


def test_the_first_tick_can_be_given(clock: Clock) -> None:
    ticker = Ticker(PERIOD, first=107.0)
    ticker.wait()
    assert clock.now == ticker.tick == 107.0


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="the period must be above 0 s, came 0"):
        Ticker(0.0)


class Shown(NamedTuple):
    """What the cart shows."""

    observation: dict[str, NDArray[np.float32]]
    step: int
    over: bool
    reward: float = 0.0
    terminated: bool = False
    failure: bool = False


class Cart:
    """Shows its step, and goes on with the last command."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.began, self.ends = clock, clock.now + PERIOD, 1000
        self.written: list[tuple[float, NDArray[np.float32]]] = []

    def read(self) -> Shown:
        step = int((self.clock.now - self.began) // PERIOD)
        return Shown({"proprio": np.full(17, 0.01 * step, np.float32)}, step, step >= self.ends)

    def write(self, command: NDArray[np.float32]) -> None:
        self.written.append((self.clock.now, command.copy()))


def looping(clock: Clock, budget: float | None) -> tuple[Loop, Cart, Timed]:
    """A loop whose graphs take SECONDS, after decisions that told it so."""
    loaded = controller(*CHEETAH, "agent.planner.iterations=3", "agent.planner.horizon=5")
    engine, cart = Timed(loaded.engine, clock, SECONDS), Cart(clock)
    deployed = Controller(loaded.bundle, engine)
    deployed.latencies(3)
    cart.began = clock.now + PERIOD
    return Loop(Assured(deployed), cart, PERIOD, budget), cart, engine


def slowed(engine: Timed, graph: str, *seconds: float) -> None:
    """Have a graph take other times at first [s]."""
    run, usual, others = engine.run, engine.seconds[graph], iter(seconds)

    def timed(name: str, feeds: Any) -> Any:
        if name == graph:
            engine.seconds[graph] = next(others, usual)
        return run(name, feeds)

    engine.run = timed  # type: ignore[method-assign]


def test_every_cycle_reads_decides_and_writes_within_its_budget(clock: Clock) -> None:
    loop, cart, _ = looping(clock, budget=10.0)
    record = LoopRecord.of(5)
    loop.run(record)
    assert record.cycles == 5
    assert not record.missed.any()
    assert not record.woke.any()
    np.testing.assert_array_equal(record.iterations, 2)
    np.testing.assert_array_equal(record.wrote, 0.5 + 1.0 + 2 * 4.0)
    assert [time - cart.began for time, _ in cart.written] == [PERIOD * step + 9.5 for step in range(5)]


def test_it_stops_where_the_episode_does_and_goes_on_with_the_same_record(clock: Clock) -> None:
    loop, cart, _ = looping(clock, budget=10.0)
    record, cart.ends = LoopRecord.of(5), 3
    loop.run(record)
    assert (record.cycles, len(cart.written)) == (3, 3)
    loop.assured.reset()
    cart.began = clock.now + PERIOD
    loop.run(record)
    assert (record.cycles, len(cart.written)) == (5, 5)


def test_without_time_to_plan_it_follows_and_reacts_and_says_so(clock: Clock) -> None:
    loop, _, _ = looping(clock, budget=10.0)
    loop.run(LoopRecord.of(1))
    loop.budget = 5.0  # not even one iteration fits
    record = LoopRecord.of(5)
    loop.run(record)
    assert [SOURCES[source] for source in record.source] == ["shifted plan"] * 2 + ["policy"] * 3


def test_a_cycle_that_takes_too_long_is_counted_and_what_was_sent_meanwhile_is_believed(clock: Clock) -> None:
    loop, cart, engine = looping(clock, budget=10.0)
    record, assured = LoopRecord.of(4), loop.assured
    slowed(engine, "refine", 4.0, 4.0, 36.0)
    loop.run(record)
    assert record.missed.tolist() == [0, 0, 2, 0]
    track = assured.controller.state.track
    assert track.now == 6  # as many as the plant has gone on
    assert track.seen == 5
    np.testing.assert_array_equal(track.sent[-5], cart.written[1][1])
    np.testing.assert_array_equal(track.sent[-4], cart.written[1][1])
    np.testing.assert_array_equal(track.sent[-3], cart.written[1][1])
    np.testing.assert_array_equal(track.sent[-2], cart.written[2][1])


def test_priority_is_asked_for_and_given_back_and_what_is_not_granted_is_told() -> None:
    before = os.sched_getaffinity(0), os.sched_getscheduler(0), gc.isenabled()
    with ahead_of_others(core=min(before[0])) as refused:
        assert os.sched_getaffinity(0) == {min(before[0])}
        assert not gc.isenabled()
        assert (os.sched_getscheduler(0) == os.SCHED_FIFO) != any("first-in" in one for one in refused)
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0), gc.isenabled()) == before


@pytest.mark.parametrize("fifo", [True, False])
def test_threads_that_it_starts_give_way_to_it(fifo: bool) -> None:
    found, nice = [], os.getpriority(os.PRIO_PROCESS, 0)

    def begin() -> None:
        give_way()
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        found.append((os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, own))

    with ahead_of_others(fifo=fifo) as refused:
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    if fifo and not refused:
        assert found == [(os.SCHED_FIFO, FIFO_PRIORITY - 1, nice)]
    else:
        assert found == [(os.SCHED_OTHER, 0, nice + NICE)]


def test_a_core_that_is_not_there_is_told() -> None:
    with ahead_of_others(core=4000, fifo=False) as refused:
        assert len(refused) == 1
        assert refused[0].startswith("core 4000: ")


class Noting:
    """Remembers the steps that it is told of."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.gaps: list[int] = []
        """How many steps were noted before each."""
        self.problems: list[str] = []

    def missed(self, problem: str = "") -> None:
        self.gaps.append(len(self.steps))
        self.problems += [problem] if problem else []

    def note(self, step: dict[str, Any], surprise: float | None) -> None:
        self.steps.append(step)


def test_what_comes_after_a_missed_step_is_not_learned_as_its_consequence(clock: Clock) -> None:
    loop, _, engine = looping(clock, budget=10.0)
    paying, noting = Paying(clock), Noting()
    loop.plant, loop.adapter = paying, noting  # type: ignore[assignment]
    slowed(engine, "refine", 4.0, 4.0, 36.0)
    loop.run(LoopRecord.of(5), paying.began)
    firsts = [step["is_first"] for step in noting.steps]
    assert sum(firsts) == 2
    assert firsts[0] == 1.0
    assert [step["reward"] for step in noting.steps] == [0.0 if first else 2.0 for first in firsts]
    assert noting.gaps == [index for index, first in enumerate(firsts) if first and index]
    assert not noting.problems


def test_what_cannot_be_learned_from_does_not_stop_the_loop(clock: Clock) -> None:
    class Refusing(Noting):
        def note(self, step: dict[str, Any], surprise: float | None) -> None:
            raise TypeError("no such kind of step")

    loop, cart, _ = looping(clock, budget=10.0)
    noting = Refusing()
    loop.adapter = noting  # type: ignore[assignment]
    loop.run(LoopRecord.of(5))
    assert len(cart.written) == 5
    assert noting.problems == ["no such kind of step"] * 5


def test_a_plant_whose_clock_is_ahead_is_believed(clock: Clock) -> None:
    loop, cart, _ = looping(clock, budget=10.0)
    cart.began -= 3 * PERIOD
    record = LoopRecord.of(5)
    loop.run(record)
    assert [SOURCES[source] for source in record.source] == ["plan"] * 5
    assert loop.assured.monitor.blind == 0


@pytest.mark.parametrize("raised", [KeyboardInterrupt, MemoryError])
def test_whatever_ends_the_loop_the_plant_is_told_to_come_to_rest(clock: Clock, raised: type[BaseException]) -> None:
    loop, cart, _ = looping(clock, budget=10.0)
    loop.run(LoopRecord.of(2))
    seen = [cart.read()]

    def reading() -> Shown:
        if not seen:
            raise raised
        return seen.pop()

    cart.read = reading  # type: ignore[method-assign]
    with pytest.raises(raised):
        loop.run(LoopRecord.of(5))
    assert len(cart.written) == 4
    assert cart.written[2][1].any()
    np.testing.assert_array_equal(cart.written[3][1], 0.0)


class Paying(Cart):
    """Pays two for every step."""

    def read(self) -> Shown:
        shown = super().read()
        return shown._replace(reward=2.0 * shown.step)


def test_every_step_is_learned_from_once_with_the_command_that_led_to_it_and_what_it_paid(clock: Clock) -> None:
    loop, _, _ = looping(clock, budget=10.0)
    paying, noting = Paying(clock), Noting()
    paying.ends = 8
    loop.plant, loop.adapter = paying, noting  # type: ignore[assignment]
    loop.run(LoopRecord.of(50), paying.began)
    assert [step["is_first"] for step in noting.steps] == [1.0] + [0.0] * 8, "that which ends the episode included"
    assert [step["reward"] for step in noting.steps] == [0.0] + [2.0] * 8
    for step, (_, command) in zip(noting.steps[1:], paying.written, strict=True):
        np.testing.assert_array_equal(step["action"], command)


def test_what_an_episode_begins_with_is_learned_from_whatever_the_last_one_ended_with(clock: Clock) -> None:
    loop, _, _ = looping(clock, budget=10.0)
    paying, noting = Paying(clock), Noting()
    loop.plant, loop.adapter = paying, noting  # type: ignore[assignment]
    loop.run(LoopRecord.of(1), paying.began)
    loop.assured.reset()
    paying.began = clock.now + PERIOD
    loop.run(LoopRecord.of(3), paying.began)
    assert [step["is_first"] for step in noting.steps] == [1.0, 1.0, 0.0, 0.0]
    assert not noting.gaps


class Slow(Paying):
    """Shows a step only once the next one has begun, or another one after that."""

    late = 1
    """Periods."""

    def read(self) -> Shown:
        self.clock.now -= self.late * PERIOD
        shown = super().read()
        self.clock.now += self.late * PERIOD
        return shown


def test_of_a_plant_that_shows_steps_late_the_command_is_learned_that_led_to_each(clock: Clock) -> None:
    loop, _, _ = looping(clock, budget=10.0)
    slow, noting = Slow(clock), Noting()
    loop.plant, loop.adapter = slow, noting  # type: ignore[assignment]
    loop.run(LoopRecord.of(8), slow.began)
    whole = [step for step in noting.steps if not step["is_first"]]
    shown = [round(float(step["proprio"][0]) / 0.01) for step in whole]
    assert shown == [1, 2, 3, 4, 5, 6]
    for number, step in zip(shown, whole, strict=True):
        np.testing.assert_array_equal(step["action"], slow.written[number - 1][1])


def test_that_command_is_learned_where_ticks_are_missed_too(clock: Clock) -> None:
    loop, _, engine = looping(clock, budget=10.0)
    slow, noting = Slow(clock), Noting()
    loop.plant, loop.adapter, slow.late = slow, noting, 2  # type: ignore[assignment]
    slowed(engine, "refine", 4.0, 4.0, 20.0)
    record = LoopRecord.of(9)
    loop.run(record, slow.began)
    assert record.missed.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    whole = [step for step in noting.steps if not step["is_first"]]
    shown = [round(float(step["proprio"][0]) / 0.01) for step in whole]
    assert shown == [1, 5, 6, 7], "2 was not seen, so 3 has no beginning, and the command for 4 came too late"
    for number, step in zip(shown, whole, strict=True):
        *_, cause = (command for time, command in slow.written if time < slow.began + number * PERIOD)
        np.testing.assert_array_equal(step["action"], cause)


def test_what_follows_a_command_that_came_after_the_plants_tick_is_not_learned_as_its_consequence(
    clock: Clock,
) -> None:
    loop, _, engine = looping(clock, budget=None)
    cart, noting = Paying(clock), Noting()
    loop.plant, loop.adapter = cart, noting  # type: ignore[assignment]
    engine.seconds = dict.fromkeys(engine.seconds, 0.0)
    slowed(engine, "observe", 0.0, 0.0, 0.95 * PERIOD)
    record = LoopRecord.of(6)
    loop.run(record, cart.began)
    assert not record.missed.any()
    assert [step["is_first"] for step in noting.steps] == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert noting.gaps == [3], "and not where the episode began"

"""How long parts of a decision are expected to take."""

import pytest

from tests.clock import Clock
from wmctrl.runtime.pace import KEPT, PATIENCE, Pace


def note(pace: Pace, clock: Clock, part: str, *seconds: float) -> None:
    """Have a part take some times."""
    for taken in seconds:
        with pace.timed(part):
            clock.now += taken


def test_of_a_hundred_times_the_longest_but_one_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    note(pace, clock, "refine", *(number / 1000 for number in range(1, 101)))
    assert pace.expected("refine") == pytest.approx(0.099)


def test_what_was_longest_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    note(pace, clock, "refine", *[5.0] * 10, *[0.25] * KEPT)
    assert pace.expected("refine") == pytest.approx(0.25)


def test_parts_fit_up_to_the_deadline_and_not_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    note(pace, clock, "propose", 0.25)
    note(pace, clock, "refine", 0.5)
    assert pace.fits(clock.now + 0.75, "propose", "refine")
    assert not pace.fits(clock.now + 0.74, "propose", "refine")
    assert pace.fits(None, "propose", "refine")


def test_what_was_never_timed_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    assert pace.fits(clock.now, "refine")
    note(pace, clock, "refine", 0.5)
    assert not pace.fits(clock.now, "refine")
    pace.forget()
    assert pace.fits(clock.now, "refine")


def test_a_single_stall_is_forgotten_once_it_kept_a_part_from_being_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    note(pace, clock, "refine", 0.25, 8.0, 0.5)
    assert not pace.fits(clock.now + 0.5, "refine")
    pace.leave_out("refine")
    assert pace.fits(clock.now + 0.5, "refine")


def test_what_varies_by_itself_is_not_taken_for_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    note(pace, clock, "refine", 0.25, 0.5, 1.25)
    for _ in range(PATIENCE - 1):
        pace.leave_out("refine")
        assert not pace.fits(clock.now + 1.0, "refine")


def test_what_is_slow_most_of_the_time_is_tried_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    note(pace, clock, "refine", *[0.5] * 40)
    tried = 0
    for _ in range(4 * PATIENCE):
        if pace.fits(clock.now + 0.25, "refine"):
            note(pace, clock, "refine", 0.5)
            tried += 1
        else:
            pace.leave_out("refine")
    assert tried == 3


def test_what_was_slow_for_a_while_is_trusted_again_once_it_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    note(pace, clock, "refine", *[0.5] * KEPT)
    for _ in range(PATIENCE):
        assert not pace.fits(clock.now + 0.25, "refine")
        pace.leave_out("refine")
    for _ in range(10):
        assert pace.fits(clock.now + 0.25, "refine")
        note(pace, clock, "refine", 0.125)


def test_what_raises_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    with pytest.raises(ZeroDivisionError), pace.timed("refine"):
        clock.now += 1 / 0
    assert pace.expected("refine") == 0.0

"""How long parts of a decision are expected to take."""

import pytest

from tests.clock import Clock
from wmctrl.runtime.pace import KEPT, Pace


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


def test_what_raises_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, clock = Pace(), Clock(monkeypatch)
    with pytest.raises(ZeroDivisionError), pace.timed("refine"):
        clock.now += 1 / 0
    assert pace.expected("refine") == 0.0

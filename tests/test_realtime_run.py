"""`wm run --rate`: a bundle drives a plant on the wall clock, and what became of every cycle is told."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_bundle import controller
from wmctrl.commands.realtime import COLUMNS, Punctuality, Timing, drive, line, write_report
from wmctrl.runtime.decision import SOURCES
from wmctrl.runtime.loop import LoopRecord

PENDULUM = ("Pendulum-v1",)


def recorded(*milliseconds: float, missed: int = 0) -> LoopRecord:
    """A record whose commands took so long, with room for more."""
    record = LoopRecord.of(len(milliseconds) + 3)
    record.wrote[: len(milliseconds)] = np.array(milliseconds) / 1000.0
    record.woke[: len(milliseconds)] = 0.00025
    record.missed[0], record.cycles = missed, len(milliseconds)
    record.source[0] = SOURCES.index("policy")
    return record


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate": 0.0}, "--rate must be from 0.1 to 10,000 Hz, came 0"),
        ({"rate": float("nan")}, "--rate must be from"),
        ({"budget": 0.0}, "--budget-ms must be above 0 and at most the period, 20 ms"),
        ({"budget": 0.021}, "--budget-ms must be above 0 and at most the period, 20 ms"),
    ],
)
def test_a_time_that_cannot_be_kept_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Timing(wrong.get("rate", 50.0), wrong.get("budget", 0.01))


def test_punctuality_is_told_of_what_was_recorded_alone() -> None:
    found = Punctuality.of([recorded(4.0, 6.0, 12.0, missed=2), recorded(8.0)])
    assert found.made_by == Counter({"policy": 2, "plan": 2})
    row = dict(zip(COLUMNS, found.row(Timing(50.0, 0.01)), strict=True))
    assert row["commands"] == "4"
    assert row["missed"] == "2 of 6 (33.33%)"
    assert row["over budget"] == "25.00%"
    assert (row["ms to command, p50"], row["most"]) == ("7.00", "12.00")


def test_no_command_makes_an_empty_line() -> None:
    assert Punctuality.of([recorded()]).row(Timing(50.0, None))[0] == "0"


def test_the_live_line_tells_how_it_stands() -> None:
    timing = Timing(50.0, 0.01)
    assert line(LoopRecord.of(5), timing) == "starts"
    assert line(recorded(4.0, 6.0, missed=1), timing).startswith(
        "2 commands at 50 Hz, 5.0 ms (p99 6.0) of 10.0, missed 1, by plan"
    )


@pytest.mark.parametrize("beside", [False, True], ids=["in the loop", "beside"])
def test_a_bundle_drives_a_plant_that_does_not_wait(tmp_path: Path, beside: bool) -> None:
    timing, driven = Timing(100.0, None if beside else 0.009, beside), controller(*PENDULUM)
    drives = list(drive(driven, timing, episodes=1, cycles=25, seed=0, env=None))
    if driven.companion is not None:
        driven.companion.stop()
    found = Punctuality.of([one.record for one in drives])
    assert len(found.wrote) == 25
    assert found.made_by["plan"]
    assert not found.made_by["safe action"]
    assert sum(one.result.steps for one in drives) >= 24
    assert drives[0].result.reward < 0.0
    write_report(tmp_path / "report.html", "Pendulum-v1", timing, found)
    page = (tmp_path / "report.html").read_text()
    assert re.search(r"Of 25 commands [\d.]+% came after \d+\.\d ms", page)
    assert "data:image/png;base64," in page


def test_episodes_are_driven_to_their_end() -> None:
    (driven,) = drive(controller(*PENDULUM), Timing(400.0, None), episodes=1, cycles=None, seed=0, env=None)
    assert driven.result.over
    assert driven.result.steps == 200

"""`wm bench punctuality`: in real time in every circumstance, beside work that always takes as long."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny_bundle import controller
from wmctrl.bench import punctuality
from wmctrl.bench.punctuality import CIRCUMSTANCES, FIGURES, LONGER, Circumstance, Finding
from wmctrl.commands.realtime import Punctuality, Timing
from wmctrl.runtime.loop import LoopRecord


def finding(*fixed: float, rewards: tuple[float, ...] = (), circumstance: Circumstance = CIRCUMSTANCES[0]) -> Finding:
    """Of four commands after 4 to 12 ms, and fixed work that took so long [s]."""
    record = LoopRecord.of(4)
    record.wrote[:], record.cycles = [0.004, 0.006, 0.008, 0.012], 4
    return Finding(circumstance, Timing(50.0, 0.01), Punctuality.of([record]), rewards, np.array(fixed))


def test_fixed_work_is_late_where_it_takes_longer_than_the_budget() -> None:
    told = dict(zip(FIGURES, finding(0.005, 0.0101, 0.03, 0.009, rewards=(4.0, 6.0)).figures(), strict=True))
    assert (told["fixed work over budget"], told["most"]) == ("50.00%", "30.00")
    assert (told["over budget"], told["return"]) == ("25.00%", "5")


def test_no_return_is_told_where_no_episode_came_to_its_end() -> None:
    assert dict(zip(FIGURES, finding(0.005).figures(), strict=True))["return"] == ""


def test_a_circumstance_is_a_column() -> None:
    columns, rows = punctuality.table([finding(0.005, circumstance=one) for one in CIRCUMSTANCES])
    assert columns == ["", "default, other cores busy", "FIFO, other cores busy", "FIFO, other cores idle"]
    assert rows[0] == ("commands", "4", "4", "4")


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    punctuality.write_json(tmp_path / "found.json", "Pendulum-v1", [finding(0.005, 0.02, rewards=(4.0,))])
    kept = json.loads((tmp_path / "found.json").read_text())
    assert kept["task"] == "Pendulum-v1"
    (one,) = kept["findings"]
    assert one["circumstance"] == {"fifo": False, "busy": True}
    assert (one["commands"], one["missed"], one["over_budget"], one["fixed_over_budget"]) == (4, 0, 0.25, 0.5)
    assert (one["rewards"], one["fixed_ms"]["longest"]) == ([4.0], 20.0)


def test_all_other_cores_are_kept_busy_and_left_alone_after(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **named: Any) -> None:
            super().__init__(command, **named)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda number: {0, 1, 2})
    with punctuality.busy_cores():
        assert [program.args[-1] for program in started] == ["1", "2"]  # type: ignore[index]
        assert [program.poll() for program in started if program.args[-1] == "1"] == [None]  # type: ignore[index]
    assert all(program.poll() is not None for program in started)


def test_a_controller_drives_in_real_time_in_every_circumstance() -> None:
    drives = list(punctuality.measure(controller("Pendulum-v1"), 4, seed=0, beside=False))
    assert [one.circumstance for one in drives] == list(CIRCUMSTANCES)
    assert [len(one.kept.wrote) for one in drives] == [4, 4, 4 * LONGER]
    assert all(one.timing.fifo == one.circumstance.fifo and one.timing.core == 0 for one in drives)
    assert all(np.isfinite(one.fixed).all() and (one.fixed > 0.0).all() for one in drives)

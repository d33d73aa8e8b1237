"""The demo from nothing, with lessons of a few seconds in place of minutes."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.tiny_run import EPISODE_AND_A_HALF
from wmctrl.commands import logbook, self_taught, training
from wmctrl.commands.self_taught import Lesson, SelfTaught, all_succeeded, standing
from wmctrl.config import resolve

LESSON = Lesson("FetchReach-v4", EPISODE_AND_A_HALF)
LONG = Lesson("Reacher-v5", (*EPISODE_AND_A_HALF, "schedule.steps=100000"))


def test_demo_learns_both_at_once_and_writes_one_report(tmp_path: Path) -> None:
    said: list[str] = []
    car = Lesson("Reacher-v5", (*EPISODE_AND_A_HALF, "schedule.steps=70"))
    written = SelfTaught(arm=LESSON, arm_seconds=0.0, car=car, car_seconds=60.0, episodes=1).run(tmp_path, said.append)
    page = written.read_text()
    assert "FetchReach-v4</h2>" in page
    assert "Reacher-v5</h2>" in page
    assert any("After 60 environment steps" in line for line in said), "the arm's time was up at its first update"
    assert any("After 70 environment steps" in line for line in said), "the car had time for all its steps"
    assert "wm train --resume" in said[-1]


def test_the_second_training_is_saved_when_time_is_up(tmp_path: Path) -> None:
    run = training.new_run(resolve(LONG.task, overrides=LONG.overrides), 0, "cpu", tmp_path)
    with self_taught.beside(run) as process:
        while process.poll() is None and len(logbook.logged(run)) < 1:
            pass
    assert process.returncode == 0
    assert (run / "checkpoint" / "checkpoint.json").exists()


def test_a_second_training_that_fails_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "GO_ON", "raise SystemExit(3)")
    with pytest.raises(ValueError, match=r"training of Reacher-v5 failed; see .*train\.log"):
        SelfTaught(arm=LESSON, car=LONG, episodes=1).run(tmp_path, lambda line: None)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_leaving_early_ends_the_second_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    monkeypatch.setattr(training, "GO_ON", "import time; time.sleep(100)")
    started: list[subprocess.Popen[bytes]] = []

    def interrupted() -> None:
        with self_taught.beside(tmp_path) as process:
            started.append(process)
            os.kill(os.getpid(), signum)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert started[0].poll() is not None


def test_only_success_in_every_episode_is_enough() -> None:
    assert all_succeeded({"success": 1.0})
    assert not all_succeeded({"success": 0.9})
    assert not all_succeeded({"reward": 0.3})


def test_standing_of_a_training_names_the_newest_look() -> None:
    assert standing([]) == "starts"
    assert standing([{"step": 500, "success": 0.1}, {"step": 1500, "reward": 1.0}]) == "1,500 steps, success 0.10"

"""`run.py` loads, checks and times a bundle, and says what to do where it refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_bundle import CHEETAH, copied, made
from wmctrl.runtime import board, manifest
from wmctrl.runtime.bundle import REMEDY
from wmctrl.runtime.controller import Controller

FETCH = ("FetchReach-v4", "agent.learn_behavior=false", "agent.proposals=0")
"""A planner without a policy."""
REMEDIES = r"give it more threads \(threads=N, --threads N\)(.*), or let it be late \(in_time=False, --untimed\)\n"


def with_period(folder: Path, seconds: float) -> Path:
    """A bundle whose plant is controlled at another period."""
    path = folder / manifest.NAME
    told = json.loads(path.read_text())
    told["task"]["control_period"] = seconds
    path.write_text(json.dumps(told))
    return folder


@pytest.fixture
def hurried(tmp_path: Path) -> Path:
    """A bundle that no machine drives in time."""
    return with_period(copied(made(*CHEETAH)[1], tmp_path), 1e-5)


def test_a_bundle_whose_median_decision_is_late_is_refused_with_what_was_judged_and_what_to_do(
    hurried: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert board.main(hurried, ["--provider", "cpu"], 0.0) == 2
    judged = r"the median of 9 decisions is \d+\.\d ms here, above the control period of 0\.01 ms"
    found = re.fullmatch(rf"refused: cpu: {judged}; {REMEDIES}", capsys.readouterr().err)
    assert found is not None
    assert found[1] == ", react without planning (policy_only=True, --policy)"


def test_a_policy_is_advised_only_where_the_bundle_holds_one_and_plans(
    hurried: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fetch").mkdir()
    for folder, options in ((hurried, ["--policy"]), (copied(made(*FETCH)[1], tmp_path / "fetch"), [])):
        assert board.main(with_period(folder, 1e-5), ["--provider", "cpu", *options], 0.0) == 2
        found = re.search(REMEDIES, capsys.readouterr().err)
        assert found is not None
        assert found[1] == ""


def test_untimed_tells_how_many_decisions_were_late(hurried: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board.main(hurried, ["--provider", "cpu", "--untimed", "--decisions", "5"], 0.0) == 0
    assert "; 5 of 5 took longer than the control period of 0.01 ms\n" in capsys.readouterr().out


def test_a_bundle_in_time_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_period(copied(made(*CHEETAH)[1], tmp_path), 1e3)
    assert board.main(folder, ["--provider", "cpu", "--decisions", "5", "--self-test"], 0.0) == 0
    assert "; 0 of 5 took longer than the control period of 1e+06 ms\n" in capsys.readouterr().out


def test_what_is_reported_is_judged_as_loading_judges(
    hurried: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Controller.load(hurried, provider="cpu", in_time=False)
    monkeypatch.setattr(Controller, "load", lambda *_, **__: sound)
    assert board.main(hurried, ["--decisions", "50"], 0.0) == 2
    told = capsys.readouterr()
    assert "50 of 50 took longer" in told.out
    assert "the median of 50 decisions is" in told.err


def started(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What `python3 run.py` in a bundle's folder does."""
    command = [sys.executable, *options, "run.py", "--decisions", "1", "--untimed"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_missing_file_of_the_runtime_is_refused_by_name_in_one_line(hurried: Path) -> None:
    for path in sorted((hurried / "wmctrl" / "runtime").glob("*.py")):
        content = path.read_bytes()
        path.unlink()
        done = started(hurried)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"refused: .*\b{path.stem}\b.*; {re.escape(REMEDY)}\n", done.stderr), done.stderr
        path.write_bytes(content)
    assert started(hurried).returncode == 0


def test_a_runtime_that_is_no_python_any_more_is_refused_in_one_line(hurried: Path) -> None:
    path = hurried / "wmctrl" / "runtime" / "board.py"
    path.write_bytes(path.read_bytes().partition(b") -> int")[0])
    done = started(hurried)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"refused: .*board\.py.*; {re.escape(REMEDY)}\n", done.stderr), done.stderr


def test_packages_that_are_not_installed_are_named_with_what_installs_them(hurried: Path) -> None:
    done = started(hurried, "-I", "-S")  # without those that are
    assert done.returncode == 2
    assert done.stderr == ("refused: No module named 'numpy'; it needs `python3 -m pip install numpy onnxruntime`\n")


def test_late_decisions_are_counted_and_the_median_is_not_moved_by_them() -> None:
    seconds = np.array([0.010] * 97 + [0.050] * 3)
    assert board.punctuality(seconds, 0.04) == (
        "decision: 10.0 ms p50, 50.0 ms p99, 50.0 ms at most; 3 of 100 took longer than the control period of 40 ms"
    )

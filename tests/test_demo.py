"""The demo, with a tiny controller in place of those that come along."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tiny_bundle import CHEETAH, copied, made, taught
from wmctrl.commands import archive, demo
from wmctrl.commands.demo import ACTS, Act, Driver, News, curve
from wmctrl.runtime.adaptation import Event
from wmctrl.stress.suite import Suite

ROOT = Path(__file__).parents[1]
WEAK = Suite({"weak": {"motor_gain": 0.6}}, seeds=(0,), nominal=1, shifted=1001, after=0)


def test_both_drivers_are_driven_told_of_and_reported_on(tmp_path: Path) -> None:
    said: list[str] = []
    written = demo.run(tmp_path, said.append, [Act(str(taught(*CHEETAH)), WEAK, 0.05)])
    told = "\n".join(said)
    assert "50 ms for a decision. After 1 steps: weak (motor_gain 0.6), for 1,001 steps" in told
    assert "without learning" in told
    assert "golden steps repeated" in told
    assert "--adapt" in said[-1]
    page = written.read_text()
    for part in (">frozen<", ">all<", "weak: surprise", "weak: frozen", "weak: all", "data:image/webp"):
        assert part in page, part
    assert len([*tmp_path.rglob("*.webp")]) == 2


def test_a_controller_that_does_not_drive_is_told(tmp_path: Path) -> None:
    folder = copied(made(*CHEETAH)[1], tmp_path)
    with pytest.raises(ValueError, match="cannot learn"):
        demo.run(tmp_path, lambda line: None, [Act(str(folder), WEAK, 0.05)])


DRIVES = """
from pathlib import Path
from tests.test_demo import WEAK
from wmctrl.commands import demo
if __name__ == "__main__":
    demo.run(Path({root!r}), print, [demo.Act({place!r}, WEAK, 0.05)])
"""


def test_drivers_outlive_a_demo_that_was_killed_by_no_more_than_a_step(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(DRIVES.format(root=str(tmp_path), place=str(taught(*CHEETAH))))
    with subprocess.Popen([sys.executable, str(program)], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        own = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: len(drivers(own)) >= 2)
        children = drivers(own)
        process.kill()
    until(lambda: not any(alive(child) for child in children))


def drivers(told: Path) -> list[int]:
    """Processes that were started by another, but for the one that keeps track of them."""
    return [int(child) for child in told.read_text().split() if b"resource_tracker" not in command(int(child))]


def command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(process: int) -> bool:
    """Whether a process runs: one that is over and was not waited for has no command any more."""
    return bool(command(process))


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < end, "it never did"
        time.sleep(0.05)


def test_a_driver_that_dies_is_told() -> None:
    process = multiprocessing.get_context("spawn").Process(target=sys.exit, args=(3,))
    process.start()
    process.join()
    with pytest.raises(ValueError, match="a driver ended with exit code 3"):
        demo._next(multiprocessing.get_context("spawn").Queue(), [process])


def test_what_comes_along_can_do_what_is_asked_of_it() -> None:
    for act in ACTS:
        told = archive.told_in(archive.path_of(act.controller))
        assert told.learning, act.controller
        assert act.budget <= 0.25 * told.task.control_period


@pytest.mark.parametrize(
    ("values", "marks"), [([], ""), ([0.0, 0.1, 0.2, 1.0, 10.0, 100.0, 1e9], "▁▁▁▃▅██"), ([0.0999] * 3, "▁▁▁")]
)
def test_surprise_is_drawn_on_a_logarithmic_scale(values: Sequence[float], marks: str) -> None:
    assert curve(values) == marks


def test_a_drivers_line_tells_where_it_is_and_what_it_learned_last() -> None:
    standing = Driver()
    assert standing.line("learns").split() == ["learns", "starts"]
    for step in range(40):
        standing.told(News("all", step, "shifted", 10.0, -1.5, Event(17, "calibrated", "gain 0.4")))
    line = standing.line("learns")
    assert "▅" * 32 in line
    assert "▅" * 33 not in line
    assert line.endswith("surprise  10.00  last return   -1.50  calibrated at step 17")
    shown = demo.shown(ACTS[0], {"frozen": Driver(), "all": standing}).plain.splitlines()
    assert shown[0] == "fetch-reach: step 39 of about 1,050; the plant: weak motors"
    assert "learns nothing  starts" in shown[1]


def test_where_a_driver_is_is_told_of_its_course() -> None:
    course = SimpleNamespace(surprises=[4.0] + [1.0] * 20, episodes=[], events=[], step=21, phase="nominal")
    assert demo.news_of("all", course) == News("all", 21, "nominal", 1.0, None, None)  # type: ignore[arg-type]

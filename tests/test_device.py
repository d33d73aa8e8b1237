"""As many threads compute as make it quicker, and none that were not asked for."""

import pytest

from tests.tiny_bundle import CHEETAH, made
from wmctrl.runtime import bundle, device
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import Engine


@pytest.fixture
def held() -> Bundle:
    return bundle.load(made(*CHEETAH)[1])


@pytest.mark.parametrize(
    ("seconds", "cores", "expected"),
    [
        ({1: 10.0, 2: 9.5, 4: 1.0}, 8, 1),
        ({1: 10.0, 2: 6.0, 4: 5.5, 8: 1.0}, 8, 2),
        ({1: 10.0, 2: 6.0, 4: 4.0, 8: 3.0}, 6, 4),
        ({1: 10.0, 2: 6.0}, 1, 1),
    ],
)
def test_threads_are_doubled_for_as_long_as_that_pays_and_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, held: Bundle, seconds: dict[int, float], cores: int, expected: int
) -> None:
    monkeypatch.setattr(device, "_seconds", lambda bundle, engine: seconds[engine.threads])
    monkeypatch.setattr(device, "_cores", lambda: cores)
    assert device.proven(held, "cpu", None).threads == expected


def test_what_was_asked_for_is_not_measured(monkeypatch: pytest.MonkeyPatch, held: Bundle) -> None:
    monkeypatch.delattr(device, "_seconds")
    assert device.proven(held, "cpu", 2).threads == 2


def test_a_controller_drives_with_threads_that_were_measured(monkeypatch: pytest.MonkeyPatch, held: Bundle) -> None:
    monkeypatch.setattr(device, "_seconds", lambda bundle, engine: 1.0 / engine.threads)
    monkeypatch.setattr(device, "_cores", lambda: 2)
    engine = Controller.load(held.folder, threads=None, in_time=False).engine
    assert isinstance(engine, Engine)
    assert engine.threads == 2


def test_golden_steps_are_timed(held: Bundle) -> None:
    assert device._seconds(held, device.proven(held, "cpu", 1)) > 0.0

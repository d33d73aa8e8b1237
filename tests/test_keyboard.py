"""Keys while driving: what each knob changes, how far it goes, and a terminal that is as it was afterwards."""

import os
import pty
import sys
import termios
import time

import numpy as np
import pytest

from tests.tiny_bundle import made
from wmctrl.commands.keyboard import FACTOR, FIRST_WEIGHT, GOAL_STEP, Panel
from wmctrl.runtime.controller import Controller

REACH = ("FetchReach-v4", "agent.objective.goal=1", "agent.objective.reward=0")


@pytest.fixture
def panel() -> Panel:
    return Panel(Controller.load(made(*REACH)[1], in_time=False))


def chosen(panel: Panel, name: str) -> Panel:
    """The panel with a knob chosen by the keys."""
    while panel.knobs[panel.chosen].name != name:
        panel.press("right")
    return panel


def test_every_weight_limit_and_element_of_the_goal_has_a_knob(panel: Panel) -> None:
    names = [knob.name for knob in panel.knobs]
    told = panel.controller.bundle.manifest.task
    assert names == [
        *panel.controller.weights,
        *("largest action", "largest change", "largest risk"),
        *(f"{element.name} moved by" for element in told.goal),
    ]


def test_choosing_goes_around(panel: Panel) -> None:
    panel.press("left")
    assert panel.chosen == len(panel.knobs) - 1
    panel.press("right")
    assert panel.chosen == 0


def test_a_weight_goes_up_and_down_by_a_factor_and_starts_from_nothing(panel: Panel) -> None:
    name = "terminal"
    before = panel.controller.weights[name]
    chosen(panel, name).press("up")
    assert panel.controller.weights[name] == pytest.approx(before * FACTOR)
    panel.press("down")
    panel.press("down")
    assert panel.controller.weights[name] == pytest.approx(before / FACTOR)
    panel.controller.set_weights(action_rate=0.0)
    chosen(panel, "action_rate").press("up")
    assert panel.controller.weights["action_rate"] == FIRST_WEIGHT


def test_a_weight_stays_below_the_largest(panel: Panel) -> None:
    chosen(panel, "terminal")
    for _ in range(500):
        panel.press("up")
    largest = panel.controller.weights["terminal"]
    assert np.isfinite(largest)
    panel.press("up")
    assert panel.controller.weights["terminal"] == largest


@pytest.mark.parametrize(("name", "most"), [("largest action", 1.0), ("largest change", 2.0), ("largest risk", 1.0)])
def test_a_limit_comes_down_by_a_factor_and_up_to_what_it_was(panel: Panel, name: str, most: float) -> None:
    knob = panel.knobs[chosen(panel, name).chosen]
    panel.press("down")
    assert knob.value() == pytest.approx(most / FACTOR)
    panel.press("up")
    panel.press("up")
    assert knob.value() == pytest.approx(most)


def test_the_goal_moves_by_a_share_of_its_range_for_what_is_shown_from_then_on(panel: Panel) -> None:
    element = panel.controller.bundle.manifest.task.goal[1]
    assert element.low is not None
    assert element.high is not None
    chosen(panel, f"{element.name} moved by").press("down")
    wanted = panel.goal.wanted({"proprio": np.zeros(10, np.float32), "goal": np.ones(3, np.float32)})
    step = GOAL_STEP * (element.high - element.low)
    assert wanted is not None
    np.testing.assert_allclose(wanted, [1.0, 1.0 - step, 1.0], rtol=1e-6)
    assert panel.goal.wanted({"proprio": None, "goal": None}) is None


def test_keys_of_a_terminal_are_heard_and_it_is_as_it_was_afterwards(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, terminal = pty.openpty()
    with os.fdopen(terminal, "r+b", buffering=0) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        before = termios.tcgetattr(stream.fileno())
        assert panel.line() == ""
        with panel.listening():
            assert "1 of" in panel.line()
            for key in (b"\x1b[C", b"l", b"x", b"\x1b[D", b"\x1b[C\x1b[Cd"):
                os.write(person, key)
                time.sleep(0.05)
            end = time.monotonic() + 10.0
            while panel.chosen != 4 and time.monotonic() < end:
                time.sleep(0.01)
            assert panel.chosen == 4
        assert termios.tcgetattr(stream.fileno()) == before
    os.close(person)


def test_without_a_terminal_nothing_is_heard(panel: Panel) -> None:
    with panel.listening():
        assert panel.line() == ""

"""Whatever happens to sensors or planner, a command comes that the plant can take, and the loop recovers calmly."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_bundle import CHEETAH, controller
from wmctrl.runtime.actuation import Actuation
from wmctrl.runtime.assurance import Assured, Bounds, Monitor, Rung, Trouble
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import Decision
from wmctrl.runtime.engine import Computes
from wmctrl.runtime.planner import Health
from wmctrl.runtime.track import Track

PERIOD = 0.05
CALM = 40
"""Decisions without trouble until a better rung: two seconds."""
FINE, BACK, DOWN = Trouble(Rung.FOLLOW), Trouble(Rung.FALL_BACK, "planner"), Trouble(Rung.STOP, "sensors")
SEEN = {"proprio": np.linspace(-0.5, 0.5, 17, dtype=np.float32)}
LOST: dict[str, None] = {"proprio": None}


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(Bounds(), PERIOD, ordinary_surprise=2.0)


def test_trouble_is_answered_at_once_and_calm_is_waited_for(monitor: Monitor) -> None:
    assert monitor.judged(FINE, FINE).rung == Rung.FOLLOW
    assert monitor.judged(FINE, DOWN) == DOWN
    held = [monitor.judged(FINE, FINE) for _ in range(CALM)]
    assert held[:-1] == [DOWN] * (CALM - 1)
    assert held[-1] == FINE


def test_trouble_that_comes_and_goes_does_not_chatter(monitor: Monitor) -> None:
    rungs = [monitor.judged(DOWN if step % 7 == 0 else FINE).rung for step in range(200)]
    assert set(rungs) == {Rung.STOP}


def test_from_a_stop_the_way_up_may_end_at_falling_back(monitor: Monitor) -> None:
    monitor.judged(DOWN)
    rungs = [monitor.judged(BACK).rung for _ in range(CALM)]
    assert rungs == [Rung.STOP] * (CALM - 1) + [Rung.FALL_BACK]


def test_the_way_up_leads_no_further_than_the_worst_trouble_on_it_allows(monitor: Monitor) -> None:
    monitor.judged(DOWN)
    for _ in range(CALM - 1):
        monitor.judged(BACK)
    assert monitor.judged(FINE) == BACK
    assert [monitor.judged(FINE) for _ in range(CALM)] == [BACK] * (CALM - 1) + [FINE]


@pytest.fixture
def track() -> Track:
    return controller(*CHEETAH).state.track


def test_a_moment_without_sensors_is_borne_and_half_a_second_is_not(monitor: Monitor, track: Track) -> None:
    rungs = [monitor.sensed(track, None).rung for _ in range(11)]
    assert rungs == [Rung.FOLLOW] * 10 + [Rung.STOP]
    assert monitor.sensed(track, 0.0).rung == Rung.FOLLOW


def test_sensors_less_than_half_believed_count_as_none(monitor: Monitor, track: Track) -> None:
    doubted = track._replace(believed=0.4)
    assert [monitor.sensed(doubted, 1.0).rung for _ in range(11)][-1] == Rung.STOP


def test_surprises_count_when_they_follow_one_another(monitor: Monitor, track: Track) -> None:
    def rungs(*surprises: float) -> list[Rung]:
        monitor.reset()
        return [monitor.sensed(track, surprise).rung for surprise in surprises]

    assert rungs(99.0, 1.0, 99.0, 99.0, 99.0, 1.0) == [Rung.FOLLOW] * 6
    assert rungs(1.0, 99.0, 99.0, 99.0, 99.0)[-1] == Rung.STOP
    assert rungs(99.0, 99.0, 99.0, 99.0)[-1] == Rung.FOLLOW  # the first one cannot have been expected


def decision(**health: float) -> Decision:
    sound = Health(best=1.0, worst_elite=0.0, finite=1.0, spread=0.1, failure=0.0)
    return Decision(np.zeros(6, np.float32), "plan", 0, sound._replace(**health), 2, None)


@pytest.mark.parametrize(
    ("health", "rung"),
    [
        ({}, Rung.FOLLOW),
        ({"finite": 0.4}, Rung.FALL_BACK),
        ({"finite": np.nan}, Rung.FALL_BACK),
        ({"failure": 0.6}, Rung.STOP),
        ({"failure": np.nan}, Rung.STOP),
    ],
)
def test_a_planner_in_bad_health_is_not_followed(monitor: Monitor, health: dict[str, float], rung: Rung) -> None:
    assert monitor.decided(decision(**health)).rung == rung


class Faulty:
    """An engine that does something else instead of computing a graph, while it is told to."""

    provider = "faulty"

    def __init__(self, engine: Computes) -> None:
        self.engine = engine
        self.faults: dict[str, Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]] = {}

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""
        found = self.engine.run(name, feeds)
        return self.faults[name](found) if name in self.faults else found


def broken(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.full_like(value, np.nan) for name, value in outputs.items()}


def raising(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    raise RuntimeError("out of memory\nat last")


@pytest.fixture
def assured() -> Assured:
    loaded = controller(*CHEETAH)
    return Assured(Controller(loaded.bundle, Faulty(loaded.engine)))


def faults(assured: Assured) -> dict[str, Callable[..., Any]]:
    assert isinstance(assured.controller.engine, Faulty)
    return assured.controller.engine.faults


def test_without_trouble_nothing_is_changed(assured: Assured) -> None:
    bare = controller(*CHEETAH)
    for _ in range(5):
        wanted, found = bare.act(SEEN), assured.act(SEEN)
        np.testing.assert_array_equal(found.command, wanted.command)
        assert found._replace(command=wanted.command, seconds=wanted.seconds) == wanted


@pytest.mark.parametrize("fault", [broken, raising])
def test_a_planner_that_fails_is_followed_by_its_last_plan_then_the_policy_and_taken_up_again(
    assured: Assured, fault: Callable[..., Any]
) -> None:
    assured.act(SEEN)
    faults(assured)["refine"] = fault
    found = [assured.act(SEEN) for _ in range(4)]
    assert [action.source for action in found] == ["shifted plan", "policy", "policy", "policy"]
    assert found[0].reason
    assert "\n" not in found[0].reason
    faults(assured).clear()
    recovering = [assured.act(SEEN).source for _ in range(CALM + 1)]
    assert recovering == ["policy"] * (CALM - 1) + ["plan"] * 2


@pytest.mark.parametrize("fault", [broken, raising])
@pytest.mark.parametrize("graphs", [("observe",), ("refine", "policy"), ("imagine",), ("observe", "imagine", "refine")])
def test_whatever_breaks_commands_stay_finite_and_within_the_limits(
    assured: Assured, graphs: tuple[str, ...], fault: Callable[..., Any]
) -> None:
    half = np.full(6, 0.5, np.float32)
    assured.controller.set_limits(-half, half, rate=0.5 * half)
    last = np.zeros(6, np.float32)
    for step in range(30):
        if step == 3:
            faults(assured).update(dict.fromkeys(graphs, fault))
        if step == 20:
            faults(assured).clear()
        command = assured.act(SEEN).command
        assert np.isfinite(command).all()
        assert np.abs(command).max() <= 0.5
        assert np.abs(command - last).max() <= 0.25 + 1e-6
        last = command
    recovered = [assured.act(SEEN) for _ in range(CALM + 1)]
    assert all(action.surprise is not None for action in recovered)
    assert assured.monitor.rung == Rung.FOLLOW


def test_a_plant_that_is_not_sensed_any_more_is_brought_to_rest_and_driven_again_when_it_is(assured: Assured) -> None:
    for _ in range(3):
        assured.act(SEEN)
    lost = [assured.act(LOST) for _ in range(15)]
    assert [action.source for action in lost] == ["plan"] * 10 + ["safe action"] * 5
    assert not lost[-1].command.any()
    assert lost[-1].reason == "no trusted sensor reading for 15 control periods"
    found = [assured.act(SEEN).source for _ in range(CALM + 1)]
    assert found == ["safe action"] * (CALM - 1) + ["plan"] * 2


def test_half_a_second_without_sensors_is_no_longer_where_ticks_are_missed(assured: Assured) -> None:
    for _ in range(3):
        assured.act(SEEN)
    found = []
    for _ in range(8):
        assured.controller.send(assured.controller.state.last, None)  # a tick that is missed
        found.append(assured.act(LOST).source)
    assert found == ["plan"] * 5 + ["safe action"] * 3


@pytest.mark.parametrize(
    "seen", [LOST, {"proprio": np.full(17, np.nan)}, {"proprio": np.zeros(3)}, {}, {"speed": 1.0}, [1, 2]]
)
def test_what_cannot_be_taken_in_from_the_start_leads_to_rest(assured: Assured, seen: Any) -> None:
    found = assured.act(seen)
    assert found.source == "safe action"
    assert not found.command.any()
    assert assured.act(SEEN).surprise is not None


def test_a_car_brakes_by_its_gains() -> None:
    car = controller("parking-v0", "agent.objective.goal=1", "agent.objective.reward=0")
    assured = Assured(car)
    speed = 6
    seen = {"proprio": np.zeros(7, np.float32), "goal": np.zeros(6, np.float32)}
    seen["proprio"][speed] = 0.5
    assured.act(seen)
    assured.monitor.judged(DOWN)
    braking = assured.act(seen)
    assert braking.source == "safe action"
    np.testing.assert_allclose(braking.command, [-0.5, 0.0], atol=1e-6)
    car.set_actuation(Actuation(np.array([0.8, 1.0], np.float32), np.array([0.0, 0.2], np.float32)))
    np.testing.assert_allclose(assured.act(seen).command, [-0.625, -0.2], atol=1e-6, err_msg="brakes weak, wheel bent")

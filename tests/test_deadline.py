"""Decisions under a deadline: as many iterations as fit, never more than one too late, always an action."""

import numpy as np
import pytest

from tests.clock import Clock, Timed
from tests.tiny_bundle import CHEETAH, controller
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import Action

SECONDS = {"observe": 0.5, "propose": 1.0, "refine": 4.0, "policy": 0.25}
"""What graphs take in these tests; numbers that binary floating point holds."""
ITERATIONS = 3
LONGEST = 2
"""Decisions that a plan of these bundles is followed without being refined: half of its 5 actions."""
SEEN = {"proprio": np.linspace(-0.5, 0.5, 17, dtype=np.float32)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def planning(clock: Clock, *overrides: str) -> tuple[Controller, Timed]:
    """A controller whose graphs take SECONDS, after a decision that took all its iterations."""
    loaded = controller(*CHEETAH, f"agent.planner.iterations={ITERATIONS}", "agent.planner.horizon=5", *overrides)
    engine = Timed(loaded.engine, clock, SECONDS)
    deployed = Controller(loaded.bundle, engine)
    deployed.act(SEEN)
    return deployed, engine


def within(deployed: Controller, clock: Clock, seconds: float) -> Action:
    """A decision under a deadline so many seconds from now."""
    return deployed.act(SEEN, deadline=clock.now + seconds)


def test_without_a_deadline_all_iterations_are_made(clock: Clock) -> None:
    action = planning(clock)[0].act(SEEN)
    assert (action.source, action.iterations, action.age) == ("plan", ITERATIONS, 0)
    assert action.seconds == 0.5 + 1.0 + ITERATIONS * 4.0


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_as_many_iterations_are_made_as_fit(clock: Clock, iterations: int) -> None:
    needed = 0.5 + 1.0 + iterations * 4.0
    deployed, _ = planning(clock)
    assert within(deployed, clock, needed).iterations == iterations
    found = within(deployed, clock, needed - 0.1)
    assert found.iterations == iterations - 1
    assert found.seconds <= needed - 0.1


def test_more_time_than_all_iterations_take_is_left_over(clock: Clock) -> None:
    deployed, _ = planning(clock)
    assert within(deployed, clock, 1000.0).iterations == ITERATIONS


def test_an_iteration_that_suddenly_takes_longer_is_the_only_one_that_is_late(clock: Clock) -> None:
    deployed, engine = planning(clock)
    engine.seconds["refine"] = 40.0
    late = within(deployed, clock, 0.5 + 1.0 + 3 * 4.0)
    assert (late.iterations, late.seconds) == (1, 0.5 + 1.0 + 40.0)
    later = within(deployed, clock, 0.5 + 1.0 + 3 * 4.0)
    assert (later.iterations, later.seconds) == (0, 0.5)


def test_after_a_single_stall_planning_goes_on_a_decision_later(clock: Clock) -> None:
    deployed, engine = planning(clock)
    engine.seconds["refine"] = 40.0
    within(deployed, clock, 14.0)
    engine.seconds["refine"] = 4.0
    assert within(deployed, clock, 14.0).source == "shifted plan"
    assert within(deployed, clock, 14.0).iterations == ITERATIONS


def test_where_nothing_fits_the_plan_is_followed_until_it_is_too_old_and_then_the_policy_reacts(clock: Clock) -> None:
    deployed, _ = planning(clock)
    plan = deployed.state.plan
    assert plan is not None
    found = [within(deployed, clock, 1.0) for _ in range(LONGEST + 2)]
    assert [action.source for action in found] == ["shifted plan"] * LONGEST + ["policy"] * 2
    assert [action.age for action in found] == [1, 2, 0, 0]
    for number in range(LONGEST):
        np.testing.assert_array_equal(found[number].command, plan.mean[number])
    assert found[-1].seconds == 0.5 + 0.25


def test_a_plan_is_taken_up_again_as_soon_as_there_is_time(clock: Clock) -> None:
    deployed, _ = planning(clock)
    for _ in range(LONGEST + 2):
        within(deployed, clock, 1.0)
    assert within(deployed, clock, 6.0).source == "plan"
    assert within(deployed, clock, 1.0).source == "shifted plan"


def test_the_first_decision_of_an_episode_follows_no_plan_that_nobody_made(clock: Clock) -> None:
    deployed, _ = planning(clock)
    deployed.reset()
    assert within(deployed, clock, 1.0).source == "policy"


def test_without_a_policy_a_plan_is_made_too_late_rather_than_none(clock: Clock) -> None:
    deployed, _ = planning(clock, "agent.learn_behavior=false", "agent.proposals=0", "agent.objective.value=0")
    deployed.reset()
    found = within(deployed, clock, 1.0)
    assert (found.source, found.iterations, found.seconds) == ("plan", 1, 0.5 + 4.0)


def test_a_deadline_changes_nothing_of_what_the_same_iterations_decide(clock: Clock) -> None:
    free, hurried = planning(clock)[0], planning(clock)[0]
    for one in (free, hurried):
        one.reset(seed=3)
    for _ in range(5):
        np.testing.assert_array_equal(free.act(SEEN).command, within(hurried, clock, 1000.0).command)

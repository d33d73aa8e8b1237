"""A planner that fails on a plant that does not wait: commands stay fit, and the loop goes on."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import wmctrl_envs
from wmctrl_envs.realtime import RealtimePlant

from tests.tiny_bundle import controller
from wmctrl.bench.planner_faults import KINDS, FailingPlanner, Inspected, scored
from wmctrl.commands.realtime import Timing
from wmctrl.runtime.limits import Limits

TIMING = Timing(100.0, None, beside=True)
PENDULUM = ("Pendulum-v1",)


@pytest.fixture(scope="module")
def plant() -> Iterator[RealtimePlant]:
    make = partial(wmctrl_envs.make, "Pendulum-v1")
    made = RealtimePlant(make, make().task_spec, TIMING.period)
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_planner_does_commands_are_fit_and_it_is_taken_up_again(plant: RealtimePlant, kind: str) -> None:
    found = scored(controller(*PENDULUM), plant, TIMING, kind, KINDS[kind], (20, 60), episodes=1, seed=0)
    assert found.outcomes[0].length == 200
    assert found.unfit == 0
    assert found.made_by["policy"] >= 20
    assert found.made_by["plan"] + found.made_by["shifted plan"] >= 20
    assert found.switches * 2.0 <= 2  # of an episode of two seconds


class Calls:
    """Computes nothing, and notes what was asked for."""

    provider = "cpu"

    def __init__(self) -> None:
        self.names: list[str] = []

    def run(self, name: str, feeds: object) -> dict[str, Any]:
        self.names.append(name)
        return {}


def test_a_planner_fails_between_two_steps_alone_and_nothing_else_does() -> None:
    calls, failed = Calls(), list[int]()
    planner = FailingPlanner(calls, lambda: failed.append(len(calls.names)))

    class Counting:
        step = -1

        def read(self) -> "Counting":
            self.step += 1
            return self

        def write(self, command: object) -> None:
            pass

    inspected = Inspected(Counting(), planner, Limits.none(1), 2, 4)  # type: ignore[arg-type]
    for _ in range(6):
        inspected.read()
        planner.run("observe", {})
        planner.run("refine", {})
    assert calls.names == 6 * ["observe", "refine"]
    assert failed == [5, 7], "in the third and fourth step, and after they were observed"


@pytest.mark.parametrize("command", [np.nan, np.inf, 1.5, -1.5])
def test_commands_that_no_plant_takes_are_counted(command: float) -> None:
    class Sink:
        write: Callable[..., None] = staticmethod(lambda command: None)

    inspected = Inspected(Sink(), None, Limits.none(1), 0, 0)  # type: ignore[arg-type]
    inspected.write(np.array([command], np.float32))
    inspected.write(np.array([1.0], np.float32))
    assert inspected.unfit == 1

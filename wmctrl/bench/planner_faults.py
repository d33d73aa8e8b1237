"""What a controller is worth when its planner is slow, raises, hangs or dies, on a plant that does not wait."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmctrl_envs.realtime import Reading, RealtimePlant

from wmctrl.bench.robustness import Score, beyond
from wmctrl.commands import driving, realtime, training
from wmctrl.learning.evaluate import Outcome
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import SOURCES
from wmctrl.runtime.engine import Computes
from wmctrl.runtime.latency import Latency
from wmctrl.runtime.limits import Limits, Vector
from wmctrl.runtime.loop import Loop, LoopRecord
from wmctrl.runtime.planner import REFINE

BEGINS, LASTS = 0.25, 0.25
"""When a planner fails and for how long, as shares of an undisturbed episode's length."""


def _slow(period: float) -> None:
    time.sleep(3.0 * period)


def _raising(period: float) -> None:
    raise MemoryError("no memory is left for plans")


def _hanging(period: float) -> None:
    threading.Event().wait(20.0 * period)


def _killed(period: float) -> None:
    raise SystemExit  # ends the thread that plans


KINDS: Mapping[str, Callable[[float], None]] = {
    "planner slow": _slow,
    "planner raising": _raising,
    "planner hanging": _hanging,
    "planner killed": _killed,
}
"""What the planner does instead of an iteration, given the control period [s]."""


class FailingPlanner:
    """Computes a bundle's graphs, and while it fails something else instead of the planner's."""

    def __init__(self, engine: Computes, fail: Callable[[], None]) -> None:
        self.engine, self.fail, self.provider = engine, fail, engine.provider
        self.failing = False

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""
        if self.failing and name == REFINE:
            self.fail()
        return self.engine.run(name, feeds)


class Inspected:
    """A plant whose commands are inspected, and at some of whose steps the planner fails."""

    def __init__(self, plant: RealtimePlant, planner: FailingPlanner, limits: Limits, begins: int, ends: int) -> None:
        self.plant, self.planner, self.limits = plant, planner, limits
        self.begins, self.ends = begins, ends
        self.unfit = 0
        """Commands that were not finite, or beyond the limits."""

    def read(self) -> Reading:
        """The newest observation."""
        reading = self.plant.read()
        self.planner.failing = self.begins <= reading.step < self.ends
        return reading

    def write(self, command: Vector) -> None:
        """Have a command (A,) applied from the next step on."""
        self.unfit += beyond(self.limits, command[None])
        self.plant.write(command)


def planner_faults(controller: Controller, episodes: int, seed: int) -> Iterator[Score]:
    """Nothing wrong first, and then every kind of fault, each on a plant at its own control period."""
    told = controller.bundle.manifest.task
    with contextlib.closing(driving.matching_task(told, told.id)) as task:  # whoever measures drove it already
        spec = task.task_spec
    timing = realtime.Timing(1.0 / told.control_period, None, beside=True)
    make = partial(training.make_task, driving.settings_of(told))
    with contextlib.closing(RealtimePlant(make, spec, timing.period)) as plant:
        nominal = scored(controller, plant, timing, "planner sound", lambda period: None, (0, 0), episodes, seed)
        yield nominal
        length = float(np.mean([outcome.length for outcome in nominal.outcomes]))
        failing = round(BEGINS * length), round((BEGINS + LASTS) * length)
        for name, fail in KINDS.items():
            yield scored(controller, plant, timing, name, fail, failing, episodes, seed)


def scored(
    sound: Controller,
    plant: RealtimePlant,
    timing: realtime.Timing,
    name: str,
    fail: Callable[[float], None],
    failing: tuple[int, int],
    episodes: int,
    seed: int,
) -> Score:
    """Episodes in which the planner fails between two steps."""
    planner = FailingPlanner(sound.engine, partial(fail, timing.period))
    controller = Controller(sound.bundle, planner)
    controller.plan_beside()
    controller.latencies(5)
    inspected = Inspected(plant, planner, controller.limits, *failing)
    loop = Loop(Assured(controller), inspected, timing.period, None)
    outcomes, records = [], []
    for number in range(episodes):
        records.append(LoopRecord.of(realtime.room(plant.spec)))
        result = realtime.episode(loop, plant, timing, seed + number, records[-1])
        outcomes.append(Outcome(result.reward, result.steps, result.success, result.failure))
    if controller.companion is not None:
        controller.companion.stop()
    wrote, source, iterations = (
        np.concatenate([getattr(one, what)[: one.cycles] for one in records])
        for what in ("wrote", "source", "iterations")
    )
    rungs = sum(int((np.diff(one.rung[: one.cycles]) != 0).sum()) for one in records)
    return Score(
        name=name,
        amount=0.0,
        outcomes=outcomes,
        made_by=dict(Counter(SOURCES[number] for number in source)),
        unfit=inspected.unfit,
        switches=rungs / (len(wrote) * timing.period),
        iterations=float(iterations.mean()),
        latency=Latency.of(wrote),
    )

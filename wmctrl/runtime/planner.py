"""The planner that drives: a carried plan, refined an iteration at a time for as long as there is time."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.engine import Computes
from wmctrl.runtime.limits import Vector
from wmctrl.runtime.manifest import Planning
from wmctrl.runtime.noise import NoiseBank
from wmctrl.runtime.pace import Pace

Feeds = Mapping[str, NDArray[Any]]
"""What a graph is called with, by name."""
PROPOSE, REFINE = "propose", "refine"
"""Graphs, and the parts of a decision that are timed under their names."""


class Plan(NamedTuple):
    """A distribution over action sequences, and the best ones found so far."""

    mean: Vector
    """(H, A)"""
    std: Vector
    """(H, A)"""
    elites: Vector
    """Best first (E, H, A)."""


class Health(NamedTuple):
    """How much the last iteration of the planner can be trusted."""

    best: float
    """Return of the best candidate."""
    worst_elite: float
    """Return of the worst elite."""
    finite: float
    """Fraction of the candidates whose return is finite."""
    spread: float
    """Mean std of the plan."""
    failure: float
    """Probability of failing on the way, mean of the elites."""


class Refined(NamedTuple):
    """A plan after some iterations."""

    plan: Plan
    health: Health | None
    """Of the last iteration; None where there was none."""
    iterations: int


class Planner:
    """Refines plans with a bundle's graphs."""

    def __init__(self, planning: Planning, actions: int, noise: NoiseBank, engine: Computes, pace: Pace) -> None:
        self.planning, self.actions = planning, actions
        self.noise, self.engine, self.pace = noise, engine, pace

    def fresh(self) -> Plan:
        """The plan before anything is known: zeros."""
        p = self.planning
        zeros = np.zeros((p.elites, p.horizon, self.actions), np.float32)
        return Plan(zeros[0], np.full((p.horizon, self.actions), p.init_std, np.float32), zeros)

    def shifted(self, plan: Plan, iterations: int = 1) -> Plan:
        """The plan one step later: every action moves up, the last is held, and the search opens up again.

        Args:
            iterations: That were made of it in a step.
        """
        p, kept = self.planning, np.concatenate([plan.std[1:], plan.std[-1:]])
        opened = np.float32(1.0 - (1.0 - p.reopening) ** iterations)
        return Plan(
            np.concatenate([plan.mean[1:], plan.mean[-1:]]),
            opened * np.float32(p.init_std) + (np.float32(1.0) - opened) * kept,
            np.concatenate([plan.elites[:, 1:], plan.elites[:, -1:]], 1),
        )

    @property
    def longest_age(self) -> int:
        """Decisions for which a plan may be followed without being refined: half of its actions."""
        return self.planning.horizon // 2

    def refine(
        self, plan: Plan, situation: Feeds, asked: Feeds, deadline: float | None, *, late: bool = False
    ) -> Refined:
        """All iterations, or those that are expected to be over by a deadline.

        Args:
            situation: The belief and the goal.
            asked: What else an iteration takes: the last action, the limits, and what is weighed.
            deadline: A time of `time.monotonic` [s].
            late: Iterate once even if that is not expected to be over by the deadline.

        Raises:
            ValueError: What is computed is not finite.
        """
        first = [PROPOSE, REFINE] if self.planning.randomness.proposals else [REFINE]
        if not (late or self.pace.fits(deadline, *first)):
            self.pace.leave_out(*first)
            return Refined(plan, None, 0)
        refining = self.refining(plan, situation, asked)
        found = next(refining)
        while self.pace.fits(deadline, REFINE) and (better := next(refining, None)) is not None:
            found = better
        return found

    def refining(self, plan: Plan, situation: Feeds, asked: Feeds) -> Iterator[Refined]:
        """The plan after each of all iterations; the arguments are those of `refine`.

        Raises:
            ValueError: What is computed is not finite.
        """
        randomness, feeds = self.planning.randomness, {**situation, **asked}
        if randomness.particles > 1:
            feeds["future_components"], feeds["future_values"] = self.noise.futures()
        if randomness.proposals:
            with self.pace.timed(PROPOSE):
                feeds |= self.engine.run(PROPOSE, {**situation, "noise": self.noise.proposals()})
        for iterations in range(1, self.planning.iterations + 1):
            with self.pace.timed(REFINE):
                given = {"plan_mean": plan.mean, "plan_std": plan.std, "plan_elites": plan.elites}
                found = self.engine.run(REFINE, feeds | given | {"noise": self.noise.candidates()})
            plan = Plan(found["next_plan_mean"], found["next_plan_std"], found["next_plan_elites"])
            health = Health(*map(float, found["health"]))
            if not health.finite > 0.0:
                raise ValueError("what plans are worth is not finite; check the sensors' readings and the goal")
            yield Refined(plan, health, iterations)

"""A deployed controller held against the agent it was made from, decision by decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.learning.agent import Agent
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import Computes
from wmctrl.runtime.golden import error
from wmctrl_export.bundle import ModuleEngine, Observations
from wmctrl_export.graphs import graphs

SAME_ACTION = 1e-4
"""Largest difference of an action that counts as the same."""
SAME_WORTH = 1e-5
"""Relative difference of what plans are worth below which either may be executed: rounding chose between them."""


@dataclass(frozen=True)
class Parity:
    """How far a deployed controller's decisions are from the agent's."""

    steps: int
    one_step: float
    """Largest difference of a belief after one step from the same belief, relative to 1 + its elements' size."""
    recurrent: float
    """The same after all steps, each controller going on from its own."""
    surprise: float
    """Largest difference of what an observation is said to surprise after one step, relative to 1 + its size."""
    same_action: float
    """Share of the decisions, from the same belief and plan, whose action is the same."""
    as_good: float
    """Share of the decisions whose action is the same, or whose every iteration, from the same plan, takes elites that
    are worth as much, best and worst."""
    action: float
    """Largest difference of an action."""


def parity(agent: Agent, deployed: Controller, observations: Observations) -> Parity:
    """Decide along observations with PyTorch and with a bundle, with the same noise.

    The bundle decides from the agent's state at every step; beside that, a belief of its own goes along with the agent.
    """
    beside = Beside(ModuleEngine(graphs(agent)), deployed.engine)
    reacts = deployed.planner is None
    reference, deployed, walker = (
        Controller(deployed.bundle, engine, policy_only=reacts, trusting=True)
        for engine in (beside, deployed.engine, deployed.engine)
    )
    rows = [Step.of(reference, beside, deployed, walker, observation) for observation in observations]
    return Parity(
        steps=len(rows),
        one_step=float(np.max([row.one_step for row in rows])),
        recurrent=float(np.max([row.recurrent for row in rows])),
        surprise=float(np.max([row.surprise for row in rows])),
        same_action=float(np.mean([row.action <= SAME_ACTION for row in rows])),
        as_good=float(np.mean([row.action <= SAME_ACTION or row.worth <= SAME_WORTH for row in rows])),
        action=float(np.max([row.action for row in rows])),
    )


def in_torch(agent: Agent, deployed: Controller) -> Controller:
    """The controller whose every graph PyTorch computes, with the noise of the bundle that was made of the agent."""
    return Controller(deployed.bundle, ModuleEngine(graphs(agent)), policy_only=deployed.planner is None)


class Beside:
    """Computes with one engine, and beside it has another repeat every iteration of the planner.

    Where many candidates are worth the same, rounding chooses between them, and later iterations search elsewhere. So
    what each iteration makes of the same plan is compared, rather than where all of them lead.
    """

    def __init__(self, reference: Computes, other: Computes) -> None:
        self.reference, self.other, self.provider = reference, other, reference.provider
        self.worths: list[float] = []
        """Relative differences of what the best and the worst elite are worth, where iterations refit otherwise."""

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The reference's outputs of a graph by name."""
        wanted = self.reference.run(name, feeds)
        if name == "refine":
            came = self.other.run(name, feeds)
            if not np.abs(came["next_plan_mean"] - wanted["next_plan_mean"]).max() <= SAME_ACTION:
                self.worths.append(float(error(came["health"][:2], wanted["health"][:2])))
        return wanted


class Step(NamedTuple):
    """Differences at one step."""

    one_step: float
    recurrent: float
    surprise: float
    action: float
    worth: float
    """Largest of `Beside.worths`; 0 where every iteration refits the same."""

    @classmethod
    def of(
        cls,
        reference: Controller,
        beside: Beside,
        deployed: Controller,
        walker: Controller,
        seen: Mapping[str, NDArray[Any]],
    ) -> "Step":
        """Let all three go one step on."""
        deployed.state = reference.state
        gone = reference.state.track._replace(belief=walker.state.belief)
        walker.state = walker.state._replace(track=gone)
        walker.observe(seen)
        beside.worths.clear()
        wanted, came = reference.act(seen), deployed.act(seen)
        surprise = float(error(np.array(came.surprise), np.array(wanted.surprise)))
        action = float(np.abs(came.command - wanted.command).max())
        worth = float(np.max(beside.worths, initial=0.0))
        return cls(gap(deployed, reference), gap(walker, reference), surprise, action, worth)


def gap(one: Controller, other: Controller) -> float:
    """Largest difference of two beliefs relative to 1 + their elements' size, NaN where one is not a number."""
    parts = zip(one.state.belief, other.state.belief, strict=True)
    return float(np.max([error(mine, theirs) for mine, theirs in parts]))

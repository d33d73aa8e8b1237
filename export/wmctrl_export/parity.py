"""A deployed controller held against the agent it was made from, decision by decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.learning.agent import Agent
from wmctrl.runtime.controller import Controller
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
    """Share of the decisions whose action is the same or comes from elites that are worth as much, best and worst."""
    action: float
    """Largest difference of an action."""


def parity(agent: Agent, deployed: Controller, observations: Observations) -> Parity:
    """Decide along observations with PyTorch and with a bundle, with the same noise.

    The bundle decides from the agent's state at every step; beside that, a belief of its own goes along with the agent.
    """
    reference = in_torch(agent, deployed)
    walker = Controller(deployed.bundle, deployed.engine)
    for one in (reference, deployed, walker):
        one.reset()
    rows = [Step.of(reference, deployed, walker, observation) for observation in observations]
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
    return Controller(deployed.bundle, ModuleEngine(graphs(agent)), policy_only=deployed.planning is None)


class Step(NamedTuple):
    """Differences at one step."""

    one_step: float
    recurrent: float
    surprise: float
    action: float
    worth: float
    """Relative, of what the best and the worst elite are worth; 0 where nothing is planned."""

    @classmethod
    def of(
        cls, reference: Controller, deployed: Controller, walker: Controller, seen: Mapping[str, NDArray[Any]]
    ) -> "Step":
        """Let all three go one step on."""
        deployed.state = reference.state
        walker.state = walker.state._replace(last=reference.state.last)
        walker.observe(seen)
        wanted, came = reference.act(seen), deployed.act(seen)
        worth = 0.0
        if wanted.health is not None and came.health is not None:
            worth = float(error(*(np.array(health[:2]) for health in (came.health, wanted.health))))
        surprise = float(error(np.array(came.surprise), np.array(wanted.surprise)))
        action = float(np.abs(came.command - wanted.command).max())
        return cls(gap(deployed, reference), gap(walker, reference), surprise, action, worth)


def gap(one: Controller, other: Controller) -> float:
    """Largest difference of two beliefs relative to 1 + their elements' size, NaN where one is not a number."""
    parts = zip((one.state.deter, one.state.stoch), (other.state.deter, other.state.stoch), strict=True)
    return float(np.max([error(mine, theirs) for mine, theirs in parts]))

"""Half precision judged by what its plans are worth, not by whether they are the same ones.

One elite that another replaces can move an action by half its range at no loss, so equal plans are too much to ask of a
planner that samples: another seed changes them more. What counts is what single precision thinks of a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmctrl.learning.agent import Agent
from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.rssm import Belief
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.noise import FreshNoise
from wmctrl_export.bundle import Observations

JUDGED = 256
"""Futures that a plan is judged in, where the planner draws some; the same ones for every plan of a run."""
OTHER_SEED = 1


@dataclass(frozen=True)
class Spread:
    """How much less than the single-precision plan's own some plans are worth, over the states of a drive."""

    mean: float
    median: float
    high: float
    """95th percentile."""

    @classmethod
    def of(cls, regrets: NDArray[np.float64]) -> "Spread":
        """Of regrets (states,); NaN throughout where one is not a number."""
        return cls(float(np.mean(regrets)), float(np.median(regrets)), float(np.percentile(regrets, 95.0)))


@dataclass(frozen=True)
class Regret:
    """Regret of plans in half precision, beside the one of plans in single precision from another seed.

    At every state, regret is J(single) - J(other), with J the planner's objective in PyTorch and single precision from
    the single-precision belief, and the plan being the action that is executed and the mean of the rest. `half` plans
    with the same noise, and from a belief that it has itself updated with the observation; `seed` with other noise.

    On a CPU, ONNX Runtime has no products in half precision: it computes in single precision between values that it
    rounds to half, and leaves out roundings between two operators where it sees fit. Its figures show what rounded
    weights cost and most of what rounded activations do; neither sums that a processor rounds on their way, nor any
    gain in speed. Measured on two trained agents, rounding after every operator, with sums in single precision, moved
    beliefs twice as far from single precision, and regret stayed far below the one between seeds.
    """

    states: int
    half: Spread
    seed: Spread

    @property
    def accepted(self) -> bool:
        """Whether half precision costs no more than the 95th percentile of the regret between seeds.

        Neither in 95 of 100 states nor, because of the others, on average; one that is not a number is not accepted.
        """
        return self.half.mean <= self.seed.high and self.half.high <= self.seed.high


def regret(agent: Agent, single: Controller, half: Controller, observations: Observations) -> Regret:
    """Drive along observations with a bundle, and at every state plan with another one and with another seed as well.

    Args:
        single: Of the agent's bundle in single precision; the state is its.
        half: Of another bundle of the agent, with the same noise.

    Raises:
        ValueError: The bundles react without planning, or draw other noise.
    """
    if single.planner is None or half.planner is None:
        raise ValueError("only plans have a regret, and a controller reacts without planning")
    noises = single.bundle.noise, half.bundle.noise
    if not all(np.array_equal(one, other) for one, other in zip(*map(dict.values, noises), strict=True)):
        raise ValueError("both bundles must draw the same noise; export them anew, from one agent")
    single, half, other = (Controller(one.bundle, one.engine, trusting=True) for one in (single, half, single))
    for one, seed in ((single, 0), (half, 0), (other, OTHER_SEED)):
        one.reset(seed)
    worths = np.array([_worths(agent, (single, half, other), seen) for seen in observations])  # (states, 3)
    lost = worths[:, :1] - worths[:, 1:]
    return Regret(len(worths), Spread.of(lost[:, 0]), Spread.of(lost[:, 1]))


def _worths(agent: Agent, controllers: tuple[Controller, ...], seen: Mapping[str, NDArray[Any]]) -> list[float]:
    """What the agent's objective says of every controller's plan, all made in the first one's state."""
    first, *others = controllers
    before = first.state
    first.act(seen)
    for other in others:
        other.state = before
        other.act(seen)
    belief = Belief(*map(torch.from_numpy, first.state.belief))
    goal = torch.from_numpy(np.asarray(seen["goal"], np.float32)) if agent.sizes.goal else None
    objective = agent.objective(belief, goal, torch.from_numpy(before.last), _futures(agent))
    # One at a time: rows of one batch may be summed in another order, and equal plans must be worth the same.
    with torch.no_grad():
        return [float(objective(_plan(one)[None]).returns) for one in controllers]


def _plan(controller: Controller) -> Tensor:
    """The mean of the plan (H, A) that a controller has just acted on: it carries on the rest, one step up."""
    assert controller.state.plan is not None, "only plans are judged"
    return torch.from_numpy(np.concatenate([controller.state.last[None], controller.state.plan.mean[:-1]]))


def _futures(agent: Agent) -> MixtureNoise | None:
    """Futures that plans are judged in, always the same; none where the planner follows the most probable one."""
    if agent.config.objective.particles == 1:
        return None
    kind = replace(agent.randomness, particles=JUDGED)
    return MixtureNoise(*map(torch.from_numpy, FreshNoise(kind, np.random.default_rng(0)).futures()))

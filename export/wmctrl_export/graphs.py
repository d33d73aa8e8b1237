"""What is deployed, as modules made for export: observe, imagine, propose, refine, and the reactive policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wmctrl.learning.agent import Agent
from wmctrl.learning.behavior import proposed
from wmctrl.learning.imagination import ImaginedReturn, Pay
from wmctrl.model.mdn import MixtureNoise, kl_to_mixture
from wmctrl.model.rssm import Belief
from wmctrl.planning.objective import Weights
from wmctrl.planning.planner import Limits, Plan

FREE = ("terminal", "failure", "action_rate")
"""Parts of the objective that cost nothing to compute, and are in every graph."""


@dataclass(frozen=True)
class Graph:
    """A module with what it is called with."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    """Examples by name, in the order of the module's arguments."""
    outputs: tuple[str, ...]


class Observe(nn.Module):
    """What is believed after an observation, and how much it surprised."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model = agent.model

    def forward(
        self, deter: Tensor, stoch: Tensor, action: Tensor, proprio: Tensor | None = None, camera: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Belief (D,), (S,) after an action (A,), and the surprise: a bound on its KL from what was expected [nats].

        Args:
            proprio: (O,) in the task's units.
            camera: (h, w, c) uint8.
        """
        # Cast first: TensorRT takes uint8 as an input, and computes nothing with it.
        embedding = self.model.embed(*(None if part is None else part.float()[None] for part in (proprio, camera)))
        belief = Belief(deter[None], stoch[None])
        still, certain = torch.zeros(1, 1), torch.zeros(1, 1, stoch.shape[0])
        rollout = self.model.rssm.follow(belief, action[None, None], embedding[:, None], still, certain)
        surprise = kl_to_mixture(rollout.posterior, rollout.prior)
        return rollout.belief.deter[0, 0], rollout.belief.stoch[0, 0], surprise[0, 0]


class Imagine(nn.Module):
    """What is believed after an action, most probably, before anything of it is observed."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model = agent.model

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        """Belief (D,), (S,) after an action (A,), and expected proprioception (O,) in the task's units, if observed."""
        belief = self.model.rssm.imagine(Belief(deter[None], stoch[None]), action[None], noise=None)
        expected = () if self.model.proprio_head is None else (self.model.decode_proprio(belief.features)[0],)
        return belief.deter[0], belief.stoch[0], *expected


class Depict(nn.Module):
    """The picture that is expected."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model = agent.model

    def forward(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """Pixels (h, w, c) in [0, 1] at a belief (D,), (S,)."""
        assert self.model.camera_head is not None, "this model observes no camera"
        centred: Tensor = self.model.camera_head(Belief(deter[None], stoch[None]).features)[0]
        return (centred + 0.5).clamp(0.0, 1.0)


class Policy(nn.Module):
    """The reactive policy."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model, self.slow_actor = agent.model, agent.behavior.slow_actor

    def forward(self, deter: Tensor, stoch: Tensor, goal: Tensor | None = None) -> Tensor:
        """The action (A,) in [-1, 1] at a belief (D,), (S,), for a goal (G,) in the task's units."""
        policy = self.slow_actor(self.model.with_goal(Belief(deter, stoch).features, goal))
        return policy.mean


class Propose(nn.Module):
    """Action sequences of the policy, tried beside the planner's own candidates."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model, self.slow_actor = agent.model, agent.behavior.slow_actor

    def forward(self, deter: Tensor, stoch: Tensor, noise: Tensor, goal: Tensor | None = None) -> Tensor:
        """Sequences (P, H, A) from a belief (D,), (S,) and normal draws (P, H, A), for a goal (G,)."""
        return proposed(self.model, self.slow_actor, Belief(deter, stoch), goal, noise)


class Refine(nn.Module):
    """One iteration of the planner."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model, self.slow_critic = agent.model, agent.behavior.slow_critic
        self.planner, self.goal_cost = agent.config.planner, agent.goal_cost
        self.discount = agent.config.behavior.discount
        self.weighed = weighed(agent)

    def forward(
        self,
        deter: Tensor,
        stoch: Tensor,
        action: Tensor,
        plan_mean: Tensor,
        plan_std: Tensor,
        plan_elites: Tensor,
        weights: Tensor,
        failed: Tensor,
        low: Tensor,
        high: Tensor,
        rate: Tensor,
        risk: Tensor,
        noise: Tensor,
        goal: Tensor | None = None,
        proposals: Tensor | None = None,
        future_components: Tensor | None = None,
        future_values: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The refitted plan and its health (5,).

        Args:
            action: The last one sent (A,).
            weights: Of the parts of the objective, in the order of `weighed` (W,).
            failed: Reward per step of a failed plant, in the currency of what is weighed ().
            low: Of every action (A,), within [-1, 1].
            high: Of every action (A,), within [-1, 1].
            rate: Largest change of every action in a step (A,).
            risk: Largest probability of failing that a plan may have ().
            noise: Draws of the candidates (N, H, A).
            goal: (G,) in the task's units.
            proposals: The policy's (P, H, A).
            future_components: Gumbel draws (particles, H, K).
            future_values: Normal draws (particles, H, S).
        """
        given = dict(zip(self.weighed, weights.unbind(0), strict=True))
        objective = ImaginedReturn(
            model=self.model,
            pay=Pay(Weights(*(given.get(name, ABSENT[name]) for name in Weights._fields)), failed, self.goal_cost),
            belief=Belief(deter, stoch),
            previous_action=action,
            noise=futures_of(future_components, future_values),
            discount=self.discount,
            goal=goal,
            critic=lambda inputs: self.slow_critic(inputs).mean,
        )
        plan = Plan(plan_mean, plan_std, plan_elites)
        plan, health = self.planner.refine(plan, objective, noise, proposals, Limits(low, high, rate, action, risk))
        return *plan, torch.stack(list(health))


ABSENT = dict.fromkeys(Weights._fields, 0.0) | {"risk": 1.0}
"""Weights of parts that are not in a graph."""


def weighed(agent: Agent) -> tuple[str, ...]:
    """Parts of the objective whose weights can be changed at run time: those that count, and the free ones."""
    config = agent.config.objective
    given = dict(zip(Weights._fields, config.weights, strict=True)) | {"risk": 0.0}
    drawn = ("risk",) if config.particles > 1 else ()
    return tuple(name for name in Weights._fields if given[name] or name in (*FREE, *drawn))


def observing(agent: Agent) -> Graph:
    """The graph that updates the belief."""
    sizes = agent.sizes
    inputs = belief_inputs(agent) | {"action": torch.zeros(sizes.action)}
    if sizes.proprio:
        inputs["proprio"] = torch.zeros(sizes.proprio)
    if sizes.camera:
        inputs["camera"] = torch.zeros(sizes.camera, dtype=torch.uint8)
    return Graph(Observe(agent), inputs, ("next_deter", "next_stoch", "surprise"))


def imagining(agent: Agent) -> Graph:
    """The graph that follows the belief without looking."""
    outputs = ("next_deter", "next_stoch", *(["next_proprio"] if agent.sizes.proprio else []))
    return Graph(Imagine(agent), belief_inputs(agent) | {"action": torch.zeros(agent.sizes.action)}, outputs)


def depicting(agent: Agent) -> Graph:
    """The graph that stands in for a camera."""
    return Graph(Depict(agent), belief_inputs(agent), ("next_camera",))


def acting(agent: Agent) -> Graph:
    """The graph of the reactive policy."""
    return Graph(Policy(agent), belief_inputs(agent) | goal_input(agent), ("next_action",))


def proposing(agent: Agent) -> Graph:
    """The graph that asks the policy for action sequences."""
    shape = (agent.config.proposals, agent.config.planner.horizon, agent.sizes.action)
    inputs = belief_inputs(agent) | {"noise": torch.zeros(shape)} | goal_input(agent)
    return Graph(Propose(agent), inputs, ("proposals",))


def refining(agent: Agent) -> Graph:
    """The graph of one planner iteration."""
    c, A = agent.config, agent.sizes.action
    N, H, P = c.planner.samples, c.planner.horizon, c.objective.particles
    plan = c.planner.initial(torch.zeros(A))
    inputs: dict[str, Any] = belief_inputs(agent) | {"action": torch.zeros(A)}
    inputs |= {"plan_mean": plan.mean, "plan_std": plan.std, "plan_elites": plan.elites}
    inputs |= {"weights": torch.zeros(len(weighed(agent))), "failed": torch.zeros(())}
    inputs |= {"low": -torch.ones(A), "high": torch.ones(A), "rate": torch.full((A,), 2.0), "risk": torch.ones(())}
    inputs |= {"noise": torch.zeros(N, H, A)} | goal_input(agent)
    if c.proposals:
        inputs["proposals"] = torch.zeros(c.proposals, H, A)
    if P > 1:
        inputs |= future_inputs(agent, P, H)
    return Graph(Refine(agent), inputs, ("next_plan_mean", "next_plan_std", "next_plan_elites", "health"))


def belief_inputs(agent: Agent) -> dict[str, Tensor]:
    """The belief, as every graph takes it."""
    return {"deter": torch.zeros(agent.config.model.deter), "stoch": torch.zeros(agent.config.model.stoch)}


def future_inputs(agent: Agent, rows: int, horizon: int) -> dict[str, Tensor]:
    """Draws of imagined futures, as every graph takes them."""
    m = agent.config.model
    return {
        "future_components": torch.zeros(rows, horizon, m.prior_components),
        "future_values": torch.zeros(rows, horizon, m.stoch),
    }


def futures_of(components: Tensor | None, values: Tensor | None) -> MixtureNoise | None:
    """The draws that a graph was given; None follows the most probable future."""
    return None if components is None or values is None else MixtureNoise(components, values)


def goal_input(agent: Agent) -> dict[str, Tensor]:
    """The goal, where the task has one."""
    return {"goal": torch.zeros(agent.sizes.goal)} if agent.sizes.goal else {}


def graphs(agent: Agent) -> dict[str, Graph]:
    """Every graph that an agent's bundle holds, by name."""
    found = {"observe": observing(agent), "imagine": imagining(agent)}
    if agent.sizes.proprio and agent.sizes.camera:  # where only one is observed, there is nothing left to correct by
        found["depict"] = depicting(agent)
    if agent.config.plan:
        found["refine"] = refining(agent)
        if agent.config.proposals:
            found["propose"] = proposing(agent)
    if agent.config.learn_behavior:
        found["policy"] = acting(agent)
    return found

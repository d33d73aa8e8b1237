"""Learning as graphs: the losses of an update and their gradients, without autograd."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, functionalize, grad_and_value
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from wmctrl.learning.agent import Agent
from wmctrl.learning.imagination import Pay
from wmctrl.learning.replay import ReplayConfig
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import Batch
from wmctrl.runtime.manifest import GRADIENT, LEARNED, SPREAD
from wmctrl_export.derivatives import DERIVATIVES
from wmctrl_export.graphs import Graph, belief_inputs, future_inputs, futures_of, goal_input

Told = tuple[Tensor, ...]
"""What a graph tells beside the gradients."""


class ModelObjective(nn.Module):
    """What an update of the world model descends."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model = agent.trained

    def forward(self, noise: Tensor, **batch: Tensor) -> tuple[Tensor, Told]:
        """The loss of a batch (B, T, ...) by `Batch`'s names, to descend; and to tell, with the beliefs (B, T, ...).

        Args:
            noise: Standard normal draws (B, T, S).
        """
        sequences = Batch(**batch)
        rollout = self.model.believe(sequences, noise)
        loss, _ = self.model.loss_along(sequences, rollout)
        return loss, (loss, *rollout.belief)


class BehaviorObjective(nn.Module):
    """What an update of actor and critic descends; neither loss depends on the other's parameters."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.model, self.behavior = agent.model, agent.behavior
        self.weights, self.goal_cost = agent.config.objective.weights, agent.goal_cost

    def forward(
        self,
        deter: Tensor,
        stoch: Tensor,
        noise: Tensor,
        failed: Tensor,
        goal: Tensor | None = None,
        future_components: Tensor | None = None,
        future_values: Tensor | None = None,
    ) -> tuple[Tensor, Told]:
        """Both losses together to descend; each, and the next spread of returns, to tell.

        Args:
            deter: Where imagination starts (N, D).
            stoch: (N, S)
            noise: Standard normal draws of the actions (N, H, A).
            failed: Reward per step of a failed plant, in the currency of what is weighed ().
            goal: (N, G) in the task's units.
            future_components: Gumbel draws (N, H, K).
            future_values: Normal draws (N, H, S).
        """
        futures = futures_of(future_components, future_values)
        pay = Pay(self.weights, failed, self.goal_cost)
        imagined = self.behavior.imagine(self.model, pay, Belief(deter, stoch), goal, noise, futures)
        actor, critic, spread, _ = self.behavior.losses(imagined, failed)
        return actor + critic, (actor, critic, spread)


OBJECTIVES = {"model_gradient": ModelObjective, "behavior_gradient": BehaviorObjective}
"""What every graph of learning descends."""
LEARNS = {"model_gradient": ("model.",), "behavior_gradient": ("behavior.actor.", "behavior.critic.")}
"""How the names begin of the parameters that it learns."""


class Traced(nn.Module):
    """A traced program, called by the names of its inputs."""

    def __init__(self, program: GraphModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, **inputs: Tensor) -> Told:
        """What the program makes of its inputs, given in its own order."""
        outputs: Told = self.program(*inputs.values())
        return outputs


def modelling(agent: Agent, replay: ReplayConfig) -> Graph:
    """The graph of an update of the world model, for batches of a replay's size."""
    B, T, sizes = replay.batch, replay.length, agent.sizes
    inputs = {"noise": torch.zeros(B, T, agent.config.model.stoch), "action": torch.zeros(B, T, sizes.action)}
    inputs |= {name: torch.zeros(B, T) for name in ("reward", "terminated", "failure", "is_first")}
    if sizes.proprio:
        inputs["proprio"] = torch.zeros(B, T, sizes.proprio)
    if sizes.camera:
        inputs["camera"] = torch.zeros(B, T, *sizes.camera, dtype=torch.uint8)
    if sizes.goal:
        inputs["goal"] = torch.zeros(B, T, sizes.goal)
    return differentiated("model_gradient", agent, inputs)


def behaving(agent: Agent) -> Graph:
    """The graph of an update of actor and critic, from as many beliefs as they imagine from."""
    c, A = agent.config.behavior, agent.sizes.action
    N, H = c.starts, c.horizon

    def everywhere(single: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.expand(N, -1).clone() for name, value in single.items()}

    inputs = everywhere(belief_inputs(agent)) | {"noise": torch.zeros(N, H, A), "failed": torch.zeros(())}
    inputs |= everywhere(goal_input(agent))
    if c.stochastic:
        inputs |= future_inputs(agent, N, H)
    return differentiated("behavior_gradient", agent, inputs, moved=(SPREAD,))


def parameters(agent: Agent) -> dict[str, NDArray[np.float32]]:
    """All that graphs of learning take and an update moves, by its name there: of the model, the averaged one."""
    modules = {"model": agent.model, "behavior": agent.behavior}
    moved: dict[str, Tensor] = {SPREAD: agent.behavior.spread}
    for module, held in modules.items():
        moved |= {f"{module}.{name}": value for name, value in held.named_parameters()}
    return {name: np.array(value.detach().numpy(), order="C") for name, value in moved.items()}


def learning(agent: Agent, replay: ReplayConfig) -> dict[str, Graph]:
    """The graphs that a bundle learns with, by name."""
    found = {"model_gradient": modelling(agent, replay)}
    if agent.config.learn_behavior:
        found["behavior_gradient"] = behaving(agent)
    return found


def differentiated(name: str, agent: Agent, inputs: dict[str, Tensor], moved: Sequence[str] = ()) -> Graph:
    """A graph of learning: its objective with the gradients of its parameters, which are inputs before all others.

    Args:
        inputs: Examples of what else the objective is called with, by name.
        moved: Buffers that an update moves; they are inputs as well.
    """
    objective = OBJECTIVES[name](agent)
    buffers = dict(objective.named_buffers())
    given = {name: value.detach() for name, value in objective.named_parameters()}
    given |= {buffer: buffers[buffer].detach() for buffer in moved}
    wanted = [parameter for parameter in given if parameter.startswith(LEARNS[name])]

    def program(*values: Tensor) -> Told:
        held = dict(zip(given, values, strict=False))
        called = dict(zip(inputs, values[len(given) :], strict=True))

        def descended(parameters: dict[str, Tensor]) -> tuple[Tensor, Told]:
            found: tuple[Tensor, Told] = functional_call(objective, held | parameters, kwargs=called)
            return found

        gradients, (_, said) = grad_and_value(descended, has_aux=True)({key: held[key] for key in wanted})
        return *said, *(gradients[key] for key in wanted)

    named = given | inputs
    traced = make_fx(functionalize(program), decomposition_table=DERIVATIVES)(*named.values())
    traced.graph.eliminate_dead_code()
    for key, node in zip(list(named), traced.graph.find_nodes(op="placeholder"), strict=True):
        if not node.users:  # nothing of it is asked: imagination has no use for encoders
            traced.graph.erase_node(node)
            del named[key]
    traced.recompile()
    return Graph(Traced(traced), named, (*LEARNED[name], *(GRADIENT + key for key in wanted)))

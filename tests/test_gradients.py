"""Graphs of learning: their gradients are autograd's, for every parameter."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from wmctrl_export.bundle import graph_file
from wmctrl_export.conversion import converted
from wmctrl_export.gradients import BehaviorObjective, ModelObjective, learning
from wmctrl_export.graphs import Graph

from tests.tiny_run import tiny
from wmctrl.commands import training
from wmctrl.learning.agent import Agent
from wmctrl.runtime import onnx_file
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.manifest import GRADIENT, LEARNED

SMALL = ("replay.batch=3", "replay.length=4", "agent.model.context=2", "agent.behavior.horizon=3")
FAMILIES = {
    "goal": ("FetchReach-v4", "agent.objective.goal=1", "agent.objective.reward=0"),
    "drawn futures and disagreement": (
        "HalfCheetah-v5",
        "agent.behavior.stochastic=true",
        "agent.behavior.disagreement=2",
    ),
    "failure": ("parking-v0", "agent.objective.goal=0", "agent.objective.reward=1"),
    "camera": ("Pendulum-v1", "task.observe=[camera]", "task.camera_size=16", "agent.model.camera_depth=2"),
}


def made(settings: tuple[str, ...]) -> tuple[Agent, dict[str, Graph]]:
    """An agent whose layers that start at zero do not, and its graphs of learning."""
    config = tiny(settings[0], *SMALL, *settings[1:])
    torch.manual_seed(0)
    agent = Agent.for_task(training.spec_of(config.task), config.agent)
    with torch.no_grad():
        for module in (agent.trained, agent.model, agent.behavior):
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return agent, learning(agent, config.replay)


def filled(graph: Graph) -> dict[str, Tensor]:
    """Random inputs; parameters are left as they are."""
    generator = torch.Generator().manual_seed(1)

    def drawn(name: str, like: Tensor) -> Tensor:
        if "." in name:
            return like
        if name in ("terminated", "failure", "is_first"):
            return (torch.rand(like.shape, generator=generator) < 0.2).float()
        if like.dtype == torch.uint8:
            return torch.randint(0, 256, like.shape, generator=generator).to(torch.uint8)
        return torch.tensor(-1.5) if name == "failed" else torch.randn(like.shape, generator=generator)

    return {name: drawn(name, value) for name, value in graph.inputs.items()}


def by_autograd(agent: Agent, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What torch finds, under the graph's names."""
    objective = ModelObjective(agent) if name == "model_gradient" else BehaviorObjective(agent)
    loss, told = objective(**{key: value for key, value in inputs.items() if "." not in key})
    prefix = "model." if name == "model_gradient" else ("behavior.actor.", "behavior.critic.")
    learned = {key: value for key, value in objective.named_parameters() if key.startswith(prefix)}
    gradients = torch.autograd.grad(loss, list(learned.values()), materialize_grads=True)
    found = dict(zip(LEARNED[name], told, strict=True))
    return found | {GRADIENT + key: value for key, value in zip(learned, gradients, strict=True)}


@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
def test_gradients_are_autograds_for_every_parameter(settings: tuple[str, ...]) -> None:
    agent, graphs = made(settings)
    for name, graph in graphs.items():
        inputs, content = filled(graph), converted(graph, rewritten=False)
        onnx_file.inspect(content, f"{name}.onnx")
        engine = Engine({name: graph_file(f"{name}.onnx", graph)}, {f"{name}.onnx": content}, "cpu", 1)
        found = engine.run(name, {key: value.numpy() for key, value in inputs.items()})
        wanted = by_autograd(agent, name, inputs)
        assert found.keys() == wanted.keys()
        moved = [key for key, value in wanted.items() if key.startswith(GRADIENT) and bool(value.any())]
        assert len(moved) >= 0.9 * (len(wanted) - len(LEARNED[name])), "a gradient of zero would show nothing"
        for key, value in wanted.items():
            scale = max(1.0, float(value.detach().abs().max()))
            np.testing.assert_allclose(
                found[key] / scale, value.detach().numpy() / scale, rtol=0.0, atol=1e-4, err_msg=key
            )

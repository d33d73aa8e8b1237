"""Gradients of a bundle's graphs of learning held against autograd's, parameter by parameter."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wmctrl.learning.agent import Agent
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import Batch
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.manifest import GRADIENT, LEARNED, GraphFile
from wmctrl_export.gradients import LEARNS, OBJECTIVES

DRAWN = ("noise", "future_components", "future_values")
"""What graphs of learning take as noise."""

SMALLEST = 1e-3
"""Largest element of a gradient below which differences are what rounding leaves of its sum."""
LARGEST, LIMIT = 1e-4, 1e-2
"""Difference from autograd's in double precision that any gradient may have, and what none may exceed."""
AS_ROUNDED = 4.0
"""How many times as far as autograd's in single precision a gradient may be from that in double precision.

Through imagined steps rounding grows: of a trained cheetah's actor, autograd's own were up to 2.1e-3 from it.
"""


@dataclass(frozen=True)
class GradientParity:
    """How far a graph's gradients are from autograd's."""

    graph: str
    parameters: int
    """Tensors that are learned."""
    silent: int
    """Those among them whose gradient is zero throughout, which shows nothing."""
    difference: float
    """From autograd's in double precision, relative to its largest element, of the gradient, or of what the graph tells
    beside, that is furthest from what it may be."""
    where: str
    """Which one that is."""
    rounding: float
    """The difference of autograd's in single precision."""

    @property
    def most(self) -> float:
        """What the difference may be."""
        return most(self.rounding)


def gradient_parity(agent: Agent, learner: Bundle, batch: Batch) -> Iterator[GradientParity]:
    """Compute a bundle's graphs of learning in ONNX Runtime and with autograd, on recorded sequences.

    Args:
        learner: With what it learns with.
    """
    engine = Engine(learner.manifest.learning, learner.graphs, "cpu", 1)
    for name, inputs in inputs_from(agent, learner.manifest.learning, batch).items():
        objective = OBJECTIVES[name](agent)
        held = dict(objective.named_parameters()) | dict(objective.named_buffers()) | inputs
        given = {port.name: held[port.name].detach().numpy() for port in learner.manifest.learning[name].inputs}
        came = engine.run(name, given)
        doubled = {key: value.double() for key, value in inputs.items()}
        wanted = by_autograd(copy.deepcopy(objective).double(), name, doubled)
        rounded = by_autograd(objective, name, inputs)
        differences = {key: difference(came[key], value) for key, value in wanted.items()}
        rounding = {key: difference(rounded[key], value) for key, value in wanted.items()}
        shares = {key: np.nan_to_num(differences[key] / most(rounding[key]), nan=np.inf) for key in wanted}
        where = max(shares, key=shares.__getitem__)
        zeros = [key for key, value in wanted.items() if key.startswith(GRADIENT) and not value.any()]
        parameters = len(wanted) - len(LEARNED[name])
        yield GradientParity(name, parameters, len(zeros), differences[where], where, rounding[where])


def most(rounding: float) -> float:
    """Difference that a gradient may have from autograd's in double precision, by that of autograd's in single."""
    return min(LIMIT, max(LARGEST, AS_ROUNDED * rounding))


def difference(came: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Largest difference relative to the largest element, or to SMALLEST; NaN where one is not a number."""
    return float(np.abs(came - wanted).max() / np.maximum(SMALLEST, np.abs(wanted).max()))


def by_autograd(objective: nn.Module, name: str, inputs: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """What autograd finds of an objective, under its graph's names."""
    loss, told = objective(**inputs)
    wanted = {key: value for key, value in objective.named_parameters() if key.startswith(LEARNS[name])}
    gradients = torch.autograd.grad(loss, [*wanted.values()], materialize_grads=True)
    found = dict(zip(LEARNED[name], told, strict=True))
    found |= {GRADIENT + key: value for key, value in zip(wanted, gradients, strict=True)}
    return {key: value.detach().numpy() for key, value in found.items()}


@torch.no_grad()
def inputs_from(agent: Agent, graphs: Mapping[str, GraphFile], batch: Batch) -> dict[str, dict[str, Tensor]]:
    """What graphs of learning are called with, beside parameters, to learn from a batch (B, T, ...)."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: {port.name: port.shape for port in graph.inputs} for name, graph in graphs.items()}
    # Normal ones, whatever a graph would be given: parity holds with any.
    drawn = {
        name: {key: torch.randn(ports[key], generator=generator) for key in DRAWN if key in ports}
        for name, ports in shapes.items()
    }
    parts = {name: part for name, part in batch._asdict().items() if part is not None}
    found = {"model_gradient": drawn["model_gradient"] | parts}
    if "behavior_gradient" in graphs:
        chosen = torch.arange(shapes["behavior_gradient"]["deter"][0]) % batch.reward.numel()
        belief = agent.model.believe(batch, drawn["model_gradient"]["noise"]).belief
        begun = Belief(*(part.flatten(0, 1)[chosen] for part in belief))._asdict()
        goal = {} if batch.goal is None else {"goal": batch.goal.flatten(0, 1)[chosen]}
        found["behavior_gradient"] = (
            drawn["behavior_gradient"] | begun | goal | {"failed": torch.tensor(float(agent.pay.failed))}
        )
    return found

"""The work that is measured, on random data: what the numbers are does not change how long they take."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from wmctrl_export.bundle import graph_file
from wmctrl_export.conversion import converted
from wmctrl_export.gradients import modelling
from wmctrl_export.graphs import Graph, refining

from wmctrl.commands.training import require_compiler, spec_of
from wmctrl.config import Config, resolve
from wmctrl.learning.agent import Agent, AgentConfig
from wmctrl.model.world_model import Batch, Sizes
from wmctrl.runtime.engine import Engine

PARTS = ("update", "planning", "iteration")
"""What is measured where nothing else is asked; `compiled` and `gradient` can be, too, which take minutes to make."""


@dataclass(frozen=True)
class Question:
    """What to measure, and how."""

    env: str
    width: int | None = None
    """Width of every layer; None keeps the task's settings."""
    parts: tuple[str, ...] = PARTS
    repetitions: int = 60


@dataclass(frozen=True)
class Workload:
    """A piece of work that is measured whole."""

    name: str
    run: Callable[[], object]
    model_steps: int
    """States that the recurrent model steps forward in it."""
    twin: Callable[[], object] | None = None
    """The same work in PyTorch, where another library does it: whose products are counted."""


def workloads_of(question: Question) -> Iterator[Workload]:
    """The work to measure, on random data: what the numbers are does not change how long they take."""
    width = question.width
    keys = ("agent.model.deter", "agent.model.units", "agent.behavior.units") if width else ()
    config = resolve(question.env, None, tuple(f"{key}={width}" for key in keys))
    spec = spec_of(config.task)

    def agent(*, learn_behavior: bool, compile: bool = False) -> Agent:
        return Agent.for_task(spec, replace(config.agent, learn_behavior=learn_behavior, compile=compile))

    if "update" in question.parts:
        yield update("update: world model", agent(learn_behavior=False), config)
        yield update("update: world model, actor and critic", agent(learn_behavior=True), config)
    if "compiled" in question.parts:
        require_compiler(replace(config.agent, compile=True))
        whole = update("update", agent(learn_behavior=True), config)
        yield whole
        yield replace(update("update: compiled", agent(learn_behavior=True, compile=True), config), twin=whole.run)
    if "planning" in question.parts:
        yield planning("planning: one decision", agent(learn_behavior=False))
    if "iteration" in question.parts:
        yield from iterations(agent(learn_behavior=False))
    if "gradient" in question.parts:
        yield from gradients(agent(learn_behavior=False), config)


def update(name: str, agent: Agent, config: Config) -> Workload:
    """One update of the agent from a batch of sequences."""
    B, T = config.replay.batch, config.replay.length
    batch, generator = random_batch(agent.sizes, B, T), torch.Generator().manual_seed(0)
    behavior = agent.config.behavior
    steps = B * T + B * max(0, T - agent.config.model.context)  # followed, then foreseen
    if agent.config.learn_behavior:
        steps += B * T + behavior.updates * min(behavior.starts, B * T) * behavior.horizon  # followed again, imagined
    return Workload(name, lambda: agent.learn(batch, generator), steps)


def planning(name: str, agent: Agent) -> Workload:
    """One observation to one action."""
    state, generator = agent.start(), np.random.default_rng(0)
    observation = random_observation(agent.sizes)
    return Workload(name, lambda: agent.act(state, observation, generator), decision_steps(agent.config))


def iterations(agent: Agent) -> Iterator[Workload]:
    """One iteration of the planner: in PyTorch, and in ONNX Runtime as it is deployed."""
    graph = refining(agent)
    inputs = {name: 0.3 * torch.randn(value.shape) for name, value in graph.inputs.items()}
    inputs |= {name: graph.inputs[name] for name in ("plan_std", "low", "high", "rate", "risk")}
    inputs["weights"] = torch.ones_like(graph.inputs["weights"])
    arrays = {name: value.numpy() for name, value in inputs.items()}

    @torch.no_grad()
    def eager() -> object:
        return graph.module(**inputs)

    engine = deployed("refine", graph)
    steps = iteration_steps(agent.config)
    yield Workload("one iteration: PyTorch", eager, steps)
    yield Workload("one iteration: ONNX Runtime", lambda: engine.run("refine", arrays), steps, twin=eager)


def gradients(agent: Agent, config: Config) -> Iterator[Workload]:
    """One update of the world model in PyTorch, and its gradient alone in ONNX Runtime."""
    whole = update("one update: PyTorch", agent, config)
    yield whole
    graph = modelling(agent, config.replay)
    batch = random_batch(agent.sizes, config.replay.batch, config.replay.length)
    noise = {"noise": torch.randn(graph.inputs["noise"].shape)}
    given = {name: part for name, part in batch._asdict().items() if part is not None}
    arrays = {name: value.numpy() for name, value in {**graph.inputs, **noise, **given}.items()}
    learned = list(agent.trained.parameters())

    def eager() -> object:
        return torch.autograd.grad(agent.trained.loss(batch, noise["noise"])[0], learned, allow_unused=True)

    engine = deployed("model_gradient", graph)
    yield Workload(
        "one gradient: ONNX Runtime", lambda: engine.run("model_gradient", arrays), whole.model_steps, twin=eager
    )


def deployed(name: str, graph: Graph) -> Engine:
    """A graph in ONNX Runtime, with as many threads as PyTorch has."""
    file = graph_file(f"{name}.onnx", graph)
    return Engine({name: file}, {file.file: converted(graph)}, "cpu", torch.get_num_threads())


def decision_steps(config: AgentConfig) -> int:
    """Model steps of one decision: observing, following the policy's proposals, and imagining every candidate."""
    planner = config.planner
    return 1 + planner.horizon * config.proposals + planner.iterations * iteration_steps(config)


def iteration_steps(config: AgentConfig) -> int:
    """Model steps of one iteration: every candidate's first, and all later ones in every future of it."""
    planner = config.planner
    candidates = planner.samples + 1 + min(planner.kept, planner.elites) + config.proposals
    return candidates * (1 + (planner.horizon - 1) * config.objective.particles)


def random_batch(sizes: Sizes, B: int, T: int) -> Batch:
    """Sequences of one episode each, (B, T, ...)."""
    generator = torch.Generator().manual_seed(0)

    def draws(*shape: int) -> torch.Tensor:
        return torch.randn(B, T, *shape, generator=generator)

    camera = (128.0 + 32.0 * draws(*sizes.camera)).clamp(0.0, 255.0).to(torch.uint8) if sizes.camera else None
    return Batch(
        action=draws(sizes.action).tanh(),
        reward=draws(),
        terminated=torch.zeros(B, T),
        failure=torch.zeros(B, T),
        is_first=(torch.arange(T) == 0).float().repeat(B, 1),
        proprio=draws(sizes.proprio) if sizes.proprio else None,
        camera=camera,
        goal=draws(sizes.goal) if sizes.goal else None,
    )


def random_observation(sizes: Sizes) -> dict[str, NDArray[Any]]:
    """What a plant of these sizes might show."""
    generator = np.random.default_rng(0)
    observation: dict[str, NDArray[Any]] = {
        name: generator.standard_normal(size, np.float32)
        for name, size in (("proprio", sizes.proprio), ("goal", sizes.goal))
        if size
    }
    if sizes.camera:
        observation["camera"] = generator.integers(0, 256, sizes.camera, np.uint8)
    return observation

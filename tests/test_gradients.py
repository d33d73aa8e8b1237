"""Graphs of learning: their gradients are autograd's, for every parameter."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from wmctrl_export.bundle import graph_file, write_bundle
from wmctrl_export.conversion import converted
from wmctrl_export.gradient_parity import GradientParity, by_autograd, difference, gradient_parity
from wmctrl_export.gradients import OBJECTIVES, learning
from wmctrl_export.graphs import Graph

from tests.tiny_bundle import copied
from tests.tiny_run import tiny
from wmctrl.commands import exporting, observations, training
from wmctrl.config import Config
from wmctrl.learning.agent import Agent
from wmctrl.learning.replay import Replay
from wmctrl.model.world_model import Batch
from wmctrl.runtime import bundle, manifest, onnx_file
from wmctrl.runtime.engine import Arrays, Engine
from wmctrl.runtime.manifest import GRADIENT, LEARNED

SMALL = ("replay.batch=3", "replay.length=2", "agent.model.context=1", "agent.behavior.horizon=2")
"""Every step is another piece of a graph, and takes seconds."""
FAMILIES = {
    "goal and failure": ("parking-v0", "agent.objective.goal=1", "agent.objective.reward=0"),
    "drawn futures and disagreement": (
        "HalfCheetah-v5",
        "agent.behavior.stochastic=true",
        "agent.behavior.disagreement=2",
    ),
}
CAMERA = ("Pendulum-v1", "task.observe=[camera]", "task.camera_size=16", "agent.model.camera_depth=2")
UNGUIDED = ("agent.learn_behavior=false", "agent.proposals=0")


def settings_of(family: tuple[str, ...]) -> Config:
    return tiny(family[0], *SMALL, *family[1:])


def agent_of(config: Config) -> Agent:
    """An agent whose layers that start at zero do not."""
    torch.manual_seed(0)
    agent = Agent.for_task(training.spec_of(config.task), config.agent)
    with torch.no_grad():
        for module in (agent.trained, agent.model, agent.behavior):
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return agent


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


def hold(agent: Agent, name: str, graph: Graph, engine: Engine) -> None:
    """Hold what an engine computes of random inputs to what torch finds."""
    inputs = filled(graph)
    found = engine.run(name, {key: value.numpy() for key, value in inputs.items()})
    wanted = by_autograd(OBJECTIVES[name](agent), name, {key: value for key, value in inputs.items() if "." not in key})
    assert found.keys() == wanted.keys()
    moved = [key for key, value in wanted.items() if key.startswith(GRADIENT) and value.any()]
    assert len(moved) >= 0.9 * (len(wanted) - len(LEARNED[name])), "a gradient of zero would show nothing"
    for key, value in wanted.items():
        assert difference(found[key], value) <= 1e-4, key


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_gradients_are_autograds_for_every_parameter(family: tuple[str, ...]) -> None:
    config = settings_of(family)
    agent = agent_of(config)
    for name, graph in learning(agent, config.replay).items():
        content = converted(graph)
        onnx_file.inspect(content, f"{name}.onnx")
        hold(agent, name, graph, Engine({name: graph_file(name, graph)}, {name: content}, "cpu", 1))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that drives by camera and can go on learning."""
    config = settings_of((*CAMERA, *UNGUIDED))
    spec = training.spec_of(config.task)
    folder = tmp_path_factory.mktemp("taught") / "bundle"
    task, seen = exporting.task_of(spec, config.task), observations.invented(spec, 5)
    write_bundle(agent_of(config), task, seen, folder, {"steps": "0"}, config.replay)
    return folder


def test_a_bundle_learns_by_camera_and_only_where_it_is_asked_to(taught: Path) -> None:
    driving, learner = bundle.load(taught), bundle.load(taught, learning=True)
    assert learner.graphs.keys() - driving.graphs.keys() == {"model_gradient.onnx"}
    config = settings_of((*CAMERA, *UNGUIDED))
    agent = agent_of(config)
    ((name, graph),) = learning(agent, config.replay).items()
    hold(agent, name, graph, Engine(learner.manifest.learning, learner.graphs, "cpu", 1))


def recorded_steps(config: Config) -> Batch:
    """A batch of a replay that random steps are in."""
    sizes = agent_of(config).sizes
    replay, generator = Replay(sizes, config.replay, 1), np.random.default_rng(0)
    for step in range(9):
        shown = {
            "camera": generator.integers(0, 256, sizes.camera),
            "action": generator.uniform(-1.0, 1.0, sizes.action),
        }
        replay.add(0, {"reward": 0.5 * step, "terminated": 0.0, "failure": 0.0, "is_first": step == 0, **shown})
    return replay.sample(generator, torch.device("cpu"))


def test_a_bundle_is_held_to_the_gradients_of_its_agent_on_recorded_steps(
    taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings_of((*CAMERA, *UNGUIDED))
    agent, batch = agent_of(config), recorded_steps(config)
    learner = bundle.load(taught, learning=True)
    (found,) = gradient_parity(agent, learner, batch)
    assert found.graph == "model_gradient"
    assert found.parameters == len(dict(agent.trained.named_parameters()))
    assert found.silent <= 0.1 * found.parameters
    assert found.difference <= 1e-4
    (broken,) = gradient_parity(agent, learner, batch._replace(reward=batch.reward * math.nan))
    assert math.isnan(broken.difference)
    honest, wrong = Engine.run, "gradient.model.rssm.gates.weight"

    def otherwise(engine: Engine, name: str, feeds: Arrays) -> dict[str, NDArray[Any]]:
        outputs = honest(engine, name, feeds)
        outputs[wrong][0, 0] += 100.0 * max(1.0, np.abs(outputs[wrong]).max())
        return outputs

    monkeypatch.setattr(Engine, "run", otherwise)
    (other,) = gradient_parity(agent, learner, batch)
    assert (other.where, other.difference > 1.0) == (wrong, True)


def test_gradients_that_are_not_autograds_are_not_deployed() -> None:
    for wrong, rounding in (
        (2e-4, 1e-6),
        (5e-3, 1e-3),
        (0.02, 1.0),
        (math.inf, math.inf),
        (math.nan, 1e-6),
        (2e-4, math.nan),
    ):
        other = GradientParity("model_gradient", 9, 0, wrong, "gradient.model.a", rounding)
        made = exporting.Export(Path("there"), 1, 1, {}, {}, gradients=(other,))
        with pytest.raises(ValueError, match=r"gradient\.model\.a differs by .* from autograd's, above"):
            exporting.require_alike(made, "fp32")


def test_gradients_that_rounding_moves_as_far_are_deployed() -> None:
    for wrong, rounding in ((9e-5, 1e-9), (3e-3, 1e-3)):
        same = GradientParity("behavior_gradient", 9, 0, wrong, "gradient.behavior.a", rounding)
        exporting.require_alike(exporting.Export(Path("there"), 1, 1, {}, {}, gradients=(same,)), "fp32")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda graphs: graphs.update(other=graphs["model_gradient"]), r"learning\.other: no such graph"),
        (
            lambda graphs: graphs["model_gradient"]["outputs"].pop(0),
            r"learning\.model_gradient: makes .*expected \('loss'",
        ),
        (lambda graphs: graphs["model_gradient"]["outputs"][3].update(shape=[1]), r"learning\.model_gradient: makes"),
        (lambda graphs: graphs["model_gradient"].update(file="none.onnx"), r"learning\.model_gradient: .*not among"),
        (
            lambda graphs: graphs["model_gradient"]["inputs"].pop(),
            r"model_gradient\.onnx: inputs differ from learning\.",
        ),
    ],
)
def test_a_manifest_that_tells_otherwise_of_learning_is_refused(
    taught: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    folder = copied(taught, tmp_path)
    told = json.loads((folder / manifest.NAME).read_text())
    change(told["learning"])
    (folder / manifest.NAME).write_text(json.dumps(told))
    with pytest.raises(ValueError, match=said):
        bundle.load(folder, learning=True)

"""Writing a bundle: graphs, noise, golden steps, the runtime itself, and the manifest that names them all."""

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

import wmctrl
from wmctrl.learning.agent import Agent
from wmctrl.learning.replay import ReplayConfig
from wmctrl.planning.planner import Health
from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.manifest import FileEntry, GraphFile, Manifest, Objective, Planning, Port
from wmctrl.runtime.noise import NoiseBank
from wmctrl.runtime.plant import Calibration, Task
from wmctrl_export.conversion import converted
from wmctrl_export.gradients import learning
from wmctrl_export.graphs import Graph, graphs, weighed
from wmctrl_export.targets import PAGE, TARGETS, Target, page

GOLDEN_STEPS = 8
GOLDEN_TOLERANCES = {"fp32": 1e-3, "fp16": 5e-2}
"""By precision, with a wide margin: what rounding comes to over the golden steps, another processor's or a half's."""
RUN = """#!/usr/bin/env python3
\"\"\"Loads, checks and times the controller in this folder; needs numpy and onnxruntime. See --help.\"\"\"

import sys
import time
from pathlib import Path

began = time.perf_counter()
sys.dont_write_bytecode = True  # the manifest names all that is in this folder
folder = Path(__file__).resolve().parent
sys.path.insert(0, str(folder))

try:
    from wmctrl.runtime.board import main  # the line above says where it is
except (ImportError, SyntaxError) as error:  # before what checks every file is there to say so
    remedy = "copy the bundle's folder again, or export the run again with `wm export RUN`"
    if not str(getattr(error, "name", "wmctrl")).startswith("wmctrl"):
        remedy = "it needs `python3 -m pip install numpy onnxruntime`"
    sys.stderr.write(f"refused: {' '.join(str(error).split())}; {remedy}\\n")
    sys.exit(2)

sys.exit(main(folder, sys.argv[1:], time.perf_counter() - began))
"""
MEANINGS = {
    "deter": "memory of the belief, zeros at an episode's start",
    "stoch": "stochastic state of the belief, zeros at an episode's start",
    "action": "the last action sent, in [-1, 1], zeros at an episode's start",
    "proprio": "sensors in their own units, in the manifest's order",
    "camera": "pixels, height x width x channels, 0 to 255",
    "goal": "in its own units, in the manifest's order",
    "plan_mean": "mean of the carried plan, in [-1, 1]",
    "plan_std": "std of the carried plan",
    "plan_elites": "best candidates of the last iteration, best first",
    "weights": "of the objective's parts, in the manifest's order",
    "failed": "reward per step of a failed plant, as weighed",
    "low": "least of every action, within [-1, 1]",
    "high": "largest of every action, within [-1, 1]",
    "rate": "largest change of every action from one step to the next",
    "risk": "largest probability of failing that a plan may have",
    "noise": "draws of zero mean and unit variance",
    "proposals": "action sequences of the policy, in [-1, 1]",
    "future_components": "standard Gumbel draws",
    "future_values": "standard normal draws",
    "reward": "received on arrival",
    "terminated": "1 where the plant ended the episode on arrival",
    "failure": "1 where the plant failed on arrival",
    "is_first": "1 where an episode starts",
    "behavior.spread": "running range of returns",
    "next_behavior.spread": "running range of returns after an update",
    "loss": "of the world model",
    "belief_deter": "memory of the belief along the sequences",
    "belief_stoch": "stochastic state of the belief along the sequences",
    "actor_loss": "of the actor",
    "critic_loss": "of the critic",
    "next_deter": "memory of the belief",
    "next_stoch": "stochastic state of the belief",
    "surprise": "of the observation, given what was expected [nats]",
    "next_proprio": "sensors as expected, in their own units",
    "next_camera": "pixels as expected, height x width x channels, 0 to 1",
    "next_action": "action in [-1, 1]",
    "next_plan_mean": "mean of the refitted plan; its first row is the action",
    "next_plan_std": "std of the refitted plan",
    "next_plan_elites": "best candidates, best first",
    "health": f"of the iteration: {', '.join(Health._fields)}",
}
"""What every port holds."""

Observations = Sequence[Mapping[str, NDArray[Any]]]


class ModuleEngine:
    """Runs the graphs' own modules in PyTorch."""

    provider = "torch"

    def __init__(self, modules: Mapping[str, Graph]) -> None:
        self.modules = modules

    @torch.no_grad()
    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""
        graph = self.modules[name]
        outputs = graph.module(**{key: torch.tensor(value) for key, value in feeds.items()})
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return {key: value.numpy().copy() for key, value in zip(graph.outputs, several, strict=True)}


class Remembering(ModuleEngine):
    """Remembers what went into the graphs and came out."""

    def __init__(self, modules: Mapping[str, Graph]) -> None:
        super().__init__(modules)
        self.calls: list[tuple[str, dict[str, NDArray[Any]]]] = []

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""
        found = super().run(name, feeds)
        self.calls.append((name, {**feeds, **found}))
        return found


def write_bundle(
    agent: Agent,
    task: Task,
    observations: Observations,
    folder: Path,
    made_by: Mapping[str, str],
    replay: ReplayConfig | None = None,
    precision: str = "fp32",
    target: Target = TARGETS["generic"],
    calibration: Calibration | None = None,
) -> None:
    """Write an agent's bundle into an empty folder.

    Args:
        observations: Some that the plant really showed, in the order in which it did.
        made_by: Versions, code, command and training behind it.
        replay: The size of the batches that it can learn from; None makes one that only drives.
        precision: Of the networks where they drive, fp32 or fp16; what learns is fp32.
        target: What its page tells how to drive on.
        calibration: What is ordinary; None where nothing was recorded to tell it by.

    Raises:
        ValueError: There is no such precision, or a parameter is beyond it.
        OSError: The disk is full or may not be written.
    """
    made, taught = graphs(agent), {} if replay is None else learning(agent, replay)
    contents = {f"{name}.onnx": converted(graph, precision) for name, graph in made.items()}
    contents |= {f"{name}.onnx": converted(graph) for name, graph in taught.items()}
    told = described(agent, task, made, taught, entries(contents), made_by, precision, calibration)
    noise = NoiseBank.filled(agent.randomness, seed=0)
    contents[bundle.NOISE] = save(noise)
    contents[bundle.GOLDEN] = save(golden(Bundle(folder, told, {}, noise, {}), made, observations))
    contents |= runtime_files() | {"run.py": RUN.encode(), PAGE: page(told, target).encode()}
    contents[manifest.NAME] = manifest.written(dataclasses.replace(told, files=entries(contents)))
    for name, content in contents.items():
        write_atomic(folder / name, content)


def extend(folder: Path, arrays: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
    """Add files of arrays to a bundle that was written, or replace them."""
    told = manifest.parse((folder / manifest.NAME).read_bytes())
    contents = {name: save(dict(held)) for name, held in arrays.items()}
    for name, content in contents.items():
        write_atomic(folder / name, content)
    told = dataclasses.replace(told, files=told.files | entries(contents))
    write_atomic(folder / manifest.NAME, manifest.written(told))


def described(
    agent: Agent,
    task: Task,
    made: Mapping[str, Graph],
    taught: Mapping[str, Graph],
    files: dict[str, FileEntry],
    made_by: Mapping[str, str],
    precision: str,
    calibration: Calibration | None,
) -> Manifest:
    """The manifest of an agent's graphs."""
    c, planner = agent.config, agent.config.planner
    planning = Planning(
        planner.iterations, planner.horizon, planner.elites, planner.init_std, planner.reopening, agent.randomness
    )
    weights = {name: float(getattr(c.objective, name)) for name in weighed(agent)}
    return Manifest(
        schema=manifest.SCHEMA,
        task=task,
        planning=planning if c.plan else None,
        objective=Objective(weights, float(agent.worst_reward)),
        calibration=calibration,
        precision=precision,
        golden_tolerance=GOLDEN_TOLERANCES[precision],
        graphs={name: graph_file(f"{name}.onnx", graph) for name, graph in made.items()},
        learning={name: graph_file(f"{name}.onnx", graph) for name, graph in taught.items()},
        files=files,
        made_by=dict(made_by),
    )


@torch.no_grad()
def graph_file(file: str, graph: Graph) -> GraphFile:
    """How a graph is called."""
    outputs = graph.module(**graph.inputs)
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return GraphFile(
        file,
        tuple(port(name, value) for name, value in graph.inputs.items()),
        tuple(port(name, value) for name, value in zip(graph.outputs, several, strict=True)),
    )


def port(name: str, example: torch.Tensor) -> Port:
    """An input or output, described."""
    return Port(name, str(example.dtype).removeprefix("torch."), tuple(example.shape), meaning(name))


def meaning(name: str) -> str:
    """What a port holds; those that are not in the table are parameters and their gradients."""
    found = MEANINGS.get(name)
    if found is not None:
        return found
    return "of the loss, by this parameter" if name.startswith(manifest.GRADIENT) else "a parameter of the networks"


def entries(contents: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """Hash and length of every file."""
    return {name: FileEntry(hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()}


def golden(draft: Bundle, made: Mapping[str, Graph], observations: Observations) -> dict[str, NDArray[Any]]:
    """What PyTorch computes of some observations, by graph and port, step by step; of a plan, its first iteration."""
    engine = Remembering(made)
    controller = Controller(draft, engine, trusting=True)
    steps: list[dict[str, NDArray[Any]]] = []
    for observation in itertools.islice(itertools.cycle(observations), GOLDEN_STEPS):
        engine.calls.clear()
        action = controller.act(observation).command
        given = {**controller.state.belief._asdict(), "action": action, **observation}
        for name in made.keys() & {"imagine", "depict", "policy"}:  # which a decision that plans need not call
            engine.run(name, {part: given[part] for part in made[name].inputs})
        step: dict[str, NDArray[Any]] = {}
        for name, arrays in engine.calls:
            for key, value in arrays.items():
                step.setdefault(f"{name}.{key}", value)
        steps.append(step)
    return {key: np.ascontiguousarray(np.stack([step[key] for step in steps])) for key in steps[0]}


def runtime_files() -> dict[str, bytes]:
    """The runtime, as a bundle carries it."""
    home = Path(wmctrl.__file__).parent
    paths = [home / "__init__.py", *sorted((home / "runtime").glob("*.py"))]
    return {path.relative_to(home.parent).as_posix(): path.read_bytes() for path in paths}

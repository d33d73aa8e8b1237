"""What a bundle says of itself: every input with its name, unit and order, every file with its hash."""

import json
import re
from dataclasses import dataclass
from numbers import Real
from typing import Any

from wmctrl.runtime import json_file, records
from wmctrl.runtime.noise import Randomness
from wmctrl.runtime.plant import Calibration, Task

NAME = "manifest.json"
SCHEMA = 4
LARGEST_FILE = 64 << 20
"""Bytes of the largest file a bundle may hold."""
LARGEST_BUNDLE = 256 << 20
"""Bytes of all its files."""
LARGEST_WEIGHT = 1e6
LEAST_RISK = 1e-3
DTYPES = ("float32", "uint8")
"""Of what graphs take and make."""
PRECISIONS = ("fp32", "fp16")
LARGEST_TOLERANCE = 0.05
"""Of a belief, relative to 1 + its elements' size; more would be no check."""
PLANNED = ("plan_mean", "plan_std", "plan_elites", "weights", "failed", "low", "high", "rate", "risk")
"""What `refine` takes of the plan, its worth and its limits."""
OUTPUTS = {
    "observe": ("next_deter", "next_stoch", "surprise"),
    "imagine": ("next_deter", "next_stoch", "next_proprio"),
    "depict": ("next_camera",),
    "propose": ("proposals",),
    "refine": ("next_plan_mean", "next_plan_std", "next_plan_elites", "health"),
    "policy": ("next_action",),
}
"""What every graph makes, `next_proprio` where that is observed."""
SPREAD = "behavior.spread"
"""The running range of returns, which an update of the actor moves."""
BELIEFS = ("belief_deter", "belief_stoch")
"""Those along the sequences that a model learns from, from which actor and critic imagine."""
LEARNED = {
    "model_gradient": ("loss", *BELIEFS),
    "behavior_gradient": ("actor_loss", "critic_loss", f"next_{SPREAD}"),
}
"""What every graph of learning makes, before the gradients of the parameters that it learns."""
GRADIENT = "gradient."
"""Begins the name of a gradient; its parameter's follows."""
HEALTH = 5
"""Figures that an iteration of the planner tells of itself."""
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,3}")
"""A path within the bundle, downwards alone."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    dtype: str
    """As numpy names it."""
    shape: tuple[int, ...]
    meaning: str
    """What it holds, with its unit."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be {' or '.join(DTYPES)}, came {records.shown(self.dtype)}")


@dataclass(frozen=True)
class GraphFile:
    """A graph and how it is called."""

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def learned(self) -> list[str]:
        """The parameters of which it makes gradients."""
        return [port.name.removeprefix(GRADIENT) for port in self.outputs if port.name.startswith(GRADIENT)]


@dataclass(frozen=True)
class Planning:
    """How a decision is planned."""

    iterations: int
    horizon: int
    elites: int
    init_std: float
    reopening: float
    randomness: Randomness

    def __post_init__(self) -> None:
        for name, most in (("iterations", 100), ("horizon", 1000), ("elites", 10_000)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 1 to {most}, came {getattr(self, name)}")
        if self.init_std <= 0.0:
            raise ValueError(f"init_std must be above 0, came {self.init_std:g}")
        if not 0.0 < self.reopening <= 1.0:
            raise ValueError(f"reopening must be above 0 and at most 1, came {self.reopening:g}")
        r = self.randomness
        if r.horizon != self.horizon:
            raise ValueError(f"randomness.horizon must be the horizon, {self.horizon}, came {r.horizon}")
        for name, least in (("samples", 1), ("proposals", 0), ("particles", 1), ("components", 1), ("stoch", 1)):
            if not least <= getattr(r, name) <= 100_000:
                raise ValueError(f"randomness.{name} must be from {least} to 100,000, came {getattr(r, name)}")


@dataclass(frozen=True)
class Objective:
    """What a plan is worth."""

    weights: dict[str, float]
    """Of the parts that are computed, in the graph's order; they can be changed while driving."""
    failure_reward: float
    """Reward per step of a failed plant, in the task's units."""

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            hold_weight(name, weight)
        if not abs(self.failure_reward) <= LARGEST_WEIGHT:
            raise ValueError(f"failure_reward must be at most {LARGEST_WEIGHT:g} in size, came {self.failure_reward:g}")

    def failed(self, weights: dict[str, float]) -> float:
        """Reward per step of a failed plant, in the currency of what is weighed."""
        return ((weights.get("reward", 0.0) + weights.get("goal", 0.0)) or 1.0) * self.failure_reward


def hold_weight(name: str, weight: float) -> None:
    """Refuse a weight of a part of the objective under which a plan's worth would not be finite.

    Raises:
        ValueError: It is one.
    """
    least, most = (LEAST_RISK, 1.0) if name == "risk" else (0.0, LARGEST_WEIGHT)
    if not (isinstance(weight, Real) and least <= weight <= most):
        raise ValueError(f"{name} must be from {least:g} to {most:g}, came {records.shown(weight)}")


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 must be 64 hexadecimal digits")
        if not 0 <= self.bytes <= LARGEST_FILE:
            raise ValueError(f"bytes must be from 0 to {LARGEST_FILE:,}, came {self.bytes}")


@dataclass(frozen=True)
class Manifest:
    """All that is known of a bundle before its files are read."""

    schema: int
    task: Task
    planning: Planning | None
    """None where the bundle only reacts."""
    objective: Objective
    calibration: Calibration | None
    """None where nothing was recorded to tell it by."""
    precision: str
    """Of the networks, one of PRECISIONS; what comes in and out is of float32 either way."""
    golden_tolerance: float
    """Largest difference of a belief from the golden one, relative to 1 + its elements' size."""
    graphs: dict[str, GraphFile]
    learning: dict[str, GraphFile]
    """Graphs that a learner runs beside; nobody who drives needs them."""
    files: dict[str, FileEntry]
    made_by: dict[str, str]
    """Versions, code, command and training behind it."""

    def __post_init__(self) -> None:
        for name in self.files:
            if not FILE_NAME.fullmatch(name) or ".." in name:
                raise ValueError(f"files: {records.shown(name)} is not a path within the bundle")
        if (total := sum(entry.bytes for entry in self.files.values())) > LARGEST_BUNDLE:
            raise ValueError(f"files: have {total:,} bytes, expected at most {LARGEST_BUNDLE:,}")
        for part, graphs in (("graphs", self.graphs), ("learning", self.learning)):
            for name, graph in graphs.items():
                if graph.file not in self.files:
                    raise ValueError(f"{part}.{name}: {records.shown(graph.file)} is not among the files")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be {' or '.join(PRECISIONS)}, came {records.shown(self.precision)}")
        if not 0.0 < self.golden_tolerance <= LARGEST_TOLERANCE:
            raise ValueError(
                f"golden_tolerance must be above 0 and at most {LARGEST_TOLERANCE:g}, came {self.golden_tolerance:g}"
            )
        if self.calibration is not None and len(self.calibration.proprio) != len(self.task.proprio):
            raise ValueError(
                f"calibration: has {len(self.calibration.proprio)} elements, the task {len(self.task.proprio)}"
            )
        needed = {"observe", "imagine"} | ({"refine"} if self.planning else {"policy"})
        if self.task.proprio and self.task.camera:
            needed.add("depict")
        if self.planning and self.planning.randomness.proposals:
            needed.add("propose")
        if missing := sorted(needed - self.graphs.keys()):
            raise ValueError(f"graphs: {', '.join(missing)} is missing")
        for name, graph in self.graphs.items():
            self._hold_ports(name, graph)
        for name, graph in self.learning.items():
            _hold_gradients(name, graph, self.state_sizes)

    def calls(self, name: str) -> int:
        """How often a decision calls a graph: one that is planned where planning is possible, nothing being missing."""
        if name == "observe":
            return 1
        if self.planning is None:
            return int(name == "policy")
        return {"refine": self.planning.iterations, "propose": 1}.get(name, 0)

    def _hold_ports(self, name: str, graph: GraphFile) -> None:
        """Hold a graph's ports to what is called, with the lengths that the rest of the manifest tells."""
        lengths = self._lengths(name)
        if name not in OUTPUTS:
            raise ValueError(f"graphs.{name}: no such graph; known: {', '.join(OUTPUTS)}")
        for what, ports, names in (
            ("takes", graph.inputs, self._inputs(name)),
            ("makes", graph.outputs, self._outputs(name)),
        ):
            came = [port.name for port in ports]
            if sorted(came) != sorted(names):
                raise ValueError(f"graphs.{name}: {what} {', '.join(came) or 'nothing'}, expected {', '.join(names)}")
        for port in (*graph.inputs, *graph.outputs):
            wanted = lengths.get(port.name.removeprefix("next_"))
            if port.shape != wanted:
                raise ValueError(
                    f"graphs.{name}: {port.name} has shape {port.shape}, expected {wanted or 'no such port'}"
                )

    def _outputs(self, name: str) -> list[str]:
        """What a graph makes."""
        return [one for one in OUTPUTS[name] if self.task.proprio or one != "next_proprio"]

    def _inputs(self, name: str) -> list[str]:
        """What a graph is called with."""
        task, found = self.task, ["deter", "stoch"]
        goal = ["goal"] if task.goal else []
        if name == "imagine":
            return [*found, "action"]
        if name == "depict":
            return found
        if name == "observe":
            parts = {"proprio": task.proprio, "camera": task.camera}
            return [*found, "action", *(part for part, present in parts.items() if present)]
        if name == "propose":
            return [*found, "noise", *goal]
        if name == "refine":
            noise = self.planning.randomness.shapes() if self.planning else {}
            given = [part for part in noise if part != "candidates"]
            return [*found, "action", *PLANNED, "noise", *goal, *given]
        return [*found, *goal]

    def _lengths(self, name: str) -> dict[str, tuple[int, ...]]:
        """Shapes of everything that a graph may take or make."""
        task, (D, S) = self.task, self.state_sizes
        O, G, A = len(task.proprio), len(task.goal), len(task.action)
        found: dict[str, tuple[int, ...]] = {"deter": (D,), "stoch": (S,), "action": (A,), "surprise": ()}
        found |= {"proprio": (O,), "goal": (G,), "low": (A,), "high": (A,), "rate": (A,)}
        found |= {"failed": (), "risk": (), "health": (HEALTH,)}
        found["weights"] = (len(self.objective.weights),)
        if task.camera is not None:
            found["camera"] = task.camera
        if self.planning is not None:
            H, noise = self.planning.horizon, self.planning.randomness.shapes()
            found |= {"plan_mean": (H, A), "plan_std": (H, A), "plan_elites": (self.planning.elites, H, A)} | noise
            found["noise"] = noise["candidates"] if name == "refine" else noise.get("proposals", ())
        return found

    @property
    def state_sizes(self) -> tuple[int, int]:
        """Lengths of a belief's memory and stochastic state, D and S."""
        shapes = {port.name: port.shape for port in self.graphs["observe"].inputs}
        sizes = (*shapes.get("deter", ()), *shapes.get("stoch", ()))
        if len(sizes) != 2:
            raise ValueError("graphs.observe: must take deter and stoch, a vector each")
        return sizes[0], sizes[1]


def _hold_gradients(name: str, graph: GraphFile, state_sizes: tuple[int, int]) -> None:
    """Hold a graph of learning to what it tells, and to gradients that have their parameters' shapes."""
    if name not in LEARNED:
        raise ValueError(f"learning.{name}: no such graph; known: {', '.join(LEARNED)}")
    told, shapes = LEARNED[name], {port.name: port.shape for port in graph.inputs}
    lengths = {part: (*shapes.get("reward", ()), size) for part, size in zip(BELIEFS, state_sizes, strict=True)}
    came = [(port.name, port.shape) for port in graph.outputs]
    wanted: list[tuple[str, tuple[int, ...] | None]] = [(one, lengths.get(one, ())) for one in told]
    wanted += [(port, shapes.get(port.removeprefix(GRADIENT))) for port, _ in came[len(told) :]]
    if came != wanted or len(came) == len(told):
        differing = next((pair for pair in zip(came, wanted, strict=False) if pair[0] != pair[1]), (came, wanted))
        raise ValueError(f"learning.{name}: makes {differing[0]}, expected {differing[1]} and gradients of its inputs")


def parse(content: bytes) -> Manifest:
    """The manifest in a file's content.

    Raises:
        ValueError: It is not one, or of a schema that this runtime does not read.
    """
    value = json_file.parse(content, NAME)
    schema = value.get("schema")
    if schema != SCHEMA:
        raise ValueError(f"{NAME}: has schema {records.shown(schema)}, this runtime reads {SCHEMA}")
    return records.read(Manifest, value, NAME)


def written(manifest: Manifest) -> bytes:
    """A manifest as its file's content."""
    plain: Any = records.plain(manifest)
    return json.dumps(plain, indent=1, allow_nan=False).encode()

"""What `wm export` does: a run's agent written as a bundle, and held against the agent it was made from."""

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import wmctrl_export
from rich.console import Console
from wmctrl_envs.task import Element, TaskSpec
from wmctrl_export import signing
from wmctrl_export.bundle import Observations, replacement, write_bundle
from wmctrl_export.gradient_parity import GradientParity, gradient_parity
from wmctrl_export.parity import Parity, parity
from wmctrl_export.regret import Regret, regret
from wmctrl_export.targets import TARGETS

from wmctrl.commands import provenance, run_folder, training
from wmctrl.config import Config, TaskConfig
from wmctrl.config_files import to_yaml
from wmctrl.learning import arithmetic
from wmctrl.learning.agent import Agent
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.replay import Replay, segment_name, segments
from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import read_bounded

FOLDER = "bundle"
"""Where in a run's folder its bundle is."""
LARGEST_DIFFERENCE = 1e-4
"""Of a belief over the recurrent steps of the check, and of a gradient."""
LARGEST_HALVED = 0.02
"""Of a policy's action in half precision."""
BRIEFLY = 20
"""Decisions of the check where nobody asked for one."""
COLUMNS = ("observations", "decisions", "belief, one step", "belief, all steps", "action", "same action", "as good")
"""What a table tells of a bundle."""
GRADIENT_COLUMNS = ("gradients", "parameters", "all zero", "largest difference", "of")
"""What a table tells of graphs that learn."""
REGRET_COLUMNS = ("plans", "states", "regret, mean", "median", "95th percentile")
"""What a table tells of half precision."""


@dataclass(frozen=True)
class Export:
    """A bundle that was written, and how it compares with its agent."""

    folder: Path
    files: int
    bytes: int
    recorded: Parity
    random: Parity
    regret: Regret | None = None
    """Of plans in half precision."""
    gradients: Sequence[GradientParity] = ()
    """Of graphs that learn."""
    public_key: str = ""
    """In hexadecimal; empty where it is not signed."""


@dataclass(frozen=True)
class Origin:
    """What a bundle is made of."""

    run: Path
    config: Config
    """How is planned and what for may differ from the run's."""
    spec: TaskSpec
    agent: Agent
    made_by: Mapping[str, str]
    """All that decides what the bundle computes, and the command."""

    @classmethod
    def of(cls, run: Path, config: Config, facts: Mapping[str, Any], spec: TaskSpec) -> "Origin":
        """What a run's last checkpoint has learned.

        Args:
            facts: What the run recorded of itself when it began.

        Raises:
            ValueError: There is no checkpoint, it is damaged, or it is of other settings.
        """
        learned = training.load_agent(run, config, spec)
        settings = hashlib.sha256(to_yaml(config).encode()).hexdigest()
        made_by = {"code": provenance.code(Path(wmctrl_export.__file__).parent), "settings": settings}
        made_by |= {"weights": learned.weights, "steps": str(learned.steps), "seed": str(facts["seed"])}
        made_by |= provenance.versions()
        return cls(run, config, spec, learned.agent, made_by)

    def made(self, folder: Path) -> bool:
        """Whether a folder's bundle is this one's, as far as its manifest tells."""
        try:
            told = manifest.parse(read_bounded(folder / manifest.NAME, bundle.LARGEST_MANIFEST))
        except ValueError:
            return False
        return self.made_by.items() <= told.made_by.items()


def export(
    run: Path,
    states: int = 200,
    key_file: Path | None = None,
    *,
    learn: bool = False,
    precision: str = "fp32",
    target: str = "generic",
) -> Export:
    """Write a run's bundle and check it: read back as on a board, golden steps repeated, the agent's decisions met.

    Args:
        states: Decisions of the check, on what was recorded last and again on random observations.
        key_file: Of the private key that signs it.
        learn: Whether it holds what is needed to go on learning as well.
        precision: Of the networks where they drive, fp32 or fp16.
        target: A name of TARGETS, what its page tells how to drive on.

    Raises:
        ValueError: No such run, no checkpoint, no key, or the bundle does not decide as the agent does; says which.
        OSError: The disk is full or may not be written.
    """
    key = None if key_file is None else signing.read_key(key_file)
    config, facts = run_folder.open_run(run)
    origin = Origin.of(run, config, facts, training.spec_of(config.task))
    made = write(origin, run / FOLDER, states, learn=learn, precision=precision, target=target)
    return made if key is None else replace(made, public_key=signing.sign(made.folder, key).hex())


def up_to_date(origin: Origin, folder: Path) -> Path:
    """A folder with this bundle, written unless it is there already.

    Raises:
        ValueError: It does not compute what the agent does.
        OSError: The disk is full or may not be written.
    """
    if not origin.made(folder):
        with Console(stderr=True).status(f"writing {folder}, which drives without PyTorch"):
            write(origin, folder, BRIEFLY)
    return folder


def write(
    origin: Origin,
    folder: Path,
    states: int,
    *,
    learn: bool = False,
    precision: str = "fp32",
    target: str = "generic",
) -> Export:
    """Write a bundle, check it, and only then put it in the place of the one that was there.

    Raises:
        ValueError: It does not decide as the agent does.
        OSError: The disk is full or may not be written.
    """
    arithmetic.prepare()
    with replacement(folder) as fresh:
        made = replace(_checked(origin, fresh, states, learn=learn, precision=precision, target=target), folder=folder)
        require_alike(made, precision)
    return made


def _checked(origin: Origin, folder: Path, states: int, *, learn: bool, precision: str, target: str) -> Export:
    """A bundle written into an empty folder, and held against its agent."""
    config, spec, agent = origin.config, origin.spec, origin.agent
    observations = recorded(origin.run, spec, states)
    task, replay = task_of(spec, config.task), config.replay if learn else None
    made_by = {"command": " ".join(provenance.command_line()), **origin.made_by}
    write_bundle(agent, task, observations, folder, made_by, replay, precision, TARGETS[target])
    controller = Controller.load(folder, provider="cpu")
    found = [parity(agent, controller, seen) for seen in (observations, invented(spec, states))]
    sizes = [entry.bytes for entry in controller.bundle.manifest.files.values()]
    made = Export(folder, len(sizes), sum(sizes), found[0], found[1])
    if learn:
        made = replace(made, gradients=gradient_parities(origin, folder))
    if precision == "fp16" and controller.planning is not None:
        with tempfile.TemporaryDirectory() as beside:
            write_bundle(agent, task, observations, Path(beside) / FOLDER, made_by)
            single = Controller.load(Path(beside) / FOLDER, provider="cpu")
            made = replace(made, regret=regret(agent, single, controller, observations))
    return made


def require_alike(made: Export, precision: str) -> None:
    """Refuse a bundle that does not decide as its agent does: half precision by regret, where it plans.

    Raises:
        ValueError: It does not.
    """
    for gradient in made.gradients:
        if not gradient.difference <= LARGEST_DIFFERENCE:
            raise ValueError(
                f"{gradient.graph}: {gradient.where} differs by {gradient.difference:.2g} from autograd's, above"
                f" {LARGEST_DIFFERENCE:g}; nothing was written, export it without --learn"
            )
    if made.regret is not None:
        if made.regret.accepted:
            return
        raise ValueError(
            f"half precision costs a plan {made.regret.half.mean:.2g} and at most {made.regret.half.high:.2g} in 95 of"
            f" 100 states, another seed at most {made.regret.seed.high:.2g}; nothing was written, export it in fp32"
        )
    what, most = ("action", LARGEST_HALVED) if precision == "fp16" else ("recurrent", LARGEST_DIFFERENCE)
    for one in (made.recorded, made.random):
        if not getattr(one, what) <= most:
            raise ValueError(
                f"the bundle differs by {getattr(one, what):.2g} from the agent over {one.steps} observations, above"
                f" {most:g}; nothing was written, please report it with the versions that `wm doctor` shows"
            )


def gradient_parities(origin: Origin, folder: Path) -> list[GradientParity]:
    """Gradients of a bundle's graphs held against autograd's, on recorded sequences."""
    agent, config, checkpoint = origin.agent, origin.config, CheckpointFolder(origin.run / "checkpoint")
    checkpoint.open()
    replay = Replay(agent.sizes, config.replay, config.collect.plants)
    replay.load(checkpoint)
    batch = replay.sample(np.random.default_rng(0), agent.device)
    return [*gradient_parity(agent, bundle.load(folder, learning=True), batch)]


def gradient_row(one: GradientParity) -> tuple[str, ...]:
    """A comparison of gradients as a row under GRADIENT_COLUMNS."""
    return (one.graph, f"{one.parameters:,}", f"{one.silent:,}", f"{one.difference:.1e}", one.where)


def regret_rows(found: Regret) -> list[tuple[str, ...]]:
    """A regret as rows under REGRET_COLUMNS."""
    spreads = {"half precision": found.half, "another seed": found.seed}
    return [
        (what, f"{found.states:,}", *(f"{value:.2g}" for value in astuple(spread))) for what, spread in spreads.items()
    ]


def row(what: str, one: Parity) -> tuple[str, ...]:
    """A comparison as a row under COLUMNS."""
    differences = (f"{value:.1e}" for value in (one.one_step, one.recurrent, one.action))
    return (what, f"{one.steps:,}", *differences, f"{one.same_action:.3f}", f"{one.as_good:.3f}")


def recorded(run: Path, spec: TaskSpec, most: int) -> Observations:
    """The newest observations of a run, in order.

    Raises:
        ValueError: It recorded none.
    """
    checkpoint = CheckpointFolder(run / "checkpoint")
    checkpoint.open()
    files = segments(checkpoint)
    if not files:
        raise ValueError(f"{run} recorded nothing to check a bundle with; train it first")
    parts = observed(spec)
    found: list[dict[str, np.ndarray]] = []
    for stream, begin in reversed(files):
        steps = checkpoint.get(segment_name(stream, begin))
        newest = [{name: steps[name][i] for name in parts} for i in range(len(steps["reward"]))]
        found = newest + found
        if len(found) >= most or stream != files[-1][0]:
            break
    return found[-most:]


def invented(spec: TaskSpec, count: int) -> Observations:
    """Random observations, within the elements' ranges where they have any."""
    generator = np.random.default_rng(0)
    found: list[dict[str, np.ndarray]] = []
    for _ in range(count):
        seen: dict[str, np.ndarray] = {}
        if spec.proprio:
            seen["proprio"] = _drawn(spec.proprio, generator)
        if spec.goal:
            seen["goal"] = _drawn(spec.goal, generator)
        if spec.camera:
            seen["camera"] = generator.integers(0, 256, spec.camera, dtype=np.uint8)
        found.append(seen)
    return found


def _drawn(elements: Sequence[Element], generator: np.random.Generator) -> np.ndarray:
    low, high = (np.array([getattr(element, end) for element in elements]) for end in ("low", "high"))
    bounded = np.isfinite(high - low) & (high - low < 1e6)
    even = generator.uniform(np.where(bounded, low, -1.0), np.where(bounded, high, 1.0))
    return even.astype(np.float32)


def observed(spec: TaskSpec) -> tuple[str, ...]:
    """Parts of a task's observation."""
    return tuple(name for name in ("proprio", "goal", "camera") if getattr(spec, name))


def task_of(spec: TaskSpec, config: TaskConfig) -> manifest.Task:
    """A task as a manifest tells it."""
    return manifest.Task(
        id=spec.id,
        control_period=spec.control_period,
        proprio=tuple(map(element_of, spec.proprio)),
        goal=tuple(map(element_of, spec.goal)),
        action=tuple(map(element_of, spec.action)),
        camera=spec.camera,
        observe=config.observe,
        config={name: json.dumps(value) for name, value in config.config.items()},
    )


def element_of(element: Element) -> manifest.Element:
    """An element as a manifest tells it, which has no number for what nothing bounds."""
    low, high = (value if math.isfinite(value) else None for value in (element.low, element.high))
    return manifest.Element(element.name, element.unit, low, high)

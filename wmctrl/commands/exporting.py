"""What `wm export` does: a run's agent written as a bundle, and held against the agent it was made from."""

import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wmctrl_export
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from wmctrl_envs.task import Element, TaskSpec
from wmctrl_export import signing
from wmctrl_export.bundle import GOLDEN_TOLERANCES, write_bundle
from wmctrl_export.calibration import calibrated
from wmctrl_export.gradient_parity import GradientParity, gradient_parity
from wmctrl_export.parity import SAME_ACTION, Parity, parity
from wmctrl_export.regret import Regret, regret
from wmctrl_export.targets import TARGETS

from wmctrl.commands import nominal, observations, provenance, run_folder, training, variant
from wmctrl.config import Config, TaskConfig
from wmctrl.config_files import to_yaml
from wmctrl.learning import arithmetic
from wmctrl.learning.agent import Agent
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.replay import Replay
from wmctrl.model.world_model import Batch
from wmctrl.runtime import bundle, manifest, plant
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import read_bounded, replacement

FOLDER = "bundle"
"""Where in a run's folder its bundle is."""
MOST = {
    "fp32": {"one_step": 1e-5, "recurrent": 1e-4, "surprise": 1e-3},
    "fp16": {"recurrent": GOLDEN_TOLERANCES["fp16"], "surprise": 0.1},
}
"""Largest differences of a bundle from its agent, by precision: those of `Parity`, over what was recorded."""
MOST_REACTING = {"fp32": 1e-4, "fp16": 0.02}
"""Largest difference of a policy's action."""
LEAST_AS_GOOD = 0.999
"""Share of the decisions of a planner in single precision."""
OBSERVATIONS = ("recorded", "random")
"""What a bundle is held to its agent on."""
CONVERTERS = ("onnx", "onnx-ir", "onnxscript")
"""Packages that decide what a bundle holds, beside those that a run depends on."""
CALIBRATING = 4000
"""Steps that tell what is ordinary."""
BRIEFLY = 20
"""Decisions of the check where nobody asked for one."""
COLUMNS = (
    *("observations", "decisions", "belief, one step", "belief, all steps"),
    *("surprise", "action", "same action", "as good"),
)
"""What a table tells of a bundle."""
LEGEND = f"""\
belief, surprise, action: largest difference from PyTorch's; of belief and surprise relative to 1 + their size
same action: share of the decisions that differ by at most {SAME_ACTION:g}
as good: share of plans that are the same, or whose best and worst elites are worth the same"""
"""What the columns mean."""
GRADIENT_COLUMNS = ("gradients", "parameters", "all zero", "largest difference", "at most", "PyTorch's", "of")
"""What a table tells of graphs that learn."""
GRADIENT_LEGEND = """\
largest difference: from autograd's in double precision, relative to the gradient's largest element, where it is
furthest from what it may be; PyTorch's: that of autograd's in single precision"""
REGRET_COLUMNS = ("plans", "states", "regret, mean", "median", "95th percentile")
"""What a table tells of half precision."""
REGRET_LEGEND = """\
regret: how much less a plan is worth than single precision's own, as single precision judges both
half precision is accepted when its mean and its 95th percentile are at most the 95th percentile of another seed"""


@dataclass(frozen=True)
class Export:
    """A bundle that was written, and how it compares with its agent."""

    folder: Path
    files: int
    bytes: int
    planner: Mapping[str, Parity]
    """Of decisions that are planned, by what they are made of: recorded or random observations."""
    policy: Mapping[str, Parity]
    """Of those that are not."""
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
    changed: Sequence[str] = ()
    """How is planned and what for, as far as that differs from the run's."""

    @classmethod
    def of(
        cls, run: Path, config: Config, facts: Mapping[str, Any], spec: TaskSpec, changed: Sequence[str] = ()
    ) -> "Origin":
        """What a run's last checkpoint has learned.

        Args:
            facts: What the run recorded of itself when it began.
            changed: Settings that differ from the run's.

        Raises:
            ValueError: There is no checkpoint, it is damaged, or it is of other settings.
        """
        learned = training.load_agent(run, config, spec)
        if learned.agent.updates == 0:
            raise ValueError(f"{run} has recorded, and learned nothing yet; go on with `wm train --resume {run}`")
        settings = hashlib.sha256(to_yaml(config).encode()).hexdigest()
        made_by = {"code": provenance.code(Path(wmctrl_export.__file__).parent), "settings": settings}
        made_by |= {"weights": learned.weights, "steps": str(learned.steps), "seed": str(facts["seed"])}
        made_by |= provenance.versions(*CONVERTERS)
        return cls(run, config, spec, learned.agent, made_by, changed)

    @property
    def folder(self) -> Path:
        """Where its bundle is."""
        return variant.place(self.run, self.changed) / FOLDER

    def made(self) -> bool:
        """Whether the folder's bundle is this one's, as far as its manifest tells."""
        told = told_in(self.folder)
        return told is not None and self.made_by.items() <= told.made_by.items()


def export(
    run: Path,
    states: int = 200,
    key_file: Path | None = None,
    *,
    learn: bool = False,
    precision: str = "fp32",
    target: str = "generic",
    overrides: Sequence[str] = (),
) -> Export:
    """Write a run's bundle and check it: read back as on a board, golden steps repeated, the agent's decisions met.

    Args:
        states: Decisions of the check, on what was recorded last and again on random observations.
        key_file: Of the private key that signs it.
        learn: Whether it holds what is needed to go on learning as well.
        precision: Of the networks where they drive, fp32 or fp16.
        target: A name of TARGETS, what its page tells how to drive on.
        overrides: `a.b=c` differences of how is planned and what for; their bundle is where `wm eval` keeps it.

    Raises:
        ValueError: No such run, no checkpoint, no key, the bundle does not decide as the agent does, or would replace
            one that was exported with further options; says which.
        OSError: The disk is full or may not be written.
    """
    key = None if key_file is None else signing.read_key(key_file)
    origin = origin_of(run, overrides)
    if options := dropped(origin.folder, signed=key is not None, learn=learn, precision=precision, target=target):
        raise ValueError(
            f"{origin.folder} was exported with {options}; add that, or delete the folder to have it written without"
        )
    return write(origin, states, key, learn=learn, precision=precision, target=target)


def origin_of(run: Path, overrides: Sequence[str] = ()) -> Origin:
    """What a run's last checkpoint has learned, with the run's own settings but for some `a.b=c`.

    Raises:
        ValueError: No such run, or no checkpoint that fits.
    """
    learned, facts = run_folder.open_run(run)
    config = variant.planning_otherwise(learned, overrides)
    return Origin.of(run, config, facts, training.spec_of(config.task), variant.differences(learned, config))


def up_to_date(origin: Origin) -> Path:
    """The folder with this bundle, written unless it is there already.

    Raises:
        ValueError: It does not compute what the agent does, or would replace one that was exported with options.
        OSError: The disk is full or may not be written.
    """
    folder = origin.folder
    if not origin.made():
        if options := dropped(folder):
            otherwise = "".join(f" --set agent.{change}" for change in origin.changed)
            raise ValueError(
                f"{folder} was exported with {options}, and is not of the last weights, settings and code; write it"
                f" anew with `wm export {origin.run} {options}{otherwise}`, or delete it to have a plain one written"
            )
        with Console(stderr=True).status(f"writing {folder}, which drives without PyTorch"):
            write(origin, BRIEFLY)
    return folder


def dropped(
    folder: Path, *, signed: bool = False, learn: bool = False, precision: str = "fp32", target: str = "generic"
) -> str:
    """The options that a folder's bundle was exported with and one in its place would be without; nothing if none."""
    told = told_in(folder)
    if told is None:
        return ""
    machine = told.made_by.get("target", "generic")
    lost = {
        "--sign KEY": (folder / bundle.SIGNATURE).exists() and not signed,
        "--learn": bool(told.learning) and not learn,
        f"--precision {told.precision}": told.precision != "fp32" and precision == "fp32",
        f"--target {machine}": machine != "generic" and target == "generic",
    }
    return " ".join(option for option, missing in lost.items() if missing)


def told_in(folder: Path) -> manifest.Manifest | None:
    """The manifest in a bundle's folder, where there is one that this version reads."""
    try:
        return manifest.parse(read_bounded(folder / manifest.NAME, bundle.LARGEST_MANIFEST))
    except ValueError:
        return None


def write(
    origin: Origin,
    states: int,
    key: Ed25519PrivateKey | None = None,
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
    with replacement(origin.folder) as fresh:
        made = _checked(origin, fresh, states, learn=learn, precision=precision, target=target)
        made = replace(made, folder=origin.folder)
        require_alike(made, precision)
        return made if key is None else replace(made, public_key=signing.sign(fresh, key).hex())


def _checked(origin: Origin, folder: Path, states: int, *, learn: bool, precision: str, target: str) -> Export:
    """A bundle written into an empty folder, and held against its agent."""
    config, spec, agent = origin.config, origin.spec, origin.agent
    shown = observations.recorded(origin.run, spec, states)
    task, replay = task_of(spec, config.task), config.replay if learn else None
    made_by = {"command": " ".join(provenance.command_line()), "target": target, **origin.made_by}
    steps = observations.newest(origin.run, CALIBRATING)
    ordinary = calibrated(agent, Batch(**{name: torch.from_numpy(column)[None] for name, column in steps.items()}))
    write_bundle(agent, task, shown, folder, made_by, replay, precision, TARGETS[target], ordinary)
    controller = Controller.load(folder, provider="cpu", in_time=False)
    seen = dict(zip(OBSERVATIONS, (shown, observations.invented(spec, states)), strict=True))
    found = {what: parity(agent, controller, parts) for what, parts in seen.items()}
    sizes = [entry.bytes for entry in controller.bundle.manifest.files.values()]
    planner, policy = ({}, found) if controller.planner is None else (found, {})
    if planner and "policy" in controller.bundle.manifest.graphs:
        reacting = Controller(controller.bundle, controller.engine, policy_only=True)
        policy = {"recorded": parity(agent, reacting, shown)}
    made = Export(folder, len(sizes), sum(sizes), planner, policy)
    if learn:
        made = replace(made, gradients=gradient_parities(origin, folder))
        nominal.add_memories(folder, agent, origin.config, controller)
    if precision == "fp16" and controller.planner is not None:
        with tempfile.TemporaryDirectory() as beside:
            write_bundle(agent, task, shown, Path(beside) / FOLDER, made_by)
            single = Controller.load(Path(beside) / FOLDER, provider="cpu", in_time=False)
            made = replace(made, regret=regret(agent, single, controller, shown))
    return made


def require_alike(made: Export, precision: str) -> None:
    """Refuse a bundle that does not decide as its agent does; plans in half precision are judged by regret.

    Raises:
        ValueError: It does not.
    """
    if fault := next(faults(made, precision), None):
        raise ValueError(f"{fault}; nothing was written")


def faults(made: Export, precision: str) -> Iterator[str]:
    """What is wrong with a bundle."""
    for gradient in made.gradients:
        if not gradient.difference <= gradient.most:
            yield f"{gradient.where} differs by {gradient.difference:.2g} from autograd's, above {gradient.most:.2g}"
    if made.regret is not None and not made.regret.accepted:
        yield (
            f"half precision costs a plan {made.regret.half.mean:.2g} and at most {made.regret.half.high:.2g} in 95 of"
            f" 100 states, another seed at most {made.regret.seed.high:.2g}; export it in fp32"
        )
    for what in ("recorded",) if precision == "fp16" else OBSERVATIONS:  # half is not for what no plant shows
        if planned := made.planner.get(what):
            yield from _excesses(f"{what} observations", planned, MOST[precision])
            if precision == "fp32" and not planned.as_good >= LEAST_AS_GOOD:
                yield f"of plans on {what} observations, only {planned.as_good:.3f} are as good as the agent's"
        if reacted := made.policy.get(what):
            most = MOST[precision] | {"action": MOST_REACTING[precision]}
            yield from _excesses(f"{what} observations by the policy", reacted, most)


def _excesses(where: str, one: Parity, most: Mapping[str, float]) -> Iterator[str]:
    for figure, limit in most.items():
        if not getattr(one, figure) <= limit:
            yield f"{figure} differs by {getattr(one, figure):.2g} from the agent's over {where}, above {limit:g}"


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
    figures = (f"{figure:.1e}" for figure in (one.difference, one.most, one.rounding))
    return (one.graph, f"{one.parameters:,}", f"{one.silent:,}", *figures, one.where)


def regret_rows(found: Regret) -> list[tuple[str, ...]]:
    """A regret as rows under REGRET_COLUMNS."""
    spreads = {"half precision": found.half, "another seed": found.seed}
    return [
        (what, f"{found.states:,}", *(f"{value:.2g}" for value in astuple(spread))) for what, spread in spreads.items()
    ]


def rows(made: Export, precision: str) -> Iterator[tuple[str, ...]]:
    """A bundle's comparisons as rows under COLUMNS, and below those of each kind what they must be."""
    for found, kind in ((made.planner, ""), (made.policy, ", by the policy")):
        for what, one in found.items():
            yield row(f"{what}{kind}", one)
        if found:
            judged = "must be" if precision == "fp32" else f"{OBSERVATIONS[0]} must be"
            yield (f"{judged}{kind}", "", *bounds(precision, reacting=bool(kind)))


def bounds(precision: str, *, reacting: bool) -> tuple[str, ...]:
    """What puts a bundle in place, under the last six of COLUMNS; in half precision on what was recorded alone."""
    most = MOST[precision] | ({"action": MOST_REACTING[precision]} if reacting else {})
    shown = (f"<= {most[name]:.1e}" if name in most else "" for name in ("one_step", "recurrent", "surprise", "action"))
    return (*shown, "", f">= {LEAST_AS_GOOD}" if precision == "fp32" and not reacting else "")


def row(what: str, one: Parity) -> tuple[str, ...]:
    """A comparison as a row under COLUMNS."""
    differences = (f"{value:.1e}" for value in (one.one_step, one.recurrent, one.surprise, one.action))
    return (what, f"{one.steps:,}", *differences, f"{one.same_action:.3f}", f"{one.as_good:.3f}")


def task_of(spec: TaskSpec, config: TaskConfig) -> plant.Task:
    """A task as a manifest tells it."""
    return plant.Task(
        id=spec.id,
        control_period=spec.control_period,
        proprio=tuple(map(element_of, spec.proprio)),
        goal=tuple(map(element_of, spec.goal)),
        action=tuple(map(element_of, spec.action)),
        camera=spec.camera,
        safe=tuple(plant.Gain(gain.action, gain.proprio, gain.gain) for gain in spec.safe),
        observe=config.observe,
        config={name: json.dumps(value) for name, value in config.config.items()},
    )


def element_of(element: Element) -> plant.Element:
    """An element as a manifest tells it, which has no number for what nothing bounds."""
    low, high = (value if math.isfinite(value) else None for value in (element.low, element.high))
    return plant.Element(element.name, element.unit, low, high)

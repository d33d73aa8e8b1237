"""What a run is worth that was killed again and again: the same as one that never was, or it says what differs."""

import math
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.commands import logbook, training
from wmctrl.commands.stopping import told_to_stop
from wmctrl.config import Config
from wmctrl.learning.checkpoint import CheckpointFolder

GLANCE = 0.02
"""Time between two looks at how far a process is [s]."""
OWN_COUNTS = ("state", "saves")
"""Facts that count checkpoints, of which an interrupted run makes more."""


@dataclass(frozen=True)
class Endured:
    """How a run went that was killed, beside its twin that was left alone."""

    killed_at: tuple[int, ...]
    """Step of the checkpoint that each killed process left behind; a process that was done sooner is not among them."""
    differences: tuple[str, ...]
    """Names of what is not equal bit for bit in the end; empty when nothing differs."""


def endure(config: Config, root: Path, kills: int, seed: int = 0) -> Endured:
    """Train once undisturbed, and once in processes killed by SIGKILL at random moments, and compare.

    Args:
        root: An empty folder for both runs.
        seed: Of both runs, and of the moments.

    Raises:
        ValueError: A process failed by itself.
    """
    calm, harried = (training.new_run(config, seed, "cpu", root / name) for name in ("calm", "harried"))
    began = time.monotonic()
    with process(calm) as undisturbed:
        finish(undisturbed, calm)
    every = config.schedule.checkpoint_every
    interval = (time.monotonic() - began) * every / config.schedule.steps
    generator = np.random.default_rng([seed, kills])
    killed_at = []
    for step in sorted(generator.integers(max(1, config.schedule.steps - 3 * every), size=kills)):
        with process(harried) as victim:
            wait(victim, harried, step // every * every)
            wait(victim, harried, (step // every + 1) * every, generator.uniform(0.0, interval))
            if victim.poll() is None:
                victim.kill()
                killed_at.append(saved_step(harried))
    if not training.finished(harried):  # else the last kill came after the last checkpoint
        with process(harried) as last:
            finish(last, harried)
    return Endured(tuple(killed_at), tuple(differences(calm, harried)))


@contextmanager
def process(run: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run's training in a process of its own, which does not outlive the context, whatever ends it."""
    with told_to_stop(signal.default_int_handler), training.in_background(run) as started:
        try:
            yield started
        finally:
            started.kill()


def wait(started: "subprocess.Popen[bytes]", run: Path, step: int, seconds: float = math.inf) -> None:
    """Wait for a process until its run has a checkpoint of this step, for some time at most."""
    end = time.monotonic() + seconds
    while started.poll() is None and saved_step(run) < step and time.monotonic() < end:
        time.sleep(GLANCE)


def finish(started: "subprocess.Popen[bytes]", run: Path) -> None:
    """Wait until a training has done its last step."""
    if started.wait() != 0:
        raise ValueError(f"a training of {run} failed with exit code {started.returncode}; see {run / 'train.log'}")


def saved_step(run: Path) -> int:
    """Step of a run's last checkpoint, 0 before the first."""
    checkpoint = CheckpointFolder(run / "checkpoint")
    return int(checkpoint.open()["step"]) if checkpoint.exists() else 0


def differences(one: Path, other: Path) -> list[str]:
    """Names of all that is not the same, bit for bit, in two runs: weights, moments, replay, plants, figures."""
    mine, theirs = contents(one), contents(other)
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def contents(run: Path) -> dict[str, Any]:
    """All that a run's last checkpoint brings back, and the figures it told, so that `==` compares them bit by bit."""
    trainer = training.assembled(run)
    found: dict[str, Any] = {name: bits(array) for name, array in trainer.arrays().items()}
    for number, stream in enumerate(trainer.replay.streams):
        columns = {name: column[: len(stream)] for name, column in stream.arrays.items()}
        found |= {f"replay{number}.{name}": bits(column) for name, column in columns.items()}
        found[f"replay{number}.starts"] = (stream.total, stream.starts)
    facts = trainer.checkpoint.open()
    found |= {name: fact for name, fact in facts.items() if name not in OWN_COUNTS}
    return found | {"metrics.jsonl": figures(run)}


def bits(array: NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    """An array's type, shape and bytes; NaN equals NaN, and 0 is not -0."""
    return array.dtype.str, array.shape, array.tobytes()


def figures(run: Path) -> list[dict[str, float]]:
    """The rows of `metrics.jsonl` without their times."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in logbook.logged(run)]

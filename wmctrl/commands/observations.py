"""Observations that a bundle is checked with: what its plant showed last, and what no plant shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmctrl_envs.task import Element, TaskSpec
from wmctrl_export.bundle import Observations

from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.replay import segment_name, segments


def recorded(run: Path, spec: TaskSpec, most: int) -> Observations:
    """The newest observations of a run, in order.

    Raises:
        ValueError: It recorded none.
    """
    steps = newest(run, most)
    return [{name: steps[name][i] for name in observed(spec)} for i in range(len(steps["reward"]))]


def newest(run: Path, most: int) -> dict[str, NDArray[Any]]:
    """The newest steps of a run's last plant, in order (steps, ...), by name as in a batch.

    Raises:
        ValueError: It recorded none.
    """
    checkpoint = CheckpointFolder(run / "checkpoint")
    checkpoint.open()
    files = segments(checkpoint)
    if not files:
        raise ValueError(f"{run} recorded nothing to check a bundle with; train it first")
    found: list[dict[str, NDArray[Any]]] = []
    for stream, begin in reversed(files):
        if sum(len(segment["reward"]) for segment in found) >= most or stream != files[-1][0]:
            break
        found.insert(0, checkpoint.get(segment_name(stream, begin)))
    return {name: np.concatenate([segment[name] for segment in found])[-most:] for name in found[0]}


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

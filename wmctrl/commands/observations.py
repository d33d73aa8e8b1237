"""Observations that a bundle is checked with: what its plant showed last, and what no plant shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from wmctrl_envs.task import Element, TaskSpec
from wmctrl_export.bundle import Observations

from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.replay import segment_name, segments


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
        if len(found) >= most or stream != files[-1][0]:
            break
        steps = checkpoint.get(segment_name(stream, begin))
        newest = [{name: steps[name][i] for name in parts} for i in range(len(steps["reward"]))]
        found = newest + found
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

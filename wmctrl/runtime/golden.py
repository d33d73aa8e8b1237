"""Golden steps: what the exporting machine computed, to be repeated wherever the bundle is loaded."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.bundle import GOLDEN, Bundle
from wmctrl.runtime.engine import Computes

CALLS = ("observe", "imagine", "depict", "propose", "refine", "policy")
"""In the order in which a step calls them."""
MOST_STEPS = 64
REMEDY = "try another provider, or export the run again with `wm export RUN`"
RECURRENT = {"deter": "next_deter", "stoch": "next_stoch"}
"""What the next step's `observe` takes from this machine rather than from the golden steps."""


def repeat(bundle: Bundle, engine: Computes) -> None:
    """Compute the golden steps again, the belief carried on from step to step, and hold what comes to what came.

    Raises:
        ValueError: Something else came out, so nothing that this machine computes with the bundle can be trusted.
    """
    tolerance = bundle.manifest.golden_tolerance
    carried: dict[str, NDArray[Any]] = {}
    for number, step in enumerate(steps(bundle)):
        for name, kept in step.items():
            inputs = {port.name: kept[port.name] for port in bundle.manifest.graphs[name].inputs}
            if name == "observe":
                inputs |= carried
            outputs = engine.run(name, inputs)
            for output, value in outputs.items():
                if not np.isfinite(value).all():
                    raise ValueError(
                        f"{GOLDEN}: step {number}: {name} computes a {output} that is not finite here; {REMEDY}"
                    )
            if name == "observe":
                carried = {taken: outputs[given] for taken, given in RECURRENT.items()}
            off = _off(name, outputs, kept, tolerance)
            if not off <= tolerance:
                raise ValueError(
                    f"{GOLDEN}: step {number}: {name} is {off:.2g} off what the exporting machine computed, above"
                    f" {tolerance:g}; {REMEDY}"
                )


def _off(name: str, came: Mapping[str, NDArray[Any]], kept: Mapping[str, NDArray[Any]], tolerance: float) -> float:
    """How far a graph's outputs are from golden ones, NaN where that is not a number."""
    if name == "refine":
        return plan_error(came, kept, tolerance)
    return proposal_error(came["proposals"], kept["proposals"]) if name == "propose" else worst(came, kept)


def worst(came: Mapping[str, NDArray[Any]], kept: Mapping[str, NDArray[Any]]) -> float:
    """How far outputs of a graph are from golden ones, relative to 1 + their size, NaN where one is not a number."""
    return float(np.max([error(came[output], kept[output]) for output in came]))


def plan_error(came: Mapping[str, NDArray[Any]], kept: Mapping[str, NDArray[Any]], tolerance: float) -> float:
    """How far a refined plan is from the golden one, NaN where it is not a number.

    Rounding chooses between candidates that are worth the same. Up to half of the elites may be others than the golden
    ones, or all where the best is worth no more than the worst, if both are still worth as much; each of them may move
    the mean by its share of the actions' range.

    Args:
        tolerance: Above which an elite is another one, or worth more.
    """
    distances = np.abs(came["next_plan_elites"][:, None] - kept["next_plan_elites"]).max((2, 3))  # (E, E)
    E = len(distances)
    exchanged = E - _paired(distances <= tolerance)
    best, worst_elite = kept["health"][0], kept["health"][1]
    if exchanged > E // 2 and not error(best, worst_elite) <= tolerance:
        return np.inf
    if not exchanged:
        return float(np.max([error(came[part], kept[part]) for part in came if part != "next_plan_elites"]))
    worth = error(came["health"][:3], kept["health"][:3])
    mean = error(came["next_plan_mean"], kept["next_plan_mean"]) - 2.0 * exchanged / E
    return float(np.max([worth, mean]))


def _paired(same: NDArray[Any]) -> int:
    """How many rows of (E, E) find a column of their own; elites may come twice in one plan, and once in another."""
    free, found = np.ones(len(same), bool), 0
    for row in same:
        candidates = np.flatnonzero(row & free)
        free[candidates[:1]] = False
        found += candidates.size > 0
    return found


def proposal_error(came: NDArray[Any], kept: NDArray[Any]) -> float:
    """How far proposals (P, H, A) are from golden ones, NaN where they are not numbers.

    They follow what the model imagines, which may branch: a rounding there leads somewhere else. Their first actions
    must come out, and half of them to the end.
    """
    half = np.sort([error(*pair) for pair in zip(came, kept, strict=True)])[(len(kept) - 1) // 2]
    return float(np.maximum(half, error(came[:, 0], kept[:, 0])))


def error(came: NDArray[Any], kept: NDArray[Any]) -> NDArray[Any]:
    """Largest difference relative to 1 + the golden value's size."""
    return np.max(np.abs(came - kept) / (1.0 + np.abs(kept)))


def steps(bundle: Bundle) -> Iterable[dict[str, dict[str, NDArray[Any]]]]:
    """Inputs and outputs of every graph at every golden step.

    Raises:
        ValueError: Some are missing or of another shape.
    """
    graphs = {name: bundle.manifest.graphs[name] for name in CALLS if name in bundle.manifest.graphs}
    count = min((len(array) for array in bundle.golden.values() if array.ndim), default=0)
    if not 1 <= count <= MOST_STEPS:
        raise ValueError(f"{GOLDEN}: holds {count:,} steps, expected from 1 to {MOST_STEPS}")
    for number in range(count):
        step: dict[str, dict[str, NDArray[Any]]] = {}
        for name, graph in graphs.items():
            step[name] = {}
            for port in (*graph.inputs, *graph.outputs):
                key = f"{name}.{port.name}"
                if key not in bundle.golden:
                    raise ValueError(f"{GOLDEN}: {key} is missing")
                value = np.asarray(bundle.golden[key][number])
                if value.shape != port.shape or value.dtype != np.dtype(port.dtype):
                    raise ValueError(
                        f"{GOLDEN}: {key} must be {port.dtype} {port.shape}, is {value.dtype} {value.shape}"
                    )
                step[name][port.name] = value
        yield step


def observations(bundle: Bundle) -> list[dict[str, NDArray[Any]]]:
    """What the plant showed at the golden steps, as a controller takes it."""
    parts = {"observe": ("proprio", "camera"), "refine": ("goal",), "policy": ("goal",)}
    return [
        {
            part: step[name][part]
            for name, named in parts.items()
            if name in step
            for part in named
            if part in step[name]
        }
        for step in steps(bundle)
    ]

"""What a bundle's graphs hold, and how long each of them takes on this machine."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime import golden, onnx_file
from wmctrl.runtime.controller import WARMING, Controller
from wmctrl.runtime.engine import Computes
from wmctrl.runtime.latency import Latency

COLUMNS = ("graph", "calls", "nodes", "parameters", "in half", "multiply-adds", "memory", "ms p50", "ms p99")
"""What a table tells of graphs: calls are those of one decision, memory all that one call computes."""
TIMED = 60
"""Calls of a graph, and decisions, that are timed."""


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """A bundle's graphs and its whole decision under COLUMNS, timed on one thread of this machine."""
    controller = Controller.load(folder, provider="cpu", in_time=False)
    told = controller.bundle.manifest
    (step, *_) = golden.steps(controller.bundle)
    for name, kept in step.items():
        graph = told.graphs[name]
        found = onnx_file.inspect(controller.bundle.graphs[graph.file], graph.file)
        halved = sum(size(port) for port in found.initialisers if port.dtype == "float16")
        parameters = sum(size(port) for port in found.initialisers if port.dtype.startswith("float"))
        inputs = {port.name: kept[port.name] for port in graph.inputs}
        yield (
            *(name, f"{told.calls(name):,}", f"{sum(found.operators.values()):,}"),
            *(f"{parameters:,}", f"{halved / parameters:.0%}", f"{found.work / 1e6:,.1f} M"),
            *(f"{found.bytes_needed / 1e6:,.1f} MB", *milliseconds(durations(controller.engine, name, inputs))),
        )
    yield "a decision", *[""] * (len(COLUMNS) - 3), *milliseconds(controller.latencies(TIMED))


def size(port: onnx_file.Port) -> int:
    """Elements of an array."""
    return int(np.prod(port.shape))


def durations(engine: Computes, name: str, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Times of calls of a graph (TIMED,) [s]."""
    found = []
    for _ in range(WARMING + TIMED):
        began = time.perf_counter()
        engine.run(name, inputs)
        found.append(time.perf_counter() - began)
    return np.array(found[WARMING:])


def milliseconds(seconds: NDArray[np.float64]) -> tuple[str, str]:
    """Median and 99th percentile [ms]."""
    found = Latency.of(seconds)
    return f"{found.p50:.2f}", f"{found.p99:.2f}"

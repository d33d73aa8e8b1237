"""Parameters within an ONNX file: inputs that have a value of their own, and can be given another."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime import onnx_format
from wmctrl.runtime.onnx_file import MOST_FIELDS
from wmctrl.runtime.protobuf import Reader, Span, begun, header

TYPES: Mapping[str, type[np.float32] | type[np.float16]] = {"float32": np.float32, "float16": np.float16}
"""Those that parameters may have; inputs of other types that have a value are no parameters."""
GRAPH_FIELD, INPUT_FIELD = 7, 11
"""Numbers of a model's graph, and of a graph's inputs."""


class Parameter(NamedTuple):
    """A parameter as a file holds it."""

    dtype: type[np.float32] | type[np.float16]
    shape: tuple[int, ...]
    data: Span
    """Where its value's bytes lie."""


class Parametric:
    """A file with parameters, which was inspected before."""

    def __init__(self, content: bytes, name: str) -> None:
        """
        Args:
            name: The file's, for messages.

        Raises:
            ValueError: A part is not written in the usual way.
        """
        self.content = content
        self.parameters: dict[str, Parameter] = {}
        try:
            self._read()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _read(self) -> None:
        reader = Reader(self.content, MOST_FIELDS)
        self._graph: Span = reader.message((0, len(self.content)), onnx_format.MODEL)["graph"]
        self._begin = begun(self.content, GRAPH_FIELD, self._graph)
        graph = reader.message(self._graph, onnx_format.GRAPH)
        inputs = {onnx_format.port(reader, span).name: span for span in graph.get("input", [])}
        for span in graph.get("initializer", []):
            name, value = onnx_format.tensor(reader, span)
            if name in inputs and value.dtype in TYPES:
                data = reader.message(span, onnx_format.TENSOR).get("raw_data", (0, 0))
                self.parameters[name] = Parameter(TYPES[value.dtype], value.shape, data)
        self._cuts = [
            (begun(self.content, INPUT_FIELD, span), span[1])
            for name, span in inputs.items()
            if name in self.parameters
        ]

    def fixed(self, values: Mapping[str, NDArray[Any]]) -> bytes:
        """The file with its parameters as constants, some of them with other values of their types and shapes.

        ONNX Runtime arranges a constant for its products once, and an input in every run: 3 to 8 % of an iteration.
        """
        content = bytearray(self.content)
        for name, value in values.items():
            kept = self.parameters[name]
            assert value.dtype == kept.dtype, f"{name} is of {kept.dtype}, not {value.dtype}"
            assert value.shape == kept.shape, f"{name} is of shape {kept.shape}, not {value.shape}"
            begin, end = kept.data
            content[begin:end] = value.tobytes()
        at, end = self._graph
        parts = []
        for first, last in self._cuts:
            parts.append(content[at:first])
            at = last
        parts.append(content[at:end])
        return b"".join([content[: self._begin], header(GRAPH_FIELD, sum(map(len, parts))), *parts, content[end:]])

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
GRAPH, INPUT = 7, 11
"""Numbers of the fields: of a model, and of its graph."""


class Parameter(NamedTuple):
    """A parameter as a file holds it."""

    dtype: type[np.float32] | type[np.float16]
    shape: tuple[int, ...]
    data: Span
    """Where its value's bytes lie."""


class Parametric:
    """A file with parameters, which was inspected before."""

    def __init__(self, content: bytes) -> None:
        """
        Raises:
            ValueError: A part is not written in the usual way.
        """
        self.content = content
        reader = Reader(content, MOST_FIELDS)
        self.graph: Span = reader.message((0, len(content)), onnx_format.MODEL)["graph"]
        graph = reader.message(self.graph, onnx_format.GRAPH)
        inputs = {onnx_format.port(reader, span).name: span for span in graph.get("input", [])}
        self.parameters: dict[str, Parameter] = {}
        for span in graph.get("initializer", []):
            name, value = onnx_format.tensor(reader, span)
            if name in inputs and value.dtype in TYPES:
                data = reader.message(span, onnx_format.TENSOR).get("raw_data", (0, 0))
                self.parameters[name] = Parameter(TYPES[value.dtype], value.shape, data)
        self._cuts = [
            (begun(content, INPUT, span), span[1]) for name, span in inputs.items() if name in self.parameters
        ]

    def fixed(self, values: Mapping[str, NDArray[Any]]) -> bytes:
        """The file with its parameters as constants, some of them with other values of their types and shapes.

        ONNX Runtime arranges a constant for its products once, and an input in every run.
        """
        content = bytearray(self.content)
        for name, value in values.items():
            begin, end = self.parameters[name].data
            content[begin:end] = value.tobytes()
        at, end = self.graph
        kept = bytearray()
        for first, last in self._cuts:
            kept += content[at:first]
            at = last
        kept += content[at:end]
        before = content[: begun(self.content, GRAPH, self.graph)]
        return bytes(before + header(GRAPH, len(kept)) + kept + content[end:])

"""ONNX files that nobody vouches for: read, understood and measured before ONNX Runtime sees a byte of them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from wmctrl.runtime import onnx_format
from wmctrl.runtime.onnx_format import Attribute, Port
from wmctrl.runtime.onnx_operators import OPERATORS, Operator
from wmctrl.runtime.onnx_shapes import LARGEST_VALUE, MOST_DIMENSIONS, Call, Value
from wmctrl.runtime.protobuf import Reader, Span
from wmctrl.runtime.records import shown

__all__ = ["Graph", "Port", "inspect"]

OPSET = 18
FORMATS = range(8, 11)
"""Versions of the file format: 8 came with the opset, 10 is the last that a board's ONNX Runtime 1.21 reads."""
MOST_NODES = 20_000
MOST_FIELDS = 500_000
"""Of all messages together: those of the nodes are some ten each."""
MOST_BYTES = 1 << 30
"""All that is computed in one run; of float16, a CPU may hold a float32 copy beside."""
MOST_WORK = 20_000_000_000
"""Multiply-adds of one run."""
LARGEST_KEPT = 64
"""Bytes of attributes that are remembered, since most nodes have the same few."""


@dataclass(frozen=True)
class Graph:
    """What is known of a graph before it runs."""

    inputs: tuple[Port, ...]
    """Those that have a value of their own, and may be given another, are among the initialisers too."""
    outputs: tuple[Port, ...]
    initialisers: tuple[Port, ...]
    operators: dict[str, int]
    """How often each is used."""
    bytes_needed: int
    """All that is computed in one run, if nothing's memory is used twice."""
    work: int
    """Multiply-adds of one run."""


def inspect(content: bytes, name: str) -> Graph:
    """What a file's graph takes, makes and needs, where all of it is understood and within bounds.

    Args:
        name: The file's, for messages.

    Raises:
        ValueError: Says in one line what is damaged, too large, or not used by any graph of ours.
    """
    try:
        return _Inspection(content).graph()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class _Inspection:
    """A walk through a file, with what is known so far."""

    def __init__(self, content: bytes) -> None:
        self.reader = Reader(content, MOST_FIELDS)
        self.values: dict[str, Value] = {}
        self.operators: Counter[str] = Counter()
        self.bytes = self.work = 0
        self.kept: dict[bytes, Attribute] = {}

    def graph(self) -> Graph:
        """All of the file."""
        model = self.reader.message((0, len(self.reader.content)), onnx_format.MODEL)
        self._hold_header(model)
        graph = self.reader.message(model["graph"], onnx_format.GRAPH)
        nodes = graph.get("node", [])
        if len(nodes) > MOST_NODES:
            raise ValueError(f"has {len(nodes):,} nodes, expected at most {MOST_NODES:,}")
        inputs = [onnx_format.port(self.reader, span) for span in graph.get("input", [])]
        initialisers = self._begin(inputs, graph.get("initializer", []))
        for i, span in enumerate(nodes):
            self._follow(i, span)
        outputs = [onnx_format.port(self.reader, span) for span in graph.get("output", [])]
        self._hold_outputs(outputs)
        return Graph(tuple(inputs), tuple(outputs), tuple(initialisers), dict(self.operators), self.bytes, self.work)

    def _hold_header(self, model: dict[str, Any]) -> None:
        """Version and operators are those that we know."""
        version = model.get("ir_version")
        if version not in FORMATS:
            raise ValueError(f"is of ONNX format {version}, expected from {FORMATS[0]} to {FORMATS[-1]}")
        opsets = [self.reader.message(span, onnx_format.OPSETS) for span in model.get("opset_import", [])[:2]]
        told = [(opset.get("domain", ""), opset.get("version")) for opset in opsets]
        if told not in ([("", OPSET)], [("ai.onnx", OPSET)]):
            raise ValueError(f"imports operators {shown(told)}, expected ONNX's own of version {OPSET} alone")
        if "graph" not in model:
            raise ValueError("has no graph")

    def _begin(self, inputs: list[Port], spans: list[Span]) -> list[Port]:
        """Define inputs and initialisers; one that is both can be given, so it is no constant."""
        for port in inputs:
            self._define(port.name, Value(port.dtype, port.shape))
        given = set(self.values)
        initialisers = []
        for span in spans:
            name, value = onnx_format.tensor(self.reader, span)
            if name not in given:
                self._define(name, value)
            elif self.values[name] != value._replace(data=None):
                raise ValueError(f"{shown(name)} is an input of another type or shape than its value")
            given.discard(name)
            initialisers.append(Port(name, value.dtype, value.shape))
        return initialisers

    def _define(self, name: str, value: Value) -> None:
        """Take note of an array that nobody defined before, and that is no larger than one may be."""
        if not name or name in self.values:
            raise ValueError(f"{shown(name)} is defined twice" if name else "an array has no name")
        shape = value.shape
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"{shown(name)} has {len(shape)} axes, expected at most {MOST_DIMENSIONS}")
        if shape and min(shape) < 1 and not (value.data is not None and shape == (0,)):
            raise ValueError(f"{shown(name)} has shape {shape}, expected at least 1 along every axis")
        if value.bytes > LARGEST_VALUE:
            raise ValueError(f"{shown(name)} needs {value.bytes:,} bytes, expected at most {LARGEST_VALUE:,}")
        self.values[name] = value

    def _follow(self, index: int, span: Span) -> None:
        """Find out what a node makes."""
        node = self.reader.message(span, onnx_format.NODE)
        kind, outputs = node.get("op_type", ""), node.get("output", [])
        try:
            operator = OPERATORS.get(kind)
            if operator is None or node.get("domain", "") not in ("", "ai.onnx"):
                raise ValueError("is no operator that our graphs use and every board takes")
            self._apply(operator, node, outputs)
        except ValueError as error:
            raise ValueError(f"node {index}, {shown(kind)} making {shown(outputs)}: {error}") from None
        self.operators[kind] += 1

    def _apply(self, operator: Operator, node: dict[str, Any], outputs: list[str]) -> None:
        while outputs and not outputs[-1]:
            outputs.pop()  # left out
        try:
            inputs = tuple([self.values[name] if name else None for name in node.get("input", [])])
        except KeyError as error:
            raise ValueError(f"input {shown(error.args[0])} is not defined before") from None
        call = Call(inputs, self._attributes(operator, node.get("attribute", [])), len(outputs))
        made = operator.results(call)
        for name, value in zip(outputs, made, strict=True):
            self._define(name, value)
            self.bytes += value.bytes
        self.work += operator.work(call, made)
        if self.bytes > MOST_BYTES:
            raise ValueError(f"with it, the graph needs {self.bytes:,} bytes, expected at most {MOST_BYTES:,}")
        if self.work > MOST_WORK:
            raise ValueError(f"with it, the graph does {self.work:,} multiply-adds, expected at most {MOST_WORK:,}")

    def _attributes(self, operator: Operator, spans: list[Span]) -> dict[str, Any]:
        """A node's attributes by name."""
        found: dict[str, Any] = {}
        for span in spans:
            name, kind, value = self._attribute(span)
            wanted = operator.attributes.get(name)
            if wanted != kind or name in found:
                raise ValueError(f"attribute {shown(name)} is {kind}, expected {wanted or 'no such one'}, once")
            found[name] = value
        return found

    def _attribute(self, span: Span) -> Attribute:
        begin, end = span
        if end - begin > LARGEST_KEPT:
            return onnx_format.attribute(self.reader, span)
        content = self.reader.content[begin:end]
        attribute = self.kept.get(content)
        if attribute is None:
            attribute = self.kept[content] = onnx_format.attribute(self.reader, span)
        return attribute

    def _hold_outputs(self, outputs: list[Port]) -> None:
        """What the file tells of its outputs is what comes out."""
        if not outputs:
            raise ValueError("has no outputs")
        if len({port.name for port in outputs}) < len(outputs):
            raise ValueError("has an output twice")
        for port in outputs:
            value = self.values.get(port.name)
            if value is None:
                raise ValueError(f"output {shown(port.name)} is not defined")
            if (value.dtype, value.shape) != (port.dtype, port.shape):
                raise ValueError(
                    f"output {shown(port.name)} is {value.dtype} {value.shape}, the file says {port.dtype} {port.shape}"
                )

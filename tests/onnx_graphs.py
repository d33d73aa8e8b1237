"""Small ONNX graphs to read, and what ONNX Runtime makes of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]


def floats(*shape: int) -> Array:
    return np.linspace(0.1, 0.9, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def wholes(*values: int) -> Array:
    return np.array(values, np.int64)


def truths(*shape: int) -> Array:
    return np.arange(int(np.prod(shape))).reshape(shape) % 2 == 0


@dataclass
class Use:
    """An operator with inputs that are given, or None where left out, and `fixed` ones that are constants."""

    kind: str
    inputs: list[Array | None]
    fixed: tuple[int, ...] = ()
    outputs: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = ["-" if array is None else str(array.shape) for array in self.inputs]
        return " ".join([self.kind, *shapes, *map(str, self.attributes.values())])

    def model(self, declared: list[Array] | None = None) -> onnx.ModelProto:
        names = ["" if array is None else f"in{i}" for i, array in enumerate(self.inputs)]
        made = [f"out{i}" for i in range(self.outputs)]
        arrays = {name: array for name, array in zip(names, self.inputs, strict=True) if array is not None}
        fixed = {names[i] for i in self.fixed}
        return model(
            [helper.make_node(self.kind, names, made, **self.attributes)],
            [port(name, array) for name, array in arrays.items() if name not in fixed],
            [onnx.ValueInfoProto(name=name) for name in made]
            if declared is None
            else [port(name, array) for name, array in zip(made, declared, strict=True)],
            {name: array for name, array in arrays.items() if name in fixed},
        )

    def run(self) -> list[Array]:
        """What ONNX Runtime makes of it."""
        session = ort.InferenceSession(self.model().SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(
            None, {f"in{i}": a for i, a in enumerate(self.inputs) if a is not None and i not in self.fixed}
        )


def port(name: str, array: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initialisers: dict[str, Array],
) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(array, name) for name, array in initialisers.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def use(kind: str, *inputs: Array | None, fixed: tuple[int, ...] = (), outputs: int = 1, **attributes: Any) -> Use:
    return Use(kind, list(inputs), fixed, outputs, attributes)

"""Graphs in half precision: a network is float16 from its first matrix product to its last, all else stays float32."""

import numpy as np
import onnx_ir
from onnx_ir import DataType, Node, Value

from wmctrl.runtime.engine import rounded

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Nearly all of the work, and what half precision is for."""
BETWEEN = frozenset({"Add", "LayerNormalization", "Mul", "Sigmoid"})
"""Arithmetic of networks between two products: biases, SiLU, and LayerNorm, whose statistics stay float32 inside."""
MOVES = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)
"""What only moves elements, and so may come before or after they are rounded."""
FARTHEST = 256.0
"""Largest value, on either side of zero, that enters half precision.

float16 ends at 65,504, and a sum beyond it would be infinite and soon not a number, in a belief for ever. What enters
is normalised: 9 is the largest seen in trained runs. Rows of their weights sum up to 10 to 40 in size where no
normalisation follows, so two such layers still stay below the end.
"""


def halve(model: onnx_ir.Model) -> None:
    """Compute a model's networks in float16, with casts in the graph; its inputs and outputs stay as they are.

    In half are products with parameters and what leads from one to the next. All else is float32, on purpose:

    - what comes in, in the task's units, and its normalisation: a goal 1,000 m away would leave 0.5 m between numbers;
    - the belief that is carried on, and so the gates and the change that enter it: small changes would be lost;
    - what is made of a network's last product: softmax, mixtures, KL, probabilities and their running products, and
      values of symexp bins, which reach beyond float16;
    - objective and planner: sums over the horizon, the -1e6 of what is not finite, ranks, statistics of the elites.

    No list of such operators is needed: none of them lies between two products. Parameters are held in float16 where
    products or what lies between them take them, and can be overridden as before.

    Raises:
        ValueError: A parameter is beyond float16.
    """
    graph = model.graph
    half = between_products(graph)
    for value in graph.initializers.values():
        if is_single(value) and value.uses() and all(use.node in half for use in value.uses()):
            round_off(value)
    for node in half:
        for value in node.outputs:
            assert not value.is_graph_output(), f"{value.name} is a bare product, and an output"
            value.type = onnx_ir.TensorType(DataType.FLOAT16)
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    bounds = [constant(graph, f"half.{name}", bound) for name, bound in (("least", -FARTHEST), ("most", FARTHEST))]
    for value in values:
        hand_over(graph, value, half, bounds)


def constant(graph: onnx_ir.Graph, name: str, number: float) -> Value:
    """A float32 constant of no axes, of that name."""
    value = onnx_ir.val(name, const_value=onnx_ir.tensor(np.array(number, np.float32), name=name))
    graph.register_initializer(value)
    return value


def between_products(graph: onnx_ir.Graph) -> set[Node]:
    """Products with parameters, and whatever leads from one to the next.

    Found by taking away, from all that could be, what starts or ends elsewhere, until nothing more falls.
    """
    products = {node for node in graph if node.op_type in PRODUCTS and any(map(is_parameter, node.inputs))}
    found = products | {node for node in graph if node.op_type in BETWEEN | MOVES and is_single(node.outputs[0])}
    while outside := {node for node in found - products if not (ends(node, found) and starts(node, found))}:
        found -= outside
    return found


def ends(node: Node, half: set[Node]) -> bool:
    """Whether all that becomes of a node is in half."""
    users = {use.node for value in node.outputs for use in value.uses()}
    return bool(users) and users <= half and not any(value.is_graph_output() for value in node.outputs)


def starts(node: Node, half: set[Node]) -> bool:
    """Whether all that a node computes with is in half; what only moves can be rounded before."""
    return node.op_type in MOVES or all(
        value is None or value.is_initializer() or value.producer() in half for value in node.inputs
    )


def is_single(value: Value | None) -> bool:
    """Whether it is of float32."""
    return value is not None and value.dtype == DataType.FLOAT


def is_parameter(value: Value | None) -> bool:
    """Whether it is of float32 and has a value before anything is computed."""
    return value is not None and value.is_initializer() and is_single(value)


def round_off(value: Value) -> None:
    """Hold an initialiser in float16."""
    assert value.const_value is not None, "an initialiser has a value"
    array = rounded(value.const_value.numpy(), np.float16, str(value.name))
    value.const_value = onnx_ir.tensor(array, name=value.name)
    value.type = onnx_ir.TensorType(DataType.FLOAT16)


def hand_over(graph: onnx_ir.Graph, value: Value, half: set[Node], bounds: list[Value]) -> None:
    """Cast a value, once, for those that compute in the other type than it has, held to bounds where it is computed."""
    is_half = value.dtype == DataType.FLOAT16
    others = [use for use in value.uses() if (use.node in half) != is_half]
    if not others or not (is_half or is_single(value)):
        return
    nodes = [] if is_half or value.is_initializer() else [onnx_ir.node("Clip", [value, *bounds])]
    source = nodes[0].outputs[0] if nodes else value
    nodes.append(onnx_ir.node("Cast", [source], {"to": int(DataType.FLOAT if is_half else DataType.FLOAT16)}))
    for use in others:
        use.node.replace_input_with(use.idx, nodes[-1].outputs[0])
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], nodes)
    else:
        graph.insert_after(producer, nodes)

"""ONNX files are understood before they are trusted: what they say is told, all else is refused by name."""

import random
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_graphs import Array, floats, model, port, use, wholes
from wmctrl.runtime.onnx_file import MOST_FIELDS, MOST_NODES, Graph, Port, inspect

NAME = "observe.onnx"


def small() -> onnx.ModelProto:
    """relu(x W + b), whose W can be given."""
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["h"], transB=1, alpha=1.0),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    inputs = [port("x", floats(3, 5)), port("W", floats(7, 5))]
    return model(nodes, inputs, [port("y", floats(3, 7))], {"W": floats(7, 5), "b": floats(7)})


def test_ports_operators_and_needs_are_told() -> None:
    assert inspect(small().SerializeToString(), NAME) == Graph(
        inputs=(Port("x", "float32", (3, 5)), Port("W", "float32", (7, 5))),
        outputs=(Port("y", "float32", (3, 7)),),
        initialisers=(Port("W", "float32", (7, 5)), Port("b", "float32", (7,))),
        operators={"Gemm": 1, "Relu": 1},
        bytes_needed=2 * 3 * 7 * 4,
        work=3 * 5 * 7 + 3 * 7,
    )


def external(proto: onnx.ModelProto) -> None:
    weights = proto.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")


def elsewhere(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL


def typed(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].CopyFrom(helper.make_tensor("b", TensorProto.FLOAT, [7], [0.0] * 7))


def strings(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].CopyFrom(
        TensorProto(name="b", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])
    )


def doubles(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.zeros(7), "b"))


def short(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].raw_data = b"\0" * 27


def huge(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[1].dims[:] = [1 << 40]


def untrue(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.add(name="t", data_type=TensorProto.BOOL, dims=[2], raw_data=b"\1\2")


def subgraph(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].attribute.append(helper.make_attribute("then_branch", small().graph))


def subgraphs(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].attribute.append(helper.make_attribute("branches", [small().graph]))


def sparse(proto: onnx.ModelProto) -> None:
    proto.graph.sparse_initializer.add()


def function(proto: onnx.ModelProto) -> None:
    proto.functions.add(name="f")


def training(proto: onnx.ModelProto) -> None:
    proto.training_info.add()


def hints(proto: onnx.ModelProto) -> None:
    proto.graph.value_info.append(port("h", floats(3, 7)))


def notes(proto: onnx.ModelProto) -> None:
    proto.metadata_props.add(key="k", value="v" * (1 << 20))


def untyped(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute[0].type = 0


def twofold(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute[0].ints[:] = [1]


def repeated(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute.append(proto.graph.node[0].attribute[0])


def borrowed(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute[0].ref_attr_name = "outer"


WRONG_FILES: tuple[tuple[Callable[[onnx.ModelProto], object], str], ...] = (
    (external, "tensor has external_data|has external_data"),
    (elsewhere, "tensor 'W': lies in another file"),
    (typed, "has float_data"),
    (strings, "has string_data"),
    (doubles, "tensor 'b': type 11 is not taken"),
    (short, r"tensor 'b': has 27 bytes in raw_data, expected 28 for float32 \(7,\)"),
    (huge, "tensor 'b': has shape"),
    (untrue, "tensor 't': has bytes other than 0 and 1"),
    (subgraph, "an attribute has g, which no graph of ours has"),
    (subgraphs, "an attribute has graphs, which no graph of ours has"),
    (sparse, "has sparse_initializer"),
    (function, "has functions"),
    (training, "has training_info"),
    (hints, "has value_info"),
    (notes, "notes have more than"),
    (untyped, "is of type 0, expected one of"),
    (twofold, "attribute 'alpha' has f, ints, expected f"),
    (repeated, "node 0, 'Gemm' making .*, once"),
    (borrowed, "has ref_attr_name"),
    (lambda m: m.ClearField("graph"), "has no graph"),
    (lambda m: m.ClearField("opset_import"), "imports operators"),
    (lambda m: setattr(m.opset_import[0], "version", 17), r"imports operators \[\('', 17\)\]"),
    (lambda m: m.opset_import.add(domain="com.microsoft", version=1), "com.microsoft"),
    (lambda m: setattr(m, "ir_version", 13), "is of ONNX format 13, expected from 8 to 10"),
    (lambda m: setattr(m.graph.node[1], "domain", "com.evil"), "node 1, 'Relu' .* is no operator"),
    (lambda m: setattr(m.graph.node[1], "overload", "x"), "has overload"),
    (lambda m: m.graph.node[1].ClearField("op_type"), "node 1, '' making"),
    (lambda m: m.graph.node[1].ClearField("output"), "has 0 outputs"),
    (lambda m: m.graph.node[0].output.__setitem__(0, ""), "has 0 outputs"),
    (lambda m: m.graph.node[1].output.__setitem__(0, "x"), "'x' is defined twice"),
    (lambda m: m.graph.node[1].input.__setitem__(0, "y"), "input 'y' is not defined before"),
    (lambda m: m.graph.node.reverse(), "node 0, 'Relu' .* input 'h' is not defined before"),
    (lambda m: m.graph.initializer.append(m.graph.initializer[1]), "'b' is defined twice"),
    (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "'W' is defined twice"),
    (lambda m: m.graph.input.append(m.graph.input[0]), "'x' is defined twice"),
    (lambda m: m.graph.output.append(m.graph.output[0]), "has an output twice"),
    (lambda m: m.graph.ClearField("output"), "has no outputs"),
    (lambda m: setattr(m.graph.output[0], "name", "z"), "output 'z' is not defined"),
    (lambda m: setattr(m.graph.input[0], "name", ""), "an array has no name"),
    (lambda m: m.graph.input[1].CopyFrom(port("W", floats(5, 7))), "'W' is an input of another type or shape"),
    (lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, ["N", 5])), r"'x': has shape \(\?, 5\)"),
    (lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, [-3, 5])), r"'x': has shape \(-3, 5\)"),
    (lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, [3, 0])), r"'x': has shape \(3, 0\)"),
    (lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, None)), "'x': has no shape"),
    (lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 8, [3])), "'x': type 8 is not taken"),
    (
        lambda m: m.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", 1, [3])),
        "'x': .*has sequence_type",
    ),
    (lambda m: setattr(m.graph.input[0], "name", "\x1b[2J\n"), r"input 'x' is not defined"),
    (lambda m: setattr(m.graph.node[1], "name", "n" * 1025), "name has 1,025 bytes, expected at most 1,024"),
)


@pytest.mark.parametrize(("change", "reason"), WRONG_FILES, ids=lambda value: getattr(value, "__name__", value)[:50])
def test_what_no_graph_of_ours_has_is_refused(change: Callable[[onnx.ModelProto], object], reason: str) -> None:
    proto = small()
    change(proto)
    with pytest.raises(ValueError, match=rf"^observe.onnx: .*({reason})") as refusal:
        inspect(proto.SerializeToString(), NAME)
    assert str(refusal.value).isprintable()


def test_a_shape_that_can_be_given_is_no_constant() -> None:
    """Weights that are inputs too can be changed while running; a shape among them would not be static."""
    proto = use("Reshape", floats(3, 5), wholes(5, 3), fixed=(1,)).model([floats(5, 3)])
    inspect(proto.SerializeToString(), NAME)
    proto.graph.input.append(port("in1", wholes(5, 3)))
    with pytest.raises(ValueError, match="input 1 is computed or can be given, expected a constant"):
        inspect(proto.SerializeToString(), NAME)


def test_shapes_may_stand_in_constants() -> None:
    nodes = [
        helper.make_node("Constant", [], ["shape"], value_ints=[5, 3]),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    proto = model(nodes, [port("x", floats(3, 5))], [port("y", floats(5, 3))], {})
    assert inspect(proto.SerializeToString(), NAME).outputs == (Port("y", "float32", (5, 3)),)


def test_two_graphs_in_one_file_are_refused() -> None:
    """Protocol Buffers would merge them into a third one, which nobody looked at."""
    content = small().SerializeToString()
    with pytest.raises(ValueError, match=r"^observe.onnx: byte .*: a model has \w+ twice$"):
        inspect(content * 2, NAME)
    proto, more = small(), small()
    more.ClearField("ir_version")
    more.ClearField("opset_import")
    with pytest.raises(ValueError, match="a model has graph twice"):
        inspect(proto.SerializeToString() + more.SerializeToString(), NAME)


def chain(kind: str, count: int, array: Array, *others: str, **attributes: Any) -> onnx.ModelProto:
    names = ["x", *(f"v{i}" for i in range(count))]
    nodes = [helper.make_node(kind, [before, *others], [behind], **attributes) for before, behind in pairwise(names)]
    return model(nodes, [port("x", array)], [port(names[-1], array)], {"w": floats(array.shape[-1])})


def test_work_and_memory_are_bounded_altogether() -> None:
    large = np.broadcast_to(np.float32(0.0), (61, 1 << 20))  # 244 MiB
    assert inspect(chain("Relu", 4, large).SerializeToString(), NAME).bytes_needed == 4 * large.nbytes
    with pytest.raises(ValueError, match=r"node 4, 'Relu' .* the graph needs 1,279,262,720 bytes, expected at most"):
        inspect(chain("Relu", 5, large).SerializeToString(), NAME)
    square = np.broadcast_to(np.float32(0.0), (3001, 3001))
    with pytest.raises(ValueError, match="does 27,027,009,001 multiply-adds, expected at most 20,000,000,000"):
        inspect(chain("MatMul", 1, square, "x").SerializeToString(), NAME)
    picture, kernel = np.broadcast_to(np.float32(0.0), (1, 1, 4001, 4001)), floats(1, 1, 31, 31)
    with pytest.raises(ValueError, match="bytes on its way"):
        inspect(use("Conv", picture, kernel).model([floats(1)]).SerializeToString(), NAME)


def test_large_constants_that_many_nodes_share_are_not_looked_at_every_time() -> None:
    indices = np.zeros(1 << 20, np.int64)
    proto = chain("ScatterElements", 500, floats(3), "indices", "updates")
    proto.graph.initializer.append(numpy_helper.from_array(indices, "indices"))
    proto.graph.initializer.append(numpy_helper.from_array(floats(1 << 20), "updates"))
    content = proto.SerializeToString()
    began = time.process_time()
    assert inspect(content, NAME).work == 500 << 20
    assert time.process_time() - began < 0.5  # 500 looks take seconds


def test_a_graph_of_two_thousand_nodes_is_read_at_once() -> None:
    proto = chain("Add", 2000, floats(3, 5), "w")
    proto.graph.initializer.append(numpy_helper.from_array(floats(1 << 18), "weights"))
    content = proto.SerializeToString()
    began = time.process_time()
    graph = inspect(content, NAME)
    assert graph.operators == {"Add": 2000}
    assert time.process_time() - began < 1.0  # 0.02 s on an idle desktop


def test_too_many_nodes_are_refused() -> None:
    proto = chain("Relu", 3, floats(1))
    del proto.graph.node[1:]
    nodes = proto.graph.SerializeToString() + onnx.GraphProto(node=[onnx.NodeProto()] * MOST_NODES).SerializeToString()
    proto.ClearField("graph")
    content = proto.SerializeToString() + b"\x3a" + varint(len(nodes)) + nodes
    with pytest.raises(ValueError, match="has 20,001 nodes, expected at most 20,000"):
        inspect(content, NAME)


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def inside(*numbers: int, content: bytes) -> bytes:
    """Content as a field in a field in a field, by number."""
    for number in reversed(numbers):
        content = bytes([number << 3 | 2]) + varint(len(content)) + content
    return content


HEADER = small()
HEADER.ClearField("graph")
BOMBS = {
    "opsets": b"\x42\x00" * MOST_FIELDS,
    "nodes": inside(7, content=b"\x0a\x00" * MOST_FIELDS),
    "inputs of a node": inside(7, 1, content=b"\x0a\x00" * MOST_FIELDS),
    "packed dimensions": inside(7, 5, 1, content=b"\x01" * 2 * MOST_FIELDS),
    "long text": inside(7, 1, 3, content=b"n" * 8 * MOST_FIELDS),
    "long varint": b"\x08" + b"\xff" * MOST_FIELDS,
    "end in a varint": b"\x08\xff",
    "end in a tag": b"\xff",
    "end before a length": b"\x3a",
    "length beyond the file": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "more than 64 bits": b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "group": b"\x0b\x0c",
    "double": b"\x09" + bytes(8),
    "unknown field": b"\x9a\x06\x00",
    "field beyond its message": inside(7, content=b"\x0a\x7f"),
    "text that is none": b"\x12\x01\xff",
    "nothing": b"",
    "a page": b"<html><body>404 Not Found</body></html>",
    "a script": b"#!/bin/sh\nrm -rf /\n",
    "a pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS.keys())
def test_malformed_content_is_refused_soon(content: bytes) -> None:
    began = time.process_time()
    for whole in (content, HEADER.SerializeToString() + content):
        with pytest.raises(ValueError, match=r"^observe.onnx: ") as refusal:
            inspect(whole, NAME)
        assert str(refusal.value).isprintable()
    assert time.process_time() - began < 10.0


def outcome(content: bytes) -> Graph | None:
    """The graph, or None where the content is refused in one line that begins with the file's name."""
    try:
        return inspect(content, NAME)
    except ValueError as error:
        reason = str(error)
    assert reason.startswith(f"{NAME}: ")
    assert reason.isprintable()
    return None


VARIED = model(
    [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Slice", ["t", "one", "four", "axes"], ["s"]),
        helper.make_node("Conv", ["p", "k"], ["c"], strides=[2], pads=[1, 0]),
        helper.make_node("Constant", [], ["f"], value_floats=[0.5, 2.0, 3.0]),
        helper.make_node("Constant", [], ["g"], value=numpy_helper.from_array(floats(3, 3))),
        helper.make_node("MatMul", ["s", "g"], ["m"]),
        helper.make_node("Add", ["m", "f"], ["a"]),
        helper.make_node("Concat", ["a", "W"], ["y"], axis=0),
    ],
    [port("x", floats(3, 5)), port("p", floats(1, 2, 11)), port("W", floats(2, 3))],
    [port("y", floats(5, 3)), port("c", floats(1, 3, 5))],
    {"W": floats(2, 3), "k": floats(3, 2, 3), "one": wholes(1), "four": wholes(4), "axes": wholes(0)},
).SerializeToString()


def test_a_file_cut_anywhere_is_refused() -> None:
    assert outcome(VARIED) is not None
    assert [length for length in range(len(VARIED)) if outcome(VARIED[:length]) is not None] == []


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_a_damaged_file_is_refused_or_reads_as_protocol_buffers_read_it(seed: int) -> None:
    """Damage in weights and names can be legal; then what we read must be what ONNX Runtime will."""
    generator = random.Random(seed)
    legal = 0
    for _ in range(2500):
        damaged = bytearray(VARIED)
        for _ in range(generator.choice((1, 1, 2, 5))):
            place = generator.randrange(len(damaged))
            change = generator.randrange(4)
            if change == 0:
                damaged[place] ^= 1 << generator.randrange(8)
            elif change == 1:
                damaged[place] = generator.choice((0, 1, 127, 128, 255))
            elif change == 2:
                del damaged[place : place + generator.randrange(1, 9)]
            else:
                damaged[place:place] = damaged[place : place + generator.randrange(1, 9)]
        graph = outcome(bytes(damaged))
        if graph is not None:
            legal += 1
            read = onnx.load_from_string(bytes(damaged)).graph
            assert [port.name for port in graph.inputs] == [port.name for port in read.input]
            assert [port.shape for port in graph.initialisers] == [tuple(tensor.dims) for tensor in read.initializer]
            assert sum(graph.operators.values()) == len(read.node)
    assert 100 < legal < 2000

"""Parameters in ONNX files: held as constants, with the values that were given, and all else as it was."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from wmctrl.runtime import onnx_file
from wmctrl.runtime.onnx_parameters import Parametric
from wmctrl.runtime.protobuf import begun, header

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
BIAS = np.array([1.0, -2.0, 0.5], np.float32)
X = np.array([[0.5, 1.0, -1.0, 2.0]], np.float32)


def content() -> bytes:
    """y = x weight' + bias + 10, both parameters being inputs too, and the 10 a constant."""
    initialisers = {"weight": WEIGHT, "bias": BIAS, "ten": np.full(3, 10.0, np.float32)}
    nodes = [
        helper.make_node("Gemm", ["x", "weight", "bias"], ["product"], transB=1),
        helper.make_node("Add", ["product", "ten"], ["y"]),
    ]
    takes = {"weight": (3, 4), "x": (1, 4), "bias": (3,)}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in takes.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3))]
    tensors = [numpy_helper.from_array(array, name) for name, array in initialisers.items()]
    graph = helper.make_graph(nodes, "line", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


def run(model: bytes) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": X})
    return np.asarray(y)


def test_inputs_that_have_a_value_are_parameters() -> None:
    found = Parametric(content(), "line.onnx").parameters
    assert {name: (one.dtype, one.shape) for name, one in found.items()} == {
        "weight": (np.float32, (3, 4)),
        "bias": (np.float32, (3,)),
    }


def test_a_fixed_file_takes_no_parameters_and_computes_the_same() -> None:
    fixed = Parametric(content(), "line.onnx").fixed({})
    assert [port.name for port in onnx_file.inspect(fixed, "fixed.onnx").inputs] == ["x"]
    np.testing.assert_array_equal(run(fixed), run(content()))
    as_it_was, now = onnx.load_from_string(content()).graph, onnx.load_from_string(fixed).graph
    assert (list(now.node), list(now.initializer), list(now.output)) == (
        list(as_it_was.node),
        list(as_it_was.initializer),
        list(as_it_was.output),
    )


def test_a_value_that_is_given_takes_the_place_of_the_files() -> None:
    file = Parametric(content(), "line.onnx")
    other = -2.0 * WEIGHT
    np.testing.assert_allclose(run(file.fixed({"weight": other})), X @ other.T + BIAS + 10.0)
    np.testing.assert_allclose(run(file.fixed({"bias": 3.0 * BIAS})), X @ WEIGHT.T + 3.0 * BIAS + 10.0)
    both = {"bias": 3.0 * BIAS, "weight": other}
    np.testing.assert_allclose(run(file.fixed(both)), X @ other.T + 3.0 * BIAS + 10.0)
    np.testing.assert_array_equal(run(file.fixed({})), run(content()))


def test_the_file_is_named_where_a_header_is_longer_than_it_needs_to_be() -> None:
    whole = content()
    begin, end = Parametric(whole, "line.onnx")._graph
    size = end - begin
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, 0])
    written = whole[: begin - len(header(7, size))] + bytes([7 * 8 + 2]) + length + whole[begin:]
    onnx.load_from_string(written)
    with pytest.raises(ValueError, match=r"line\.onnx: byte .*: field 7 is written in a longer way than it needs"):
        Parametric(written, "line.onnx")


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 70_000])
@pytest.mark.parametrize("number", [1, 7, 15, 16, 25])
def test_where_a_field_begins_is_told_by_its_header(number: int, length: int) -> None:
    before = b"before"
    written = before + header(number, length) + bytes(length)
    assert begun(written, number, (len(written) - length, len(written))) == len(before)


def test_a_header_that_is_longer_than_it_needs_to_be_is_refused() -> None:
    written = bytes([7 * 8 + 2, 0x83, 0x00]) + b"abc"  # 3, in two bytes
    with pytest.raises(ValueError, match="byte 3: field 7 is written in a longer way than it needs"):
        begun(written, 7, (3, 6))

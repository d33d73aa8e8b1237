"""Laws of shape agree with ONNX Runtime, operator by operator, and refuse what it would stumble over."""

import numpy as np
import pytest
from onnx import numpy_helper

from tests.onnx_graphs import Use, floats, truths, use, wholes
from wmctrl.runtime.onnx_file import inspect
from wmctrl.runtime.onnx_operators import OPERATORS

NAME = "observe.onnx"
LEAST, MOST = -(2**63), 2**63 - 1
ELEMENTWISE = (
    *("Abs", "Erf", "Exp", "Floor", "Identity", "Log", "Neg"),
    *("Reciprocal", "Relu", "Sigmoid", "Sign", "Softplus", "Sqrt", "Tanh"),
)

USES = (
    *(use(kind, floats(3, 5)) for kind in ELEMENTWISE),
    use("Neg", np.arange(7, dtype=np.int32)),
    use("Identity", truths(3)),
    use("Not", truths(3, 5)),
    *(use(kind, floats(3, 1, 7), floats(5, 1)) for kind in ("Add", "Div", "Mul", "Sub", "Pow", "Max", "Min")),
    use("Mul", wholes(2, 3, 5), wholes(7)),
    use("Pow", floats(3, 5), wholes(2), fixed=(1,)),
    use("Max", floats(3, 5), floats(), floats(2, 1, 1)),
    use("Min", floats(3)),
    *(use(kind, truths(3, 1), truths(5)) for kind in ("And", "Or")),
    *(use(kind, floats(3, 1), floats(5)) for kind in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    use("Where", truths(3, 1), floats(5), floats(2, 1, 1)),
    use("Clip", floats(3, 5), floats(), floats()),
    use("Clip", floats(3, 5), None, floats(), fixed=(2,)),
    *(use(kind, floats(3, 5), axis=axis) for kind in ("Softmax", "LogSoftmax") for axis in (0, -1)),
    use("CumSum", floats(3, 5), np.array(1), fixed=(1,), reverse=1),
    use("LayerNormalization", floats(3, 5, 7), floats(7), floats(7)),
    use("LayerNormalization", floats(3, 5, 7), floats(5, 7), axis=1, epsilon=0.01),
    *(use(kind, floats(3, 5, 7), wholes(-1, 0), fixed=(1,)) for kind in ("ReduceMax", "ReduceMean", "ReduceMin")),
    use("ReduceSum", floats(3, 5, 7), wholes(1), fixed=(1,), keepdims=0),
    use("ReduceSum", floats(3, 5, 7), keepdims=0),
    use("ReduceSum", floats(3, 5, 7), noop_with_empty_axes=1),
    use("ReduceMean", floats(3, 5), None),
    use("ArgMax", floats(3, 5, 7), axis=1),
    use("ArgMax", floats(3, 5, 7), axis=-1, keepdims=0),
    use("TopK", floats(3, 11), wholes(5), fixed=(1,), outputs=2),
    use("TopK", floats(11, 3), wholes(7), fixed=(1,), outputs=2, axis=0, largest=0),
    use("MatMul", floats(3, 5), floats(5, 7)),
    use("MatMul", floats(5), floats(5, 7)),
    use("MatMul", floats(3, 5), floats(5)),
    use("MatMul", floats(5), floats(5)),
    use("MatMul", floats(5), floats(2, 5, 3)),
    use("MatMul", floats(2, 1, 3, 5), floats(7, 5, 11)),
    use("Gemm", floats(3, 5), floats(5, 7)),
    use("Gemm", floats(5, 3), floats(7, 5), floats(7), transA=1, transB=1, alpha=0.5),
    use("Gemm", floats(3, 5), floats(5, 7), floats(3, 1), beta=2.0),
    use("Conv", floats(2, 3, 11), floats(5, 3, 3)),
    use("Conv", floats(2, 3, 13, 17), floats(5, 3, 3, 5), floats(5), strides=[2, 3], pads=[1, 2, 0, 3]),
    use("Conv", floats(2, 6, 13, 17), floats(4, 3, 3, 3), group=2, dilations=[2, 3], kernel_shape=[3, 3]),
    use("Conv", floats(1, 2, 5, 7, 11), floats(3, 2, 2, 3, 5), auto_pad="NOTSET"),
    use("ConvTranspose", floats(2, 3, 7), floats(3, 5, 4), strides=[2], pads=[1, 1]),
    use("ConvTranspose", floats(2, 6, 5, 7), floats(6, 5, 3, 5), floats(10), strides=[2, 3], group=2),
    use(
        "ConvTranspose",
        floats(2, 3, 5, 7),
        floats(3, 5, 3, 5),
        strides=[2, 3],
        output_padding=[1, 2],
        pads=[1, 2, 0, 3],
    ),
    use("ConvTranspose", floats(2, 3, 5, 7), floats(3, 5, 3, 2), dilations=[2, 3]),
    *(use("Cast", floats(3, 5), to=to) for to in (1, 10, 7, 6, 9, 2)),
    use("Cast", np.zeros((3, 5), np.uint8), to=1),
    use("Constant", value=numpy_helper.from_array(floats(3, 5))),
    use("Constant", value=numpy_helper.from_array(truths(3))),
    use("Constant", value_float=2.0),
    use("Constant", value_floats=[2.0, 3.0, 5.0]),
    use("Constant", value_int=7),
    use("Constant", value_ints=[2, 3]),
    use("ConstantOfShape", wholes(3, 5), fixed=(0,)),
    use("ConstantOfShape", wholes(3, 5), fixed=(0,), value=numpy_helper.from_array(wholes(7))),
    use("Expand", floats(3, 1), wholes(2, 1, 5), fixed=(1,)),
    use("Expand", floats(3, 5), wholes(1), fixed=(1,)),
    use("Reshape", floats(3, 5, 14), wholes(0, -1, 7), fixed=(1,)),
    use("Reshape", floats(1), wholes(), fixed=(1,)),
    use("Reshape", floats(3, 5), wholes(15), fixed=(1,), allowzero=1),
    *(use("Flatten", floats(3, 5, 7), axis=axis) for axis in (0, 1, 3, -1)),
    use("Squeeze", floats(3, 1, 5, 1), wholes(-1), fixed=(1,)),
    use("Squeeze", floats(3, 1, 5, 1)),
    use("Unsqueeze", floats(3, 5), wholes(0, -1), fixed=(1,)),
    use("Transpose", floats(3, 5, 7), perm=[2, 0, 1]),
    use("Transpose", floats(3, 5, 7)),
    use("Concat", floats(3, 5), floats(3, 7), floats(3, 1), axis=-1),
    use("Split", floats(3, 11), fixed=(), outputs=3, axis=1, num_outputs=3),
    use("Split", floats(11, 3), wholes(2, 9), fixed=(1,), outputs=2),
    use("Slice", floats(11, 13), wholes(2), wholes(7), fixed=(1, 2)),
    use(
        "Slice",
        floats(11, 13),
        wholes(-1, 3),
        wholes(LEAST, MOST),
        wholes(0, 1),
        wholes(-3, 2),
        fixed=(1, 2, 3, 4),
    ),
    use("Slice", floats(11, 13), wholes(-5), wholes(-2), wholes(-1), fixed=(1, 2, 3)),
    use("Slice", floats(11, 13), wholes(1), wholes(5), None, wholes(2), fixed=(1, 2, 4)),
    use("Gather", floats(3, 5, 7), np.array([[0, -5], [4, 2]]), axis=1),
    use("Gather", floats(3, 5), np.array(2), fixed=(1,)),
    use("GatherElements", floats(3, 5), np.zeros((2, 7), np.int64), axis=1),
    use("GatherND", floats(3, 5, 7), np.array([[0, 1], [2, 4]])),
    use("GatherND", floats(3, 5, 7), np.array([[4], [0], [-5]]), fixed=(1,), batch_dims=1),
    use("ScatterElements", floats(3, 5), np.zeros((2, 5), np.int64), floats(2, 5), reduction="add"),
)


@pytest.mark.parametrize("use", USES, ids=str)
def test_what_comes_out_is_what_onnx_runtime_makes(use: Use) -> None:
    arrays = use.run()
    graph = inspect(use.model(arrays).SerializeToString(), NAME)
    assert [(port.dtype, port.shape) for port in graph.outputs] == [(array.dtype.name, array.shape) for array in arrays]
    assert graph.bytes_needed == sum(array.nbytes for array in arrays)
    wider = [np.zeros((*array.shape, 1), array.dtype) for array in arrays]
    with pytest.raises(ValueError, match=r"^observe.onnx: output 'out0' is \w+ \(.*\), the file says"):
        inspect(use.model(wider).SerializeToString(), NAME)


def test_every_operator_was_compared() -> None:
    assert {use.kind for use in USES} == OPERATORS.keys()


WRONG_USES = (
    (use("Add", floats(3, 5), floats(3, 7)), "do not fit together"),
    (use("Add", floats(3), wholes(2, 3, 5)), r"has inputs \(float32, int64\), expected float32"),
    (use("Add", floats(3)), "has inputs"),
    (use("Add", floats(3), None), "has inputs"),
    (use("Div", wholes(7, 11), wholes(0, 0)), "expected float16 or float32"),
    (use("Exp", truths(3)), "has inputs"),
    (use("Exp", floats(3), floats(3)), "expected from 1 to 1"),
    (use("Exp", floats(3), axis=1), "attribute 'axis' is whole, expected no such one"),
    (use("Clip", floats(3), floats(3)), "expected a scalar"),
    (use("Softmax", floats(3, 5), axis=2), "axis 2 is not one of 2 axes"),
    (use("Softmax", floats(3, 5), axis=1.0), "attribute 'axis' is float, expected whole"),
    (use("CumSum", floats(3), np.array(0)), "input 1 is computed or can be given"),
    (use("LayerNormalization", floats(3, 5), floats(3)), r"shape \(3,\), expected \(5,\)"),
    (use("LayerNormalization", floats(3, 5), floats(5), outputs=3), "has 3 outputs, expected from 1 to 1"),
    (use("LayerNormalization", floats(3, 5), floats(5), stash_type=10), "stash_type"),
    (use("ReduceSum", floats(3, 5), wholes(1)), "input 1 is computed"),
    (use("ReduceSum", floats(3, 5), wholes(1, -1), fixed=(1,)), "name one twice"),
    (use("ReduceSum", floats(3, 5), keepdims=2), "keepdims must be 0 or 1, came 2"),
    (use("TopK", floats(5), wholes(7), fixed=(1,), outputs=2), "k is 7, expected from 1 to"),
    (use("TopK", floats(5), wholes(2), fixed=(1,), outputs=2, sorted=0), "sorted must be 1"),
    (use("TopK", floats(5), wholes(2), fixed=(1,)), "has 1 outputs, expected from 2 to 2"),
    (use("MatMul", floats(3, 5), floats(3, 5)), "have no matrix product"),
    (use("MatMul", floats(), floats(3)), "a scalar has no matrix product"),
    (use("Gemm", floats(3, 5), floats(5)), "not both matrices"),
    (use("Gemm", floats(3, 5), floats(5, 7), floats(2, 3, 7)), "does not stretch"),
    (use("Conv", floats(2, 3, 5), floats(5, 2, 3)), "3 channels do not fit"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 7)), "does not fit"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 3), group=0), "do not fit weights"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 3), strides=[0]), "strides"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 3), pads=[-1, 0]), "pads"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 3), dilations=[1 << 40]), "dilations"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 3), auto_pad="SAME_UPPER"), "auto_pad must be NOTSET"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 3), kernel_shape=[2]), "kernel_shape"),
    (use("Conv", floats(2, 3, 5), floats(5, 3, 3), floats(3)), r"expected \(5,\)"),
    (use("ConvTranspose", floats(2, 3, 5), floats(2, 3, 3)), "channels do not fit"),
    (use("ConvTranspose", floats(2, 3, 5), floats(3, 2, 3), output_shape=[7]), "'output_shape'"),
    (use("ConvTranspose", floats(2, 3, 5), floats(3, 2, 3), strides=[2], output_padding=[2]), "output_padding"),
    (use("Cast", floats(3), to=11), "type 11 is not taken"),
    (use("Cast", floats(3)), "to is missing"),
    (use("Constant"), "must have one value"),
    (use("Constant", value_string="rm -rf"), "'value_string'"),
    (use("ConstantOfShape", wholes(3, 0), fixed=(0,)), "at least 1 along every axis"),
    (use("ConstantOfShape", wholes(1 << 62, 1 << 62), fixed=(0,)), "needs .* bytes, expected at most"),
    (use("ConstantOfShape", wholes(*[1] * 9), fixed=(0,)), "a list of at most 8"),
    (use("Expand", floats(3), wholes(5), fixed=(1,)), "do not fit together"),
    (use("Expand", floats(1), wholes(1 << 26, 5), fixed=(1,)), "needs 1,342,177,280 bytes, expected at most"),
    (use("Reshape", floats(3, 5), wholes(7, -1), fixed=(1,)), r"\(3, 5\) does not become \[7, -1\]"),
    (use("Reshape", floats(3, 5), wholes(-1, -1), fixed=(1,)), "does not become"),
    (use("Reshape", floats(3), wholes(3, 0), fixed=(1,)), "copies an axis"),
    (use("Squeeze", floats(3, 5), wholes(0), fixed=(1,)), "not all of length 1"),
    (use("Unsqueeze", floats(3), wholes(3), fixed=(1,)), "axis 3 is not one of 2"),
    (use("Transpose", floats(3, 5), perm=[0, 0]), "is not an order of 2 axes"),
    (use("Concat", floats(3, 5), floats(3, 5, 1), axis=0), "do not join"),
    (use("Concat", floats(3, 5)), "axis is missing"),
    (use("Split", floats(7), outputs=2), "either sizes or num_outputs"),
    (use("Split", floats(7), wholes(2, 3), fixed=(1,), outputs=2), "does not split"),
    (use("Split", floats(3), outputs=5, num_outputs=5), "does not split"),
    (use("Split", floats(7), outputs=2, num_outputs=3), "num_outputs is 3"),
    (use("Split", floats(7), outputs=3, num_outputs=2), "num_outputs is 2"),  # ONNX Runtime 1.31 ends the process
    (use("Slice", floats(7), wholes(3), wholes(3), fixed=(1, 2)), "at least 1 along every axis"),
    (use("Slice", floats(7), wholes(0), wholes(3), wholes(0), wholes(0), fixed=(1, 2, 3, 4)), "a step is 0"),
    (use("Slice", floats(7), wholes(0, 1), wholes(3), fixed=(1, 2)), "not equally many|is not one of"),
    (use("Gather", floats(3, 5), wholes(3), fixed=(1,)), r"indices from 3 to 3 do not lie within axes of \(3,\)"),
    (use("Gather", floats(3, 5), floats(2)), "has inputs"),
    (use("GatherElements", floats(3, 5), wholes(1)), "do not fit"),
    (use("GatherND", floats(3, 5), np.array([[0, 0, 0]])), "reach deeper"),
    (use("GatherND", floats(3, 5), np.array([[0, 5]]), fixed=(1,)), "indices from 0 to 5"),
    (use("ScatterElements", floats(3), wholes(0, 1), floats(3)), "updates of shape"),
    (use("ScatterElements", floats(3), wholes(0), floats(1), reduction="mean"), "reduction"),
    (use("Loop", floats(3)), "is no operator that our graphs use"),
    (use("RandomNormal", shape=[3]), "is no operator that our graphs use"),
)


@pytest.mark.parametrize(("use", "reason"), WRONG_USES, ids=lambda value: str(value)[:60])
def test_what_an_operator_does_not_take_is_refused(use: Use, reason: str) -> None:
    declared = [floats(1)] * use.outputs
    with pytest.raises(ValueError, match=rf"^observe.onnx: node 0, '{use.kind}' making .*({reason})") as refusal:
        inspect(use.model(declared).SerializeToString(), NAME)
    assert "\n" not in str(refusal.value)

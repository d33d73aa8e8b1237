"""The operators that graphs may use, all of which TensorRT takes as well (its tables of versions 10.0 and 10.15)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Literal

from wmctrl.runtime import onnx_moves as moves
from wmctrl.runtime import onnx_shapes as shapes
from wmctrl.runtime.onnx_shapes import Call, Values

AttributeKind = Literal["whole", "wholes", "float", "floats", "text", "tensor"]
FLOATS = frozenset({"float32", "float16"})
NUMBERS = FLOATS | {"int32", "int64"}
ARRAYS = NUMBERS | {"bool", "uint8"}
"""What is only moved may be pixels, although TensorRT wants these cast first."""
TRUTHS = frozenset({"bool"})
LETTERS = {
    "I": frozenset({"int32", "int64"}),
    "L": frozenset({"int64"}),
    "B": TRUTHS,
    "N": NUMBERS,
}
"""Types of inputs that do not follow the operator's own."""
MANY = 4096


def passed(call: Call, made: Values) -> int:
    """Work of looking at every element once."""
    sizes = [math.prod(value.shape) for value in (*call.inputs, *made) if value is not None]
    return max(sizes, default=0)


def produced(call: Call, made: Values) -> int:
    """Multiply-adds of matrix products."""
    a = call.first.shape
    return math.prod(made[0].shape) * (a[0] if call.attributes.get("transA") else a[-1])


def folded(call: Call, made: Values) -> int:
    """Multiply-adds of a convolution: for every result, or what is spread, a kernel for every channel of a group."""
    return max(math.prod(call.first.shape), math.prod(made[0].shape)) * math.prod(call.needed(1).shape[1:])


def sorted_out(call: Call, made: Values) -> int:
    """Comparisons of a partial sort."""
    return passed(call, made) * math.prod(made[0].shape).bit_length()


@dataclass(frozen=True)
class Operator:
    """What an operator takes and makes."""

    law: Callable[[Call], Values]
    """Its results' types and shapes."""
    types: frozenset[str] = FLOATS
    """Its own, which one use has one of."""
    inputs: str = "T"
    """Types by letter: T for the operator's own, others as in LETTERS."""
    needed: int = 1
    """Inputs that must be there."""
    attributes: Mapping[str, AttributeKind] = field(default_factory=dict)
    outputs: tuple[int, int] = (1, 1)
    """Fewest and most."""
    work: Callable[[Call, Values], int] = passed
    """Multiply-adds."""
    variadic: bool = False
    """Whether any number of inputs of the first letter may come."""

    def results(self, call: Call) -> Values:
        """What the operator makes of its inputs.

        Raises:
            ValueError: It does not take them.
        """
        self._hold_inputs(call)
        fewest, most = self.outputs
        if not fewest <= call.outputs <= most:
            raise ValueError(f"has {call.outputs} outputs, expected from {fewest} to {most}")
        return self.law(call)

    def _hold_inputs(self, call: Call) -> None:
        inputs, most = call.inputs, MANY if self.variadic else len(self.inputs)
        if not self.needed <= len(inputs) <= most or None in inputs[: self.needed]:
            raise ValueError(f"has inputs {_told(call)}, expected from {self.needed} to {most}")
        own = None
        for letter, value in zip(cycle(self.inputs), inputs, strict=False):
            if value is None:
                continue
            taken = LETTERS.get(letter) or (self.types if own is None else (own,))
            if value.dtype not in taken:
                raise ValueError(f"has inputs {_told(call)}, expected {' or '.join(sorted(taken))} for {value.dtype}")
            if letter == "T":
                own = value.dtype
                if 0 in value.shape:
                    raise ValueError("has an empty input, which only lists of axes and lengths may be")


def _told(call: Call) -> str:
    """Types of the first inputs."""
    names = ["nothing" if value is None else value.dtype for value in call.inputs[:8]]
    return f"({', '.join(names)})"


REDUCTION = Operator(shapes.reduced, NUMBERS, "TL", 1, {"keepdims": "whole", "noop_with_empty_axes": "whole"})
CONVOLUTION: Mapping[str, AttributeKind] = {
    "auto_pad": "text",
    "dilations": "wholes",
    "group": "whole",
    "kernel_shape": "wholes",
    "pads": "wholes",
    "strides": "wholes",
}
ALONG_AXIS: Mapping[str, AttributeKind] = {"axis": "whole"}

OPERATORS: Mapping[str, Operator] = {
    **{name: Operator(shapes.same, NUMBERS) for name in ("Abs", "Neg", "Relu", "Sign")},
    **{
        name: Operator(shapes.same)
        for name in ("Erf", "Exp", "Floor", "Log", "Reciprocal", "Sigmoid", "Softplus", "Sqrt", "Tanh")
    },
    "Identity": Operator(shapes.same, ARRAYS),
    "Not": Operator(shapes.same, TRUTHS),
    **{name: Operator(shapes.together, NUMBERS, "TT", 2) for name in ("Add", "Mul", "Sub")},
    "Div": Operator(shapes.together, FLOATS, "TT", 2),  # dividing a whole number by 0 ends the process
    "Pow": Operator(shapes.together, FLOATS, "TN", 2),
    **{name: Operator(shapes.together, TRUTHS, "TT", 2) for name in ("And", "Or")},
    **{name: Operator(shapes.together, NUMBERS, "T", 1, variadic=True) for name in ("Max", "Min")},
    **{
        name: Operator(shapes.compared, NUMBERS, "TT", 2)
        for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "Where": Operator(shapes.chosen, ARRAYS, "BTT", 3),
    "Clip": Operator(shapes.clipped, FLOATS, "TTT"),
    "Softmax": Operator(shapes.along_axis(-1), attributes=ALONG_AXIS),
    "LogSoftmax": Operator(shapes.along_axis(-1), attributes=ALONG_AXIS),
    "CumSum": Operator(shapes.running, FLOATS, "TI", 2, {"exclusive": "whole", "reverse": "whole"}),
    "LayerNormalization": Operator(
        shapes.normalised, FLOATS, "TTT", 2, {"axis": "whole", "epsilon": "float", "stash_type": "whole"}
    ),
    **{name: REDUCTION for name in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")},
    "ArgMax": Operator(
        shapes.position, NUMBERS, attributes={"axis": "whole", "keepdims": "whole", "select_last_index": "whole"}
    ),
    "TopK": Operator(
        shapes.top,
        NUMBERS,
        "TL",
        2,
        {"axis": "whole", "largest": "whole", "sorted": "whole"},
        outputs=(2, 2),
        work=sorted_out,
    ),
    "MatMul": Operator(shapes.matrix_product, FLOATS, "TT", 2, work=produced),
    "Gemm": Operator(
        shapes.gemm,
        FLOATS,
        "TTT",
        2,
        {"alpha": "float", "beta": "float", "transA": "whole", "transB": "whole"},
        work=produced,
    ),
    "Conv": Operator(shapes.convolved, FLOATS, "TTT", 2, CONVOLUTION, work=folded),
    "ConvTranspose": Operator(
        shapes.convolved_back, FLOATS, "TTT", 2, {**CONVOLUTION, "output_padding": "wholes"}, work=folded
    ),
    "Cast": Operator(moves.cast, ARRAYS, attributes={"to": "whole"}),
    "Constant": Operator(
        moves.constant,
        inputs="",
        needed=0,
        attributes={
            "value": "tensor",
            "value_float": "float",
            "value_floats": "floats",
            "value_int": "whole",
            "value_ints": "wholes",
        },
    ),
    "ConstantOfShape": Operator(moves.filled, LETTERS["L"], attributes={"value": "tensor"}),
    "Expand": Operator(moves.expanded, ARRAYS, "TL", 2),
    "Reshape": Operator(moves.reshaped, ARRAYS, "TL", 2, {"allowzero": "whole"}),
    "Flatten": Operator(moves.flattened, ARRAYS, attributes=ALONG_AXIS),
    "Squeeze": Operator(moves.squeezed, ARRAYS, "TL"),
    "Unsqueeze": Operator(moves.unsqueezed, ARRAYS, "TL", 2),
    "Transpose": Operator(moves.transposed, ARRAYS, attributes={"perm": "wholes"}),
    "Concat": Operator(moves.joined, ARRAYS, attributes=ALONG_AXIS, variadic=True),
    "Split": Operator(moves.divided, ARRAYS, "TL", 1, {"axis": "whole", "num_outputs": "whole"}, outputs=(1, MANY)),
    "Slice": Operator(moves.sliced, ARRAYS, "TIIII", 3),
    "Gather": Operator(moves.gathered, ARRAYS, "TI", 2, ALONG_AXIS),
    "GatherElements": Operator(moves.gathered_singly, ARRAYS, "TI", 2, ALONG_AXIS),
    "GatherND": Operator(moves.gathered_deeply, ARRAYS, "TL", 2, {"batch_dims": "whole"}),
    "ScatterElements": Operator(  # ONNX Runtime adds up nothing in half precision
        moves.scattered, NUMBERS - {"float16"}, "TIT", 3, {"axis": "whole", "reduction": "text"}
    ),
}
"""Operators by name: whatever is not here is not taken."""

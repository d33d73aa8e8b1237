"""Laws of shape: what an ONNX operator of version 18 makes of static shapes, one short function a kind of operator."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from wmctrl.runtime.records import shown

Shape = tuple[int, ...]
ITEM_SIZES = {"float32": 4, "float16": 2, "int64": 8, "int32": 4, "bool": 1, "uint8": 1}
"""Bytes of an element, of every type that is taken."""
LARGEST_VALUE = 256 << 20
"""Bytes."""
MOST_DIMENSIONS = 8
LARGEST_STEP = 1 << 16
"""Of a convolution's strides and dilations, and of a slice."""
MOST_INDICES = 1 << 18
"""Bytes of indices that are looked at, since any number of nodes may share them."""


class Value(NamedTuple):
    """An array that a graph has or makes."""

    dtype: str
    shape: Shape
    data: memoryview | None = None
    """Content of one that never changes, known before anything is computed."""

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]


class Call(NamedTuple):
    """A use of an operator. Its attributes and inputs have the types that the operator takes."""

    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    outputs: int

    @property
    def first(self) -> Value:
        """What the operator works on."""
        value = self.inputs[0]
        assert value is not None, "operators with inputs need the first"
        return value

    def given(self, index: int) -> Value | None:
        """An input, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def needed(self, index: int) -> Value:
        """An input that must not be left out."""
        value = self.given(index)
        if value is None:
            raise ValueError(f"input {index} is left out, which this operator needs")
        return value

    def whole(self, name: str, default: int | None = None) -> int:
        """An attribute that is a whole number."""
        value = self.attributes.get(name, default)
        if value is None:
            raise ValueError(f"{name} is missing")
        return value

    def flag(self, name: str, default: int) -> bool:
        """An attribute that is 0 or 1."""
        value = self.whole(name, default)
        if value not in (0, 1):
            raise ValueError(f"{name} must be 0 or 1, came {value}")
        return bool(value)

    def axis(self, rank: int, default: int | None = None) -> int:
        """The attribute `axis`, counted from the front."""
        return axis_of(self.whole("axis", default), rank)

    def constants(self, index: int, most: int = MOST_DIMENSIONS) -> list[int]:
        """Whole numbers of an input that is known before anything is computed, such as a shape."""
        value = self.needed(index)
        if value.data is None:
            raise ValueError(f"input {index} is computed or can be given, expected a constant")
        if len(value.shape) > 1 or math.prod(value.shape) > most:
            raise ValueError(f"input {index} has shape {value.shape}, expected a list of at most {most:,}")
        return np.frombuffer(value.data, value.dtype).tolist()

    def constant(self, index: int) -> int:
        """The only number of an input that is known before anything is computed."""
        numbers = self.constants(index)
        if len(numbers) != 1:
            raise ValueError(f"input {index} has {len(numbers)} elements, expected 1")
        return numbers[0]


Values = tuple[Value, ...]


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is not one of {rank} axes")
    return axis % rank


def axes_of(axes: list[int], rank: int) -> list[int]:
    """Different axes counted from the front."""
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) < len(found):
        raise ValueError(f"axes {shown(axes)} name one twice")
    return found


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all shapes are stretched to."""
    longest = max(shapes, key=len)
    if all(shape == longest for shape in shapes):
        return longest
    padded = [(1,) * (len(longest) - len(shape)) + shape for shape in shapes]
    result = tuple(map(max, *padded))
    for shape in padded:
        if any(length not in (1, wanted) for length, wanted in zip(shape, result, strict=True)):
            raise ValueError(f"shapes {', '.join(map(str, shapes[:4]))} do not fit together")
    return result


def hold_stretch(shape: Shape, target: Shape, what: str) -> None:
    """Only what is stretched to a shape that is known otherwise may be used with it."""
    if len(shape) > len(target) or broadcast(shape, target) != target:
        raise ValueError(f"{what} of shape {shape} does not stretch to {target}")


def hold_indices(indices: Value, *lengths: int) -> None:
    """Indices into some axes lie within these, where known; ONNX Runtime looks at those that are computed, or many."""
    if not indices.data or len(indices.data) > MOST_INDICES:
        return
    numbers = np.frombuffer(indices.data, indices.dtype).reshape(-1, len(lengths))
    if ((numbers < np.negative(lengths)) | (numbers >= lengths)).any():
        raise ValueError(f"indices from {numbers.min()} to {numbers.max()} do not lie within axes of {lengths}")


def same(call: Call) -> Values:
    """Element by element."""
    return (Value(call.first.dtype, call.first.shape),)


def together(call: Call) -> Values:
    """Element by element, of arrays that are stretched to each other."""
    values = [call.needed(i) for i in range(len(call.inputs))]
    return (Value(values[0].dtype, broadcast(*(value.shape for value in values))),)


def compared(call: Call) -> Values:
    """Element by element, with a truth value as result."""
    return (Value("bool", broadcast(call.first.shape, call.needed(1).shape)),)


def chosen(call: Call) -> Values:
    """Where: element by element, by a condition."""
    yes, no = call.needed(1), call.needed(2)
    return (Value(yes.dtype, broadcast(call.first.shape, yes.shape, no.shape)),)


def clipped(call: Call) -> Values:
    """Clip: bounds are scalars."""
    for i in (1, 2):
        bound = call.given(i)
        if bound is not None and bound.shape not in ((), (1,)):
            raise ValueError(f"input {i} has shape {bound.shape}, expected a scalar")
    return same(call)


def along_axis(default: int) -> Any:
    """Softmax and LogSoftmax, whose axis must be one."""

    def law(call: Call) -> Values:
        call.axis(len(call.first.shape), default)
        return same(call)

    return law


def running(call: Call) -> Values:
    """CumSum."""
    axis_of(call.constant(1), len(call.first.shape))
    call.flag("exclusive", 0), call.flag("reverse", 0)
    return same(call)


def normalised(call: Call) -> Values:
    """LayerNormalization over the last axes."""
    shape = call.first.shape
    wanted = shape[call.axis(len(shape), -1) :]
    for i in range(1, len(call.inputs)):
        value = call.given(i)
        if value is not None and value.shape != wanted:
            raise ValueError(f"input {i} has shape {value.shape}, expected {wanted}")
    call.needed(1)
    if call.whole("stash_type", 1) != 1:
        raise ValueError("stash_type must be 1, float32")
    return same(call)


def reduced(call: Call) -> Values:
    """ReduceSum and its kin."""
    shape, rank = call.first.shape, len(call.first.shape)
    axes = axes_of(call.constants(1), rank) if call.given(1) is not None else []
    keep = call.flag("keepdims", 1)
    if not axes:
        axes = [] if call.flag("noop_with_empty_axes", 0) else list(range(rank))
    return (Value(call.first.dtype, without(shape, axes, keep)),)


def without(shape: Shape, axes: list[int], keep: bool) -> Shape:
    """A shape whose axes are reduced."""
    if keep:
        return tuple(1 if i in axes else length for i, length in enumerate(shape))
    return tuple(length for i, length in enumerate(shape) if i not in axes)


def position(call: Call) -> Values:
    """ArgMax."""
    shape = call.first.shape
    call.flag("select_last_index", 0)
    return (Value("int64", without(shape, [call.axis(len(shape), 0)], call.flag("keepdims", 1))),)


def top(call: Call) -> Values:
    """TopK."""
    shape, k = call.first.shape, call.constant(1)
    axis = call.axis(len(shape), -1)
    call.flag("largest", 1)
    if not call.flag("sorted", 1):
        raise ValueError("sorted must be 1, which alone TensorRT takes")
    if not 1 <= k <= shape[axis]:
        raise ValueError(f"k is {k}, expected from 1 to the axis' length {shape[axis]}")
    result = (*shape[:axis], k, *shape[axis + 1 :])
    return Value(call.first.dtype, result), Value("int64", result)


def matrix_product(call: Call) -> Values:
    """MatMul, where an array of one axis is a row on the left, a column on the right."""
    a, b = call.first.shape, call.needed(1).shape
    if not a or not b:
        raise ValueError("a scalar has no matrix product")
    rows, columns = (a[-2:-1] if len(a) > 1 else ()), (b[-1:] if len(b) > 1 else ())
    if a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise ValueError(f"shapes {a} and {b} have no matrix product")
    return (Value(call.first.dtype, broadcast(a[:-2], b[:-2]) + rows + columns),)


def gemm(call: Call) -> Values:
    """A B + C, of matrices that may be transposed."""
    a, b = call.first.shape, call.needed(1).shape
    if len(a) != 2 or len(b) != 2:
        raise ValueError(f"shapes {a} and {b} are not both matrices")
    a = a[::-1] if call.flag("transA", 0) else a
    b = b[::-1] if call.flag("transB", 0) else b
    if a[1] != b[0]:
        raise ValueError(f"matrices {a} and {b} have no product")
    added = call.given(2)
    if added is not None:
        hold_stretch(added.shape, (a[0], b[1]), "input 2")
    return (Value(call.first.dtype, (a[0], b[1])),)


class Window(NamedTuple):
    """How a convolution's kernel moves, along every axis."""

    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape
    """Before and behind together."""

    @property
    def reach(self) -> Shape:
        """Elements from a kernel's first to its last."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def window(call: Call) -> Window:
    """The kernel of Conv and ConvTranspose, from its attributes."""
    kernel = call.needed(1).shape[2:]
    axes = len(kernel)
    if not 1 <= axes <= 3 or len(call.first.shape) != axes + 2:
        raise ValueError(f"shapes {call.first.shape} and {call.needed(1).shape} have no convolution")
    if call.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError("auto_pad must be NOTSET; pads tell the padding")
    if call.attributes.get("kernel_shape", list(kernel)) != list(kernel):
        raise ValueError(f"kernel_shape differs from the weights' {kernel}")
    strides, dilations = (_numbers(call, name, 1, [1] * axes, LARGEST_STEP) for name in ("strides", "dilations"))
    reach = max((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    pads = _numbers(call, "pads", 0, [0] * 2 * axes, reach - 1)
    return Window(kernel, strides, dilations, tuple(pads[i] + pads[axes + i] for i in range(axes)))


def _numbers(call: Call, name: str, least: int, default: list[int], most: int) -> Shape:
    """An attribute with a number for every axis."""
    values = call.attributes.get(name, default)
    if len(values) != len(default) or not all(least <= value <= most for value in values):
        raise ValueError(f"{name} {shown(values)} must be {len(default)} numbers from {least} to {most:,}")
    return tuple(values)


def _hold_columns(rows: int, columns: Shape, dtype: str) -> None:
    """What a convolution unfolds on its way may be no larger than a value."""
    size = rows * math.prod(columns) * ITEM_SIZES[dtype]
    if size > LARGEST_VALUE:
        raise ValueError(f"needs {size:,} bytes on its way, expected at most {LARGEST_VALUE:,}")


def _hold_bias(call: Call, channels: int) -> None:
    bias = call.given(2)
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"input 2 has shape {bias.shape}, expected ({channels},)")


def convolved(call: Call) -> Values:
    """Conv."""
    moves, groups = window(call), call.whole("group", 1)
    (batch, channels, *lengths), (made, taken, *_) = call.first.shape, call.needed(1).shape
    if groups < 1 or made % groups or channels != taken * groups:
        raise ValueError(f"{channels} channels do not fit weights for {taken} in each of {groups} groups of {made}")
    _hold_bias(call, made)
    result = tuple(
        (length + pad - reach) // stride + 1
        for length, pad, reach, stride in zip(lengths, moves.pads, moves.reach, moves.strides, strict=True)
    )
    if min(result) < 1:
        raise ValueError(f"a kernel of {moves.kernel} does not fit {tuple(lengths)}")
    _hold_columns(taken * math.prod(moves.kernel), result, call.first.dtype)
    return (Value(call.first.dtype, (batch, made, *result)),)


def convolved_back(call: Call) -> Values:
    """ConvTranspose."""
    moves, groups = window(call), call.whole("group", 1)
    (batch, channels, *lengths), (taken, made, *_) = call.first.shape, call.needed(1).shape
    if groups < 1 or channels != taken or channels % groups:
        raise ValueError(f"{channels} channels do not fit weights for {taken} in {groups} groups")
    _hold_bias(call, made * groups)
    more = _numbers(call, "output_padding", 0, [0] * len(lengths), LARGEST_STEP)
    if any(extra >= max(pair) for extra, *pair in zip(more, moves.strides, moves.dilations, strict=True)):
        raise ValueError(f"output_padding {more} is not below strides {moves.strides} or dilations {moves.dilations}")
    result = tuple(
        stride * (length - 1) + extra + reach - pad
        for length, extra, pad, reach, stride in zip(lengths, more, moves.pads, moves.reach, moves.strides, strict=True)
    )
    if min(result) < 1:
        raise ValueError(f"pads leave nothing of {tuple(lengths)}")
    _hold_columns(made * math.prod(moves.kernel), tuple(lengths), call.first.dtype)
    return (Value(call.first.dtype, (batch, made * groups, *result)),)

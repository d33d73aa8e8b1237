"""Laws of shape of the operators that move elements without computing: reshape, slice, gather and their kin."""

import math

import numpy as np

from wmctrl.runtime.onnx_shapes import (
    ITEM_SIZES,
    LARGEST_STEP,
    Call,
    Shape,
    Value,
    Values,
    axes_of,
    axis_of,
    broadcast,
    hold_indices,
)
from wmctrl.runtime.records import shown

CAST_TYPES = {1: "float32", 10: "float16", 7: "int64", 6: "int32", 9: "bool", 2: "uint8"}
"""Types by ONNX's number."""


def dtype_of(number: int) -> str:
    """A type by ONNX's number."""
    if number not in CAST_TYPES:
        raise ValueError(f"type {number} is not taken, only {', '.join(ITEM_SIZES)}")
    return CAST_TYPES[number]


def cast(call: Call) -> Values:
    """Cast."""
    return (Value(dtype_of(call.whole("to")), call.first.shape),)


def constant(call: Call) -> Values:
    """Constant."""
    if len(call.attributes) != 1:
        raise ValueError(f"must have one value, came {shown(sorted(call.attributes))}")
    ((name, value),) = call.attributes.items()
    if name == "value":
        return (value,)
    array = np.array(value, np.float32 if "float" in name else np.int64)
    return (Value(array.dtype.name, array.shape, memoryview(array.tobytes())),)


def filled(call: Call) -> Values:
    """ConstantOfShape."""
    value = call.attributes.get("value")
    if value is not None and math.prod(value.shape) != 1:
        raise ValueError(f"value has shape {value.shape}, expected one element")
    return (Value("float32" if value is None else value.dtype, tuple(call.constants(0))),)


def expanded(call: Call) -> Values:
    """Expand."""
    return (Value(call.first.dtype, broadcast(call.first.shape, tuple(call.constants(1)))),)


def reshaped(call: Call) -> Values:
    """Reshape, where 0 copies a length and -1 stands for the one that is left."""
    shape, wanted = call.first.shape, call.constants(1)
    if not call.flag("allowzero", 0):
        if any(length == 0 and i >= len(shape) for i, length in enumerate(wanted)):
            raise ValueError(f"{shown(wanted)} copies an axis that {shape} does not have")
        wanted = [shape[i] if length == 0 else length for i, length in enumerate(wanted)]
    known = math.prod(length for length in wanted if length != -1)
    if -1 in wanted and known > 0:
        wanted[wanted.index(-1)] = math.prod(shape) // known
    if min(wanted, default=1) < 1 or math.prod(wanted) != math.prod(shape):
        raise ValueError(f"{shape} does not become {shown(call.constants(1))}")
    return (Value(call.first.dtype, tuple(wanted)),)


def flattened(call: Call) -> Values:
    """Flatten."""
    shape = call.first.shape
    axis = call.whole("axis", 1)
    axis = len(shape) if axis == len(shape) else axis_of(axis, len(shape))
    return (Value(call.first.dtype, (math.prod(shape[:axis]), math.prod(shape[axis:]))),)


def squeezed(call: Call) -> Values:
    """Squeeze."""
    shape = call.first.shape
    axes = [i for i, length in enumerate(shape) if length == 1]
    if call.given(1) is not None:
        axes = axes_of(call.constants(1), len(shape))
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {shown(axes)} of {shape} are not all of length 1")
    return (Value(call.first.dtype, tuple(length for i, length in enumerate(shape) if i not in axes)),)


def unsqueezed(call: Call) -> Values:
    """Unsqueeze."""
    axes = call.constants(1)
    rank = len(call.first.shape) + len(axes)
    new, old = axes_of(axes, rank), iter(call.first.shape)
    return (Value(call.first.dtype, tuple(1 if i in new else next(old) for i in range(rank))),)


def transposed(call: Call) -> Values:
    """Transpose."""
    shape = call.first.shape
    order = call.attributes.get("perm", list(range(len(shape)))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"perm {shown(order)} is not an order of {len(shape)} axes")
    return (Value(call.first.dtype, tuple(shape[axis] for axis in order)),)


def joined(call: Call) -> Values:
    """Concat."""
    shapes = [call.needed(i).shape for i in range(len(call.inputs))]
    axis = call.axis(len(shapes[0]))
    before, behind = shapes[0][:axis], shapes[0][axis + 1 :]
    for shape in shapes:
        if len(shape) != len(shapes[0]) or shape[:axis] != before or shape[axis + 1 :] != behind:
            raise ValueError(f"shapes {shapes[0]} and {shape} do not join along axis {axis}")
    return (Value(call.first.dtype, (*before, sum(shape[axis] for shape in shapes), *behind)),)


def divided(call: Call) -> Values:
    """Split, by sizes or into equal parts of which the last may be smaller."""
    shape = call.first.shape
    axis = call.axis(len(shape), 0)
    length = shape[axis]
    if (call.given(1) is None) == ("num_outputs" not in call.attributes):
        raise ValueError("must have either sizes or num_outputs")
    if call.given(1) is not None:
        sizes = call.constants(1, call.outputs)
    elif call.whole("num_outputs") == call.outputs:
        each = -(-length // call.outputs)
        sizes = [each] * (call.outputs - 1) + [length - each * (call.outputs - 1)]
    else:
        raise ValueError(f"num_outputs is {call.whole('num_outputs')}, and there are {call.outputs}")
    if len(sizes) != call.outputs or sum(sizes) != length or min(sizes) < 1:
        raise ValueError(f"an axis of {length} does not split into {shown(sizes)} for {call.outputs} outputs")
    return tuple(Value(call.first.dtype, (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes)


def sliced(call: Call) -> Values:
    """Slice; bounds beyond an axis mean its end, as in Python."""
    result = list(call.first.shape)
    starts, ends = call.constants(1), call.constants(2)
    axes = axes_of(call.constants(3) if call.given(3) else list(range(len(starts))), len(result))
    steps = call.constants(4) if call.given(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError("starts, ends, axes and steps are not equally many")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not 1 <= abs(step) <= LARGEST_STEP:
            raise ValueError(f"a step is {step}, expected from 1 to {LARGEST_STEP:,} in size")
        result[axis] = len(range(*slice(start, end, step).indices(result[axis])))
    return (Value(call.first.dtype, tuple(result)),)


def gathered(call: Call) -> Values:
    """Gather."""
    shape, indices = call.first.shape, call.needed(1)
    axis = call.axis(len(shape), 0)
    hold_indices(indices, shape[axis])
    return (Value(call.first.dtype, shape[:axis] + indices.shape + shape[axis + 1 :]),)


def gathered_singly(call: Call) -> Values:
    """GatherElements."""
    indices = call.needed(1)
    _hold_within(indices, call.first.shape, call.axis(len(call.first.shape), 0))
    return (Value(call.first.dtype, indices.shape),)


def scattered(call: Call) -> Values:
    """ScatterElements."""
    indices, updates = call.needed(1), call.needed(2)
    _hold_within(indices, call.first.shape, call.axis(len(call.first.shape), 0))
    if updates.shape != indices.shape:
        raise ValueError(f"updates of shape {updates.shape} do not fit indices of {indices.shape}")
    reduction = call.attributes.get("reduction", "none")
    if reduction not in ("none", "add", "mul", "max", "min"):
        raise ValueError(f"reduction {shown(reduction)} must be none, add, mul, max or min")
    return (Value(call.first.dtype, call.first.shape),)


def _hold_within(indices: Value, shape: Shape, axis: int) -> None:
    """Indices along one axis stay within the array along the others."""
    others = [i for i in range(len(shape)) if i != axis]
    if len(indices.shape) != len(shape) or any(indices.shape[i] > shape[i] for i in others):
        raise ValueError(f"indices of shape {indices.shape} do not fit {shape} along axis {axis}")
    hold_indices(indices, shape[axis])


def gathered_deeply(call: Call) -> Values:
    """GatherND."""
    shape, indices, batch = call.first.shape, call.needed(1), call.whole("batch_dims", 0)
    if not 0 <= batch < min(len(shape), len(indices.shape)) or shape[:batch] != indices.shape[:batch]:
        raise ValueError(f"batch_dims {batch} do not fit {shape} and indices of {indices.shape}")
    depth = indices.shape[-1]
    if not 1 <= depth <= len(shape) - batch:
        raise ValueError(f"indices of shape {indices.shape} reach deeper than {shape}")
    hold_indices(indices, *shape[batch : batch + depth])
    return (Value(call.first.dtype, indices.shape[:-1] + shape[batch + depth :]),)

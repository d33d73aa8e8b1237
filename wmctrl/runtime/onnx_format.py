"""What stands in an ONNX file: its messages, and those of them that make sense alone."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from wmctrl.runtime.onnx_moves import dtype_of
from wmctrl.runtime.onnx_operators import AttributeKind
from wmctrl.runtime.onnx_shapes import MOST_DIMENSIONS, Shape, Value
from wmctrl.runtime.protobuf import Reader, Span, layout
from wmctrl.runtime.records import shown

LONGEST_AXIS = 1 << 28
"""Elements."""

MODEL = layout(
    "a model",
    ir_version=(1, "integer"),
    producer_name=(2, "text"),
    producer_version=(3, "text"),
    domain=(4, "text"),
    model_version=(5, "integer"),
    doc_string=(6, "aside"),
    graph=(7, "span"),
    opset_import=(8, "span", "repeated"),
    metadata_props=(14, "aside", "repeated"),
    training_info=(20, "refused"),
    functions=(25, "refused"),
    configuration=(26, "refused"),
)
OPSETS = layout("an opset", domain=(1, "text"), version=(2, "integer"))
GRAPH = layout(
    "a graph",
    node=(1, "span", "repeated"),
    name=(2, "text"),
    initializer=(5, "span", "repeated"),
    doc_string=(10, "aside"),
    input=(11, "span", "repeated"),
    output=(12, "span", "repeated"),
    value_info=(13, "refused"),
    quantization_annotation=(14, "refused"),
    sparse_initializer=(15, "refused"),
    metadata_props=(16, "aside", "repeated"),
)
NODE = layout(
    "a node",
    input=(1, "text", "repeated"),
    output=(2, "text", "repeated"),
    name=(3, "text"),
    op_type=(4, "text"),
    attribute=(5, "span", "repeated"),
    doc_string=(6, "aside"),
    domain=(7, "text"),
    overload=(8, "refused"),
    metadata_props=(9, "aside", "repeated"),
    device_configurations=(10, "refused"),
)
ATTRIBUTE = layout(
    "an attribute",
    name=(1, "text"),
    f=(2, "float"),
    i=(3, "integer"),
    s=(4, "text"),
    t=(5, "span"),
    g=(6, "refused"),
    floats=(7, "float", "repeated"),
    ints=(8, "integer", "repeated"),
    strings=(9, "refused"),
    tensors=(10, "refused"),
    graphs=(11, "refused"),
    doc_string=(13, "aside"),
    tp=(14, "refused"),
    type_protos=(15, "refused"),
    type=(20, "integer"),
    ref_attr_name=(21, "refused"),
    sparse_tensor=(22, "refused"),
    sparse_tensors=(23, "refused"),
)
TENSOR = layout(
    "a tensor",
    dims=(1, "integer", "repeated"),
    data_type=(2, "integer"),
    segment=(3, "refused"),
    float_data=(4, "refused"),
    int32_data=(5, "refused"),
    string_data=(6, "refused"),
    int64_data=(7, "refused"),
    name=(8, "text"),
    raw_data=(9, "span"),
    double_data=(10, "refused"),
    uint64_data=(11, "refused"),
    doc_string=(12, "aside"),
    external_data=(13, "refused"),
    data_location=(14, "integer"),
    metadata_props=(16, "aside", "repeated"),
)
PORT = layout(
    "an input or output",
    name=(1, "text"),
    type=(2, "span"),
    doc_string=(3, "aside"),
    metadata_props=(4, "aside", "repeated"),
)
TYPE = layout(
    "a type",
    tensor_type=(1, "span"),
    sequence_type=(4, "refused"),
    map_type=(5, "refused"),
    denotation=(6, "text"),
    opaque_type=(7, "refused"),
    sparse_tensor_type=(8, "refused"),
    optional_type=(9, "refused"),
)
TENSOR_TYPE = layout("a tensor's type", elem_type=(1, "integer"), shape=(2, "span"))
SHAPE = layout("a shape", dim=(1, "span", "repeated"))
DIMENSION = layout("a dimension", dim_value=(1, "integer"), dim_param=(2, "text"), denotation=(3, "text"))
ATTRIBUTE_KINDS: Mapping[int, tuple[AttributeKind, str]] = {
    1: ("float", "f"),
    2: ("whole", "i"),
    3: ("text", "s"),
    4: ("tensor", "t"),
    6: ("floats", "floats"),
    7: ("wholes", "ints"),
}
"""Kinds of attributes by ONNX's number, and the field with the value."""


class Port(NamedTuple):
    """An input, an output or a parameter of a graph."""

    name: str
    dtype: str
    """As numpy names it."""
    shape: Shape


class Attribute(NamedTuple):
    """An attribute of a node."""

    name: str
    kind: AttributeKind
    value: Any


def port(reader: Reader, span: Span) -> Port:
    """An input or output, whose shape must be told in numbers."""
    found = reader.message(span, PORT)
    name = found.get("name", "")
    try:
        kind = reader.message(found.get("type", (0, 0)), TYPE)
        array = reader.message(kind.get("tensor_type", (0, 0)), TENSOR_TYPE)
        if "shape" not in array:
            raise ValueError("has no shape")
        spans = reader.message(array["shape"], SHAPE).get("dim", [])
        lengths = [reader.message(dimension, DIMENSION).get("dim_value") for dimension in spans]
        return Port(name, dtype_of(array.get("elem_type", 0)), _shape(lengths))
    except ValueError as error:
        raise ValueError(f"{shown(name)}: {error}") from None


def tensor(reader: Reader, span: Span) -> tuple[str, Value]:
    """A constant and its name, which may be empty."""
    found = reader.message(span, TENSOR)
    name = found.get("name", "")
    try:
        if found.get("data_location", 0) != 0:
            raise ValueError("lies in another file, expected in this one")
        dtype, shape = dtype_of(found.get("data_type", 0)), _shape(found.get("dims", []))
        begin, end = found.get("raw_data", (0, 0))
        value = Value(dtype, shape, memoryview(reader.content)[begin:end])
        if end - begin != value.bytes:
            raise ValueError(f"has {end - begin:,} bytes in raw_data, expected {value.bytes:,} for {dtype} {shape}")
        if dtype == "bool" and np.frombuffer(reader.content, np.uint8, end - begin, begin).max(initial=0) > 1:
            raise ValueError("has bytes other than 0 and 1, expected truth values")
        return name, value
    except ValueError as error:
        raise ValueError(f"tensor {shown(name)}: {error}") from None


def attribute(reader: Reader, span: Span) -> Attribute:
    """An attribute, of whatever kind its type says."""
    found = reader.message(span, ATTRIBUTE)
    name, number = found.pop("name", ""), found.pop("type", 0)
    found.pop("doc_string", None)
    if number not in ATTRIBUTE_KINDS:
        raise ValueError(f"attribute {shown(name)} is of type {number}, expected one of {list(ATTRIBUTE_KINDS)}")
    kind, place = ATTRIBUTE_KINDS[number]
    if not found and kind in ("floats", "wholes"):
        return Attribute(name, kind, [])
    if found.keys() != {place}:
        raise ValueError(f"attribute {shown(name)} has {', '.join(found) or 'no value'}, expected {place}")
    return Attribute(name, kind, tensor(reader, found["t"])[1] if kind == "tensor" else found[place])


def _shape(lengths: list[int | None]) -> Shape:
    """Lengths of axes that an array may have; 0 alone stands for an empty list."""
    if len(lengths) > MOST_DIMENSIONS:
        raise ValueError(f"has {len(lengths)} axes, expected at most {MOST_DIMENSIONS}")
    known = tuple(length for length in lengths if length is not None)
    if (
        len(known) < len(lengths)
        or (min(known, default=1) < 1 and known != (0,))
        or max(known, default=1) > LONGEST_AXIS
    ):
        told = ", ".join("?" if length is None else str(length) for length in lengths)
        raise ValueError(f"has shape ({told}), expected numbers from 1 to {LONGEST_AXIS:,}")
    return known

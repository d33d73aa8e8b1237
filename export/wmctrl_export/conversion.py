"""From a module to an ONNX graph that every runtime takes: static shapes, one opset, no functions."""

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir
import torch
from onnx_ir.passes import common
from onnxscript import opset18 as opset
from onnxscript import optimizer
from onnxscript.values import TracedOnnxFunction
from torch import Tensor

from wmctrl.runtime.engine import TRANSPOSED
from wmctrl.runtime.manifest import PRECISIONS
from wmctrl_export.graphs import Graph
from wmctrl_export.precision import halve

OPSET = 18
IR_VERSION = 8
"""Of the ONNX format, as old as the opset: an ONNX Runtime of some years ago refuses a newer one unread."""
LARGEST_FOLDED = 1 << 16
"""Elements of the largest constant that folding may make."""

TIDYING = (
    common.RemoveUnusedNodesPass(),
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    common.DeduplicateInitializersPass(),
    common.CommonSubexpressionEliminationPass(),
    common.ClearMetadataAndDocStringPass(),
)
"""What follows the folding of constants. The exporter's own rewriting of patterns is left out: it takes as long as all
the rest together, and ONNX Runtime, which fuses what it knows when it loads a graph, is no faster for it."""


def cumprod(x: Any, dim: int) -> Any:
    """Running products, one after another: ONNX has no operator for them."""
    steps = x.shape[dim]
    first, *others = opset.Split(x, num_outputs=steps, axis=dim) if steps > 1 else (x,)
    products = [first]
    for other in others:
        products.append(opset.Mul(products[-1], other))
    return opset.Concat(*products, axis=dim)


def lerp(start: Any, end: Any, weight: Any) -> Any:
    """start + weight (end - start), in three operators; torch's own takes twice as many to save a rounding."""
    return opset.Add(start, opset.Mul(weight, opset.Sub(end, start)))


def logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    """ln sum exp, with the largest term taken out first."""
    largest = opset.ReduceMax(x, dim, keepdims=True)
    total = opset.Add(opset.Log(opset.ReduceSum(opset.Exp(opset.Sub(x, largest)), dim, keepdims=True)), largest)
    return total if keepdim else opset.Squeeze(total, dim)


def unbind(x: Any, dim: int = 0) -> list[Any]:
    """One part for every index along an axis, looked up; torch's own cuts each out, and squeezes it."""
    lookup: Callable[..., Any] = opset.Gather  # whose own types know of no number as an index
    return [lookup(x, index, axis=dim) for index in range(x.shape[dim])]


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.cumprod.default: cumprod,
    torch.ops.aten.lerp.Tensor: lerp,
    torch.ops.aten.lerp.Scalar: lerp,
    torch.ops.aten.logsumexp.default: logsumexp,
    torch.ops.aten.unbind.int: unbind,
}
"""What torch's own exporter has no, or a slow, translation for."""
SIGNATURE = "function_ir"
"""What the exporter parses of the source of its own translations."""
PARSED = property(functools.cache(vars(TracedOnnxFunction)[SIGNATURE].fget))
"""The same, parsed once."""


def converted(graph: Graph, precision: str = "fp32") -> bytes:
    """The serialised ONNX model of a graph, whose networks compute in a precision of PRECISIONS."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be {' or '.join(PRECISIONS)}, came {precision}")
    with quiet(), parsed_once(), torch.no_grad():
        identifiers = {name.replace(".", "__"): value for name, value in graph.inputs.items()}
        program = torch.onnx.export(
            torch.export.export(graph.module, (), identifiers),
            custom_translation_table=TRANSLATIONS,
            dynamo=True,
            opset_version=OPSET,
            optimize=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False,
        )
        assert program is not None, "only exports to a file return nothing"
        model = program.model
        expose(model, dict(graph.module.named_parameters()))
        common.ShapeInferencePass()(model)
        optimizer.fold_constants(model, output_size_limit=LARGEST_FOLDED)
        for tidy in TIDYING:
            tidy(model)
        if precision == "fp16":
            halve(model)
    return serialised(model)


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Have the exporter parse its 500 translations for the first graph alone: it would for each, a second each time."""
    parses = vars(TracedOnnxFunction)[SIGNATURE]
    setattr(TracedOnnxFunction, SIGNATURE, PARSED)
    try:
        yield
    finally:
        setattr(TracedOnnxFunction, SIGNATURE, parses)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what exporters say of their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def expose(model: onnx_ir.Model, parameters: Mapping[str, Tensor]) -> None:
    """Make a network's parameters inputs as well, so that others can be given at run time.

    One that is used transposed is held so, and named with `TRANSPOSED` at the end. Nothing is folded into an input, so
    each stays what others can be given for; on a CPU the runtime makes constants of them when it loads a graph.
    """
    graph = model.graph
    for name in parameters:
        value = graph.initializers.get(name)
        if value is None or not value.uses():
            continue
        users = [use.node for use in value.uses()]
        turned = all(node.op_type == "Transpose" for node in users)
        if turned:
            assert value.const_value is not None, "an initialiser has a value"
            array = np.ascontiguousarray(value.const_value.numpy().T)
            value = onnx_ir.val(name + TRANSPOSED, const_value=onnx_ir.tensor(array, name=name + TRANSPOSED))
            graph.register_initializer(value)
            for node in users:
                onnx_ir.convenience.replace_all_uses_with(node.outputs[0], value)
        graph.inputs.append(value)


def serialised(model: onnx_ir.Model) -> bytes:
    """A model's bytes, without what only debugging needs."""
    proto = onnx_ir.to_proto(model)
    proto.graph.ClearField("value_info")
    proto.ClearField("metadata_props")
    proto.ir_version = IR_VERSION
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()

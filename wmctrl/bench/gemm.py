"""Matrix products: which ones a piece of torch code computes."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten
Shape = Sequence[int]


class Gemm(NamedTuple):
    """A batch of products of (rows, inner) with (inner, columns)."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiplication and an addition counted apart."""
        return 2 * self.batch * self.rows * self.inner * self.columns


def total_flops(gemms: Mapping[Gemm, int]) -> int:
    """Of all products, each as often as it is computed."""
    return sum(count * gemm.flops for gemm, count in gemms.items())


def products_of(call: Callable[[], object]) -> Counter[Gemm]:
    """The matrix products of one call by size, those of its backward passes and of its convolutions included."""
    gemms: Counter[Gemm] = Counter()

    def counted(*found: Gemm) -> int:
        gemms.update(found)
        return sum(gemm.flops for gemm in found)

    # The counter calls a formula with the operator's arguments, and shapes in the place of tensors.
    formulas: dict[Any, Callable[..., int]] = {
        aten.mm: lambda left, right, **_: counted(_product(left, right)),
        aten.bmm: lambda left, right, **_: counted(_product(left, right)),
        aten.addmm: lambda _bias, left, right, **_: counted(_product(left, right)),
        aten.baddbmm: lambda _bias, left, right, **_: counted(_product(left, right)),
        aten.convolution: lambda *args, out_shape, **_: counted(_convolution(args, out_shape)),
        aten.convolution_backward: lambda *args, **_: counted(*_convolution_backward(args)),
    }
    with FlopCounterMode(display=False, custom_mapping=formulas):
        call()
    return gemms


def _product(left: Shape, right: Shape) -> Gemm:
    return Gemm(math.prod(left[:-2]), left[-2], left[-1], right[-1])


def _convolution(args: Sequence[Any], result: Shape) -> Gemm:
    """The product that a convolution is, of kernels and patches of the finer picture.

    Args:
        args: Input, weight, bias, stride, padding, dilation, whether transposed, and more.
    """
    source, weight, transposed = args[0], args[1], args[6]
    gemm = _patches(source if transposed else result, weight)
    return gemm._replace(inner=gemm.columns, columns=gemm.inner) if transposed else gemm


def _convolution_backward(args: Sequence[Any]) -> Iterator[Gemm]:
    """The products of its gradient.

    Args:
        args: Gradient, input, weight, bias sizes, stride, padding, dilation, whether transposed, output padding,
            groups, and which gradients are wanted.
    """
    gradient, source, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    gemm = _patches(source if transposed else gradient, weight)
    if wanted[0]:
        yield gemm if transposed else gemm._replace(inner=gemm.columns, columns=gemm.inner)
    if wanted[1]:
        yield gemm._replace(rows=gemm.columns, inner=gemm.rows, columns=gemm.inner)


def _patches(coarse: Shape, weight: Shape) -> Gemm:
    """Patches of the finer picture, one for each pixel of the coarser, times kernels."""
    return Gemm(1, coarse[0] * math.prod(coarse[2:]), math.prod(weight[1:]), weight[0])

"""Matrix products: which ones a piece of code computes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
LEFT_OPERAND = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1}
"""Position of the left matrix among an operator's arguments; the right one follows it."""


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


class GemmRecorder(TorchDispatchMode):
    """While entered, counts the operators that run, and the matrix products among them by size."""

    def __init__(self) -> None:
        super().__init__()
        self.gemms: Counter[Gemm] = Counter()
        self.operators = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        self.gemms.update(_products(getattr(func, "overloadpacket", None), args, result))
        return result


def _products(operator: object, args: Sequence[Any], result: Any) -> Iterator[Gemm]:
    """The matrix products one call of an operator amounts to."""
    if operator in LEFT_OPERAND:
        left, right = args[LEFT_OPERAND[operator] :][:2]
        yield Gemm(left.shape[0] if left.dim() == 3 else 1, left.shape[-2], left.shape[-1], right.shape[-1])
    elif operator is aten.convolution:
        source, weight, transposed = args[0], args[1], args[6]
        yield _convolution(source if transposed else result, weight)
    elif operator is aten.convolution_backward:
        gradient, source, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
        gemm = _convolution(source if transposed else gradient, weight)
        if wanted[0]:
            yield gemm._replace(inner=gemm.columns, columns=gemm.inner)
        if wanted[1]:
            yield gemm._replace(rows=gemm.columns, inner=gemm.rows, columns=gemm.inner)


def _convolution(coarse: Tensor, weight: Tensor) -> Gemm:
    """A convolution as the product of its unfolded fine side with its kernels; `coarse` is the other side."""
    pixels = coarse.shape[0] * coarse.shape[2] * coarse.shape[3]
    return Gemm(1, pixels, weight[0].numel(), weight.shape[0])

"""Derivatives that torch takes in one operator, and what these need of the way there, in operators that ONNX has."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

aten = torch.ops.aten


def layer_norm(
    x: Tensor, shape: list[int], weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The layer with the mean and the inverse std that its derivative needs: ONNX's operator keeps them to itself."""
    inner = list(range(x.dim() - len(shape), x.dim()))
    mean = x.mean(inner, keepdim=True)
    centred = x - mean
    inverse_std = torch.reciprocal(torch.sqrt((centred * centred).mean(inner, keepdim=True) + epsilon))
    return centred * inverse_std * weight + bias, mean, inverse_std


def layer_norm_backward(
    gradient: Tensor,
    x: Tensor,
    shape: list[int],
    mean: Tensor,
    inverse_std: Tensor,
    weight: Tensor,
    bias: Tensor,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the layer's input, weight and bias (Ba et al. 2016)."""
    outer, inner = list(range(x.dim() - len(shape))), list(range(x.dim() - len(shape), x.dim()))
    normal = (x - mean) * inverse_std
    scaled = gradient * weight
    along = normal * (scaled * normal).mean(inner, keepdim=True)
    of_x = (scaled - scaled.mean(inner, keepdim=True) - along) * inverse_std
    return of_x, (gradient * normal).sum(outer), gradient.sum(outer)


def sigmoid(gradient: Tensor, y: Tensor) -> Tensor:
    """y' = y (1 - y)"""
    return gradient * (y * (1.0 - y))


def tanh(gradient: Tensor, y: Tensor) -> Tensor:
    """y' = 1 - y^2"""
    return gradient * (1.0 - y * y)


def softmax(gradient: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """dx = y (dy - sum of y dy)"""
    weighed = gradient * y
    return weighed - y * weighed.sum(dim, keepdim=True)


def log_softmax(gradient: Tensor, y: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """dx = dy - exp(y) sum of dy"""
    return gradient - y.exp() * gradient.sum(dim, keepdim=True)


def cut(gradient: Tensor, size: list[int], dim: int, start: int, end: int, step: int) -> Tensor:
    """Of what a slice was cut from (size): zeros around it."""
    assert step == 1, "nothing here skips elements"
    return surrounded(gradient, size, dim, start, min(end, size[dim]))


def selected(gradient: Tensor, size: list[int], dim: int, index: int) -> Tensor:
    """Of what one index was selected from (size): zeros around it."""
    start = index % size[dim]
    return surrounded(gradient.unsqueeze(dim), size, dim, start, start + 1)


def surrounded(x: Tensor, size: list[int], dim: int, start: int, end: int) -> Tensor:
    """A tensor of some size that is x from `start` to `end` along an axis and 0 elsewhere."""
    before, after = list(size), list(size)
    before[dim], after[dim] = start, size[dim] - end
    return torch.cat([x.new_zeros(before), x, x.new_zeros(after)], dim)


def with_selected(x: Tensor, part: Tensor, dim: int, index: int) -> Tensor:
    """x with one index replaced by `part`."""
    index %= x.shape[dim]
    rest = x.shape[dim] - index - 1
    return torch.cat([x.narrow(dim, 0, index), part.unsqueeze(dim), x.narrow(dim, index + 1, rest)], dim)


def added_at(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """x with `source` added at some indices of the last axis, as a product with ones and zeros."""
    assert dim in (-1, x.dim() - 1), "nothing here selects along another axis"
    place = (index.unsqueeze(-1) == torch.arange(x.shape[-1], device=x.device)).to(x.dtype)
    return x + source @ place


def looked_up(gradient: Tensor, index: Tensor, rows: int, padding: int, by_frequency: bool) -> Tensor:
    """Of a table (rows, D), some of whose rows were looked up: what came back, added up where it was found."""
    assert (padding, by_frequency) == (-1, False), "nothing here leaves rows out, or weighs them"
    came = gradient.flatten(0, -2)
    return came.new_zeros(rows, came.shape[-1]).scatter_add(0, index.flatten().unsqueeze(-1).expand_as(came), came)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + exp(beta x)) / beta, which no x is too large for."""
    scaled = beta * x
    return (scaled.clamp_min(0.0) + (1.0 + (-scaled.abs()).exp()).log()) / beta


def softplus_backward(gradient: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    """Of ln(1 + exp(beta x)) / beta."""
    return gradient * torch.sigmoid(beta * x)


def convolution(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    wanted: list[bool],
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Of the input, where it is wanted, the kernel and the bias of a convolution over pictures (B, c, h, w).

    A kernel's gradient is a convolution as well: of what was convolved, by what came back, strides become dilations.
    """
    assert (dilation, output_padding, groups) == ([1, 1], [0, 0], 1), "nothing here convolves otherwise"
    moved, fixed = (gradient, x) if transposed else (x, gradient)
    for dim, margin in zip((2, 3), padding, strict=True):  # by hand: operators take no margin as wide as a kernel
        size = [*moved.shape]
        size[dim] += 2 * margin
        moved = surrounded(moved, size, dim, margin, size[dim] - margin)
    of_kernel = conv2d(moved.transpose(0, 1), fixed.transpose(0, 1), dilation=stride).transpose(0, 1)
    of_kernel = of_kernel[..., : weight.shape[-2], : weight.shape[-1]]
    of_input = None
    if wanted[0] and transposed:
        of_input = conv2d(gradient, weight, stride=stride, padding=padding)
    elif wanted[0]:
        reached = [
            (n - 1) * s - 2 * p + k
            for n, s, p, k in zip(gradient.shape[2:], stride, padding, weight.shape[2:], strict=True)
        ]
        left = [size - covered for size, covered in zip(x.shape[2:], reached, strict=True)]
        of_input = conv_transpose2d(gradient, weight, stride=stride, padding=padding, output_padding=left)
    return of_input, of_kernel, gradient.sum([0, 2, 3])


def running_maximum(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The largest so far, one after another; where it was found is not told."""
    largest = [x.select(dim, 0)]
    for step in range(1, x.shape[dim]):
        largest.append(torch.maximum(largest[-1], x.select(dim, step)))
    values = torch.stack(largest, dim)
    return values, torch.zeros_like(values, dtype=torch.int64)


DERIVATIVES: dict[Any, Callable[..., Any]] = {
    aten.native_layer_norm.default: layer_norm,
    aten.native_layer_norm_backward.default: layer_norm_backward,
    aten.sigmoid_backward.default: sigmoid,
    aten.tanh_backward.default: tanh,
    aten._softmax_backward_data.default: softmax,
    aten._log_softmax_backward_data.default: log_softmax,
    aten.slice_backward.default: cut,
    aten.select_backward.default: selected,
    aten.select_scatter.default: with_selected,
    aten.softplus.default: softplus,
    aten.softplus_backward.default: softplus_backward,
    aten.index_add.default: added_at,
    aten.embedding_dense_backward.default: looked_up,
    aten.convolution_backward.default: convolution,
    aten.cummax.default: running_maximum,
}

"""A classifier of images as a function with gradients: of a batch, to learn from, and of single images, to weigh."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap

from wmctrl.bench.digits import Samples
from wmctrl.runtime.descent import Parameters

AT_ONCE = 50
"""Images whose gradients are computed together."""


def initial(sizes: Sequence[int], rng: np.random.Generator) -> Parameters:
    """Weights and biases of linear layers between so many pixels, hidden units and classes (He et al. 2015)."""
    found = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weights = rng.standard_normal((outputs, inputs)) * np.sqrt(2.0 / inputs)
        found[f"weights {layer}"] = weights.astype(np.float32)
        found[f"biases {layer}"] = np.zeros(outputs, np.float32)
    return found


def logits(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Of the classes (n, classes)."""
    last, found = len(parameters) // 2 - 1, images
    for layer in range(last + 1):
        found = F.linear(found, parameters[f"weights {layer}"], parameters[f"biases {layer}"])
        found = found if layer == last else torch.relu(found)
    return found


def loss(parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood."""
    return F.cross_entropy(logits(parameters, images), labels)


def tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The same numbers for PyTorch."""
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def gradient(parameters: Parameters, samples: Samples) -> Parameters:
    """Of the loss of a batch."""
    leaves = {name: value.requires_grad_() for name, value in tensors(parameters).items()}
    lost = loss(leaves, torch.from_numpy(samples.images), torch.from_numpy(samples.labels))
    found = torch.autograd.grad(lost, list(leaves.values()))
    return {name: value.numpy() for name, value in zip(leaves, found, strict=True)}


def predicted(parameters: Parameters, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of some images (n, classes)."""
    with torch.no_grad():
        return logits(tensors(parameters), torch.from_numpy(images)).numpy()


def accuracy(parameters: Parameters, samples: Samples) -> float:
    """Share of images whose class is told."""
    return float((predicted(parameters, samples.images).argmax(1) == samples.labels).mean())


def single_gradients(
    parameters: Parameters, images: NDArray[np.float32], rng: np.random.Generator
) -> Iterator[Parameters]:
    """Of the log-likelihood of each image's label, drawn from what the classifier itself believes.

    The mean of their squares is the Fisher information, which true labels would give only where beliefs are right.
    """
    found = predicted(parameters, images)
    labels = (found + rng.gumbel(size=found.shape)).argmax(1)  # a draw from the softmax
    of_each = vmap(grad(_loss_of_one), in_dims=(None, 0, 0))
    for begin in range(0, len(labels), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        batch = of_each(tensors(parameters), torch.from_numpy(images[part]), torch.from_numpy(labels[part]))
        for index in range(len(labels[part])):
            yield {name: value[index].numpy() for name, value in batch.items()}


def _loss_of_one(parameters: Mapping[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
    return loss(parameters, image[None], label[None])

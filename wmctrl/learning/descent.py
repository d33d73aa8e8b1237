"""Optimisers by name: one step down a gradient, and what must be kept to go on later."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer


class Descent:
    """The optimisers of several parts, each moving its own parameters alone."""

    def __init__(self, optimizers: Mapping[str, Optimizer], clip: float) -> None:
        """
        Args:
            clip: Largest norm of the gradient of one step.
        """
        self.optimizers, self.clip = dict(optimizers), clip

    def set_rate(self, name: str, rate: float) -> None:
        """Learning rate of one optimiser from now on."""
        for group in self.optimizers[name].param_groups:
            group["lr"] = rate

    def step(self, loss: Tensor, *names: str) -> None:
        """One step down the gradient of a scalar loss with the named optimisers.

        Raises:
            ValueError: The loss or its gradient is not finite; nothing has moved.
        """
        if not torch.isfinite(loss):
            raise ValueError(f"a loss became {float(loss.detach())}")
        optimizers = [self.optimizers[name] for name in names]
        parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None and gradient.stride() != parameter.stride():
                gradient = _laid_out_as(parameter, gradient)
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        if not torch.isfinite(norm):
            raise ValueError(f"the gradient of a loss of {float(loss.detach()):g} became {float(norm)}")
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, NDArray[Any]]:
        """The moments, by optimiser, number of the parameter and name."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, optimizer in self.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                arrays |= {f"{name}.{index}.{key}": np.asarray(value.cpu()) for key, value in moments.items()}
        return arrays

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from another's `state`; entries under other names are left alone."""
        for name, optimizer in self.optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, tensor in below(tensors, name).items():
                index, moment = key.split(".")
                moments.setdefault(int(index), {})[moment] = tensor
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
            for parameter, kept in optimizer.state.items():
                for key, moment in kept.items():
                    if moment.shape == parameter.shape:
                        kept[key] = _laid_out_as(parameter, moment)


def _laid_out_as(parameter: Tensor, values: Tensor) -> Tensor:
    """A copy with the parameter's strides: fused Adam pairs memory whatever the strides, or refuses, on a GPU."""
    return torch.empty_like(parameter).copy_(values)


def below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Entries of one part, without its name in front."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}

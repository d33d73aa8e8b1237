"""Small feed-forward networks that every other module is made of."""

import torch
from torch import Tensor, nn


def mlp(inputs: int, units: int, layers: int, outputs: int | None = None, *, zero_last: bool = False) -> nn.Sequential:
    """`layers` blocks of linear, LayerNorm, SiLU, then a plain linear layer when `outputs` is given.

    LayerNorm rather than RMSNorm, because it is one kernel forward and one backward on a CPU. The first linear layer
    has a bias: LayerNorm after a purely linear map of the inputs would see their direction but not their size.

    Args:
        zero_last: Start the last layer at zero, so that an untrained head predicts its neutral value.
    """
    modules: list[nn.Module] = []
    for layer in range(layers):
        linear = nn.Linear(units, units, bias=False) if layer else nn.Linear(inputs, units)
        modules += [linear, nn.LayerNorm(units), nn.SiLU()]
    if outputs is not None:
        last = nn.Linear(units if layers else inputs, outputs)
        if zero_last:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        modules.append(last)
    return nn.Sequential(*modules)


def squashed_log_std(raw: Tensor, low: float = -5.0, high: float = 2.0) -> Tensor:
    """Log standard deviation held in (low, high) by a tanh, which unlike a clamp never stops the gradient."""
    return low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)

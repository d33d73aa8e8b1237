"""The recurrent loops as single differentiable operations, their gradients by hand.

Ordinary autograd forms the gradient of every weight at every step, in products too small for the machine, and records
some thirty operations a step. Here a step costs its arithmetic alone, and each weight's gradient is one product over
all steps after the last. The equations are those of `RSSM.observe` and `RSSM.imagine`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

aten = torch.ops.aten
EPS = 1e-5
"""LayerNorm's."""


@dataclass
class NormedLinear:
    """LayerNorm(x W^T + offset), applied at one step after another."""

    weight: Tensor
    """(outputs, inputs)"""
    gain: Tensor
    """(outputs,)"""
    shift: Tensor
    """(outputs,)"""
    tape: list[tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)
    """Of each step: x, the sum, and its mean and reciprocal std."""
    gradients: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Of each step, last one first: the loss by the result, and by the sum."""

    def forward(self, x: Tensor, offset: Tensor | None = None) -> Tensor:
        """The next step's result (B, outputs) from (B, inputs)."""
        total = x @ self.weight.t() if offset is None else torch.addmm(offset, x, self.weight.t())
        result, mean, rstd = torch.native_layer_norm(total, self.gain.shape, self.gain, self.shift, EPS)
        self.tape.append((x, total, mean, rstd))
        return result

    def backward(self, gradient: Tensor) -> Tensor:
        """The loss by x, (B, inputs), from the loss by the result, of the last step not yet gone back over."""
        _, total, mean, rstd = self.tape[-1 - len(self.gradients)]
        by_total, _, _ = aten.native_layer_norm_backward(
            gradient, total, self.gain.shape, mean, rstd, self.gain, self.shift, (True, False, False)
        )
        self.gradients.append((gradient, by_total))
        return by_total @ self.weight

    def by_offset(self) -> Tensor:
        """The loss by every step's offset (B, T, outputs)."""
        return torch.stack([by_total for _, by_total in reversed(self.gradients)], 1)

    def by_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """The loss by weight, gain and shift."""
        x, total, mean, rstd = map(torch.cat, zip(*self.tape, strict=True))
        by_result, by_total = map(torch.cat, zip(*reversed(self.gradients), strict=True))
        _, by_gain, by_shift = aten.native_layer_norm_backward(
            by_result, total, self.gain.shape, mean, rstd, self.gain, self.shift, (False, True, True)
        )
        return by_total.t() @ x, by_gain, by_shift


class Memory:
    """The deterministic step: a GRU with a normalised gate layer."""

    def __init__(self, inputs: NormedLinear, gates: NormedLinear) -> None:
        self.inputs, self.gates = inputs, gates
        self.tape: list[tuple[Tensor, ...]] = []

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """The next deterministic state (B, D); `action` is projected already (B, units)."""
        normal = self.inputs.forward(stoch, action)
        gates = self.gates.forward(torch.cat([torch.nn.functional.silu(normal), deter], -1))
        reset, raw, update = gates.chunk(3, -1)
        reset, update = torch.sigmoid(reset), torch.sigmoid(update - 1.0)
        candidate = torch.tanh(reset * raw)
        self.tape.append((deter, normal, reset, raw, candidate, update))
        return torch.lerp(deter, candidate, update)

    def backward(self, by_deter: Tensor) -> tuple[Tensor, Tensor]:
        """The loss by the previous deterministic and stochastic state, of the last step not yet gone back over."""
        deter, normal, reset, raw, candidate, update = self.tape.pop()
        by_product = aten.tanh_backward(by_deter * update, candidate)
        by_gates = torch.cat(
            [
                aten.sigmoid_backward(by_product * raw, reset),
                by_product * reset,
                aten.sigmoid_backward(by_deter * (candidate - deter), update),
            ],
            -1,
        )
        by_input, by_previous = self.gates.backward(by_gates).split([normal.shape[-1], deter.shape[-1]], -1)
        by_stoch = self.inputs.backward(aten.silu_backward(by_input, normal))
        return torch.addcmul(by_deter + by_previous, by_deter, update, value=-1.0), by_stoch


class Guess:
    """The step from the deterministic state to what the stochastic one is drawn from."""

    def __init__(self, hidden: NormedLinear, weight: Tensor, bias: Tensor) -> None:
        self.hidden, self.weight, self.bias = hidden, weight, bias
        self.normals: list[Tensor] = []
        self.by_outs: list[Tensor] = []

    def forward(self, deter: Tensor, offset: Tensor) -> Tensor:
        """(B, outputs) from (B, D), with `offset` (B, units) before the normalisation."""
        self.normals.append(self.hidden.forward(deter, offset))
        return torch.addmm(self.bias, torch.nn.functional.silu(self.normals[-1]), self.weight.t())

    def backward(self, by_out: Tensor) -> Tensor:
        """The loss by the deterministic state (B, D)."""
        normal = self.normals[-1 - len(self.by_outs)]
        self.by_outs.append(by_out)
        return self.hidden.backward(aten.silu_backward(by_out @ self.weight, normal))

    def by_weights(self) -> tuple[Tensor, Tensor]:
        """The loss by weight and bias."""
        by_out = torch.cat(self.by_outs[::-1])
        return by_out.t() @ torch.nn.functional.silu(torch.cat(self.normals)), by_out.sum(0)


class FollowScan(torch.autograd.Function):
    """Along observed sequences."""

    @staticmethod
    def forward(ctx: Any, deter: Tensor, stoch: Tensor, keep: Tensor, noise: Tensor, action: Tensor,
                embedding: Tensor, skip: Tensor, *w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory = Memory(NormedLinear(*w[0:3]), NormedLinear(*w[3:6]))
        guess = Guess(NormedLinear(*w[6:9]), *w[9:11])
        deters, stochs, outs = [], [], []
        ctx.spreads = []
        for k, n, a, e, s in zip(keep.unbind(1), noise.unbind(1), action.unbind(1), embedding.unbind(1), skip.unbind(1)):
            deter = memory.forward(deter * k, stoch * k, a)
            out = guess.forward(deter, e)
            mean, raw = out.chunk(2, -1)
            flat = torch.tanh(raw)
            spread = n * torch.exp(-5.0 + 3.5 * (flat + 1.0))
            stoch = mean + s + spread
            ctx.spreads.append(spread * 3.5 * (1.0 - flat * flat))
            deters.append(deter); stochs.append(stoch); outs.append(out)
        ctx.memory, ctx.guess, ctx.keep = memory, guess, keep
        return torch.stack(deters, 1), torch.stack(stochs, 1), torch.stack(outs, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_deters: Tensor, by_stochs: Tensor, by_outs: Tensor) -> tuple[Tensor | None, ...]:
        memory, guess = ctx.memory, ctx.guess
        by_deter, by_stoch = torch.zeros_like(by_deters[:, 0]), torch.zeros_like(by_stochs[:, 0])
        by_means = []
        for t in reversed(range(by_deters.shape[1])):
            by_stoch = by_stoch + by_stochs[:, t]
            by_means.append(by_stoch)
            by_out = torch.cat([by_stoch, by_stoch * ctx.spreads[t]], -1) + by_outs[:, t]
            by_deter = by_deter + by_deters[:, t] + guess.backward(by_out)
            by_deter, by_stoch = memory.backward(by_deter)
            by_deter, by_stoch = by_deter * ctx.keep[:, t], by_stoch * ctx.keep[:, t]
        return (by_deter, by_stoch, None, None, memory.inputs.by_offset(), guess.hidden.by_offset(),
                torch.stack(by_means[::-1], 1), *memory.inputs.by_weights(), *memory.gates.by_weights(),
                *guess.hidden.by_weights(), *guess.by_weights())

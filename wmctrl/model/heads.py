"""Scalar heads over (belief, goal), and the ensemble whose disagreement says where the model has not been."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wmctrl.model.distributions import Bernoulli, TwoHot
from wmctrl.model.nets import mlp


class TwoHotHead(nn.Module):
    """A real number from features, as a distribution over symlog-even bins; predicts zero until trained."""

    bins: Tensor

    def __init__(self, inputs: int, units: int, layers: int, bins: int = 101, reach: float = 10.0) -> None:
        super().__init__()
        self.net = mlp(inputs, units, layers, bins, zero_last=True)
        self.register_buffer("bins", torch.linspace(-reach, reach, bins))

    def forward(self, features: Tensor) -> TwoHot:
        """Distribution over (...,) from features (..., inputs)."""
        return TwoHot(self.net(features), self.bins)


NEVER = -30.0
"""Logit of what cannot happen; its probability, 1e-13, is lost beside 1 in single precision."""


class Prospect(NamedTuple):
    """What an arrival is worth and whether it is the last."""

    reward: TwoHot
    """Of the arrival (...,)."""
    proceed: Bernoulli
    """That the episode does not end on arrival (...,)."""
    failure: Bernoulli
    """That the plant fails on arrival (...,)."""


class ProspectHead(nn.Module):
    """Reward, continuation and failure from one trunk: in planning, a head costs as much as a step of the dynamics.

    How episodes end has a matrix of its own: in a shared one the bins of the reward would make up Muon's steps, and
    failures, which are rare, would hardly be learned.
    """

    bins: Tensor

    def __init__(
        self, inputs: int, units: int, layers: int, *, bins: int = 101, reach: float = 10.0, can_fail: bool = True
    ) -> None:
        super().__init__()
        self.can_fail = can_fail
        self.trunk = mlp(inputs, units, layers)
        width = units if layers else inputs
        self.reward, self.ending = (mlp(width, units, 0, outputs, zero_last=True) for outputs in (bins, 2))
        self.register_buffer("bins", torch.linspace(-reach, reach, bins))

    def forward(self, inputs: Tensor) -> Prospect:
        """Prospect (...,) from features beside the goal (..., inputs)."""
        hidden = self.trunk(inputs)
        return Prospect(TwoHot(self.reward(hidden), self.bins), *self._ends(hidden))

    def ends(self, inputs: Tensor) -> tuple[Bernoulli, Bernoulli]:
        """Continuation and failure alone (...,): where no reward is asked for, its bins need not be computed."""
        return self._ends(self.trunk(inputs))

    def _ends(self, hidden: Tensor) -> tuple[Bernoulli, Bernoulli]:
        proceed, failure = self.ending(hidden).unbind(-1)
        return Bernoulli(proceed), Bernoulli(failure if self.can_fail else torch.full_like(failure, NEVER))


class HazardHead(nn.Module):
    """Probability that the plant fails on arrival, as several small networks tell from the stochastic state alone.

    Failures are few, so what matters is how they generalise, and few inputs generalise better than many. Of 49 crashes
    in other runs of parking-v0, one network of memory, state and goal that had seen 28 gave 69 % a probability above
    0.02 one step ahead; three of the state alone 88 %, a single one 84 %.
    """

    def __init__(self, inputs: int, units: int, members: int) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Parameter(torch.empty(members, *shape)) for shape in ((inputs, units), (units, units), (units, 1))
        )
        self.first_bias, self.second_bias = (nn.Parameter(torch.zeros(members, 1, units)) for _ in range(2))
        self.last_bias = nn.Parameter(torch.zeros(members, 1, 1))
        nn.init.normal_(self.first, std=inputs**-0.5)
        nn.init.normal_(self.second, std=units**-0.5)
        nn.init.zeros_(self.last)

    def forward(self, stoch: Tensor) -> Bernoulli:
        """Every member's verdict (members, ...) on stochastic states (..., S)."""
        x = F.silu(torch.matmul(stoch.flatten(0, -2), self.first) + self.first_bias)  # (members, N, units)
        x = F.silu(torch.matmul(x, self.second) + self.second_bias)
        logit = torch.matmul(x, self.last) + self.last_bias
        return Bernoulli(logit.view(-1, *stoch.shape[:-1]))


class Ensemble(nn.Module):
    """Independent one-step predictors of the next stochastic state (Sekar et al. 2020, Plan2Explore).

    Where data were seen they agree; their spread elsewhere is epistemic, not noise of the plant.
    """

    def __init__(self, inputs: int, outputs: int, members: int, units: int) -> None:
        super().__init__()
        first, second = torch.empty(members, inputs, units), torch.empty(members, units, outputs)
        for weight in (first, second):
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
        self.first, self.second = nn.Parameter(first), nn.Parameter(second)
        self.bias = nn.Parameter(torch.zeros(members, 1, units))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """Every member's prediction (members, N, outputs) for features (N, D + S) and actions (N, A)."""
        x = torch.cat([features, action], -1)  # (N, inputs)
        hidden = F.silu(torch.matmul(x, self.first) + self.bias)  # (members, N, units)
        return torch.matmul(hidden, self.second)

    def disagreement(self, features: Tensor, action: Tensor) -> Tensor:
        """Standard deviation over members, root mean square over outputs (N,)."""
        return self(features, action).var(0).mean(-1).sqrt()

"""Learning along a bundle's gradient graphs, with numpy alone: batches in, better parameters out."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.behavior import GRAPH as BEHAVIOR
from wmctrl.runtime.behavior import Behavior, Starts
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.descent import CLIP, Descent, Parameters
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.ewc import Consolidation, fisher_diagonal
from wmctrl.runtime.experience import Columns
from wmctrl.runtime.manifest import BELIEFS, GRADIENT
from wmctrl.runtime.track import Belief

MODEL = "model_gradient"
AVERAGING = np.float32(0.1)
"""Share of the newest parameters that enters their running average at each update."""


class Found(NamedTuple):
    """What sequences tell of a model."""

    loss: float
    belief: Belief
    """Along them (B, T, D), (B, T, S)."""
    gradients: Parameters
    """Of the loss, by parameter."""


class Learner:
    """Improves a model's parameters, held by what was consolidated, and those of actor and critic within the model."""

    def __init__(
        self,
        bundle: Bundle,
        consolidation: Consolidation,
        rate: float,
        *,
        behavior: bool = True,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        """
        Args:
            bundle: With the graphs of learning, and their parameters.
            rate: Learning rate of the model.
            behavior: Whether actor and critic are learned as well, where the bundle has them.

        Raises:
            ValueError: The bundle cannot learn.
        """
        if MODEL not in bundle.manifest.learning or not bundle.parameters:
            raise ValueError("this bundle cannot learn; write it with `wm export RUN --learn`")
        told, wanted = bundle.manifest.learning, (MODEL, BEHAVIOR) if behavior else (MODEL,)
        graphs = {name: told[name] for name in wanted if name in told}
        self.graph, self.engine = graphs[MODEL], Engine(graphs, bundle.graphs, "cpu", threads)
        shapes = {port.name: port.shape for port in self.graph.inputs}
        self.noise_shape: tuple[int, ...] = shapes["noise"]
        self.sequences, self.length = shapes["reward"]
        """Of a batch, B and T."""
        self.fed = {name for name in shapes if name in bundle.parameters}
        self.learned = self.graph.learned
        self.parameters: Parameters = {name: np.array(value) for name, value in bundle.parameters.items()}
        self.averaged = dict(self.parameters)
        """Their running average, which foresees better than they do: steps as long as the first one circle the best."""
        self.consolidation, self.rate = consolidation, rate
        self.generator = np.random.default_rng(seed)
        self.descent = Descent(rate, CLIP)
        self.behavior = Behavior(bundle, self.engine) if BEHAVIOR in graphs else None

    @property
    def importance(self) -> Parameters:
        """How much each parameter matters to what is held on to; nothing where nothing is."""
        return dict(self.consolidation.anchors[-1].importance) if self.consolidation.anchors else {}

    def restart(self, parameters: Mapping[str, NDArray[Any]], importance: Parameters | None = None) -> None:
        """Go on from other parameters, without momentum.

        Args:
            importance: How much each of them matters, to hold on to them alone; None holds on to what was held on to.
        """
        self.parameters = {name: np.array(value, np.float32) for name, value in parameters.items()}
        self.averaged = dict(self.parameters)
        if importance is not None:
            self.consolidation.hold(self.parameters, importance)
        self.descent = Descent(self.rate, CLIP)
        if self.behavior is not None:
            self.behavior.restart()

    def update(self, batch: Columns) -> float:
        """One step down the loss of sequences (B, T, ...) and what is consolidated; the loss.

        Actor and critic, where they are learned, are improved in what the model imagines before that step: imagination
        starts where the model that is imagined in believes it is, and what it believes after would cost another pass.

        Raises:
            ValueError: Something is not finite; no parameter has moved. `restart` before going on.
        """
        loss, belief, gradients = self.found(batch, self.parameters)
        if not np.isfinite(loss):
            raise ValueError(f"the model's loss became {loss}")
        parameters = self.parameters
        if self.behavior is not None:
            parameters = self.behavior.improved(parameters, Starts.of(belief, batch), self.generator)
        self.parameters = parameters = self.descent.step(parameters, self.consolidation.added(parameters, gradients))
        self.averaged = {name: value + AVERAGING * (parameters[name] - value) for name, value in self.averaged.items()}
        return loss

    def holds(self, driving: Parameters, batch: Columns) -> bool:
        """Whether the averaged actor is imagined to drive sequences (B, T, ...) no worse than another does.

        Raises:
            ValueError: Something is not finite.
        """
        if self.behavior is None:
            return True
        starts = Starts.of(self.found(batch, self.averaged).belief, batch)
        seed = int(self.generator.integers(1 << 32))
        return not len(starts) or self.behavior.holds(self.averaged, driving, starts, seed)

    def found(self, batch: Columns, parameters: Parameters) -> Found:
        """What sequences (B, T, ...) tell of the model with some parameters."""
        feeds: dict[str, NDArray[Any]] = {name: parameters[name] for name in self.fed}
        feeds |= {port.name: batch[port.name] for port in self.graph.inputs if port.name in batch}
        feeds["noise"] = self.generator.standard_normal(self.noise_shape, np.float32)
        told = self.engine.run(MODEL, feeds)
        belief = Belief(*(told[name] for name in BELIEFS))
        return Found(float(told["loss"]), belief, {name: told[GRADIENT + name] for name in self.learned})

    def consolidate(self, sequences: Columns) -> None:
        """Hold on to what is known now, as far as sequences (n, T, ...) tell what matters to it."""
        self.consolidation.keep(self.parameters, fisher_diagonal(self._singly(sequences)))

    def _singly(self, sequences: Columns) -> Iterator[Parameters]:
        """Gradients of each sequence, averaged over the graph's draws of noise."""
        for number in range(len(sequences["reward"])):
            repeated = {
                name: np.repeat(column[number : number + 1], self.sequences, 0) for name, column in sequences.items()
            }
            yield self.found(repeated, self.parameters).gradients

"""Learning along a bundle's gradient graphs, with numpy alone: batches in, better parameters out."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.descent import Adam
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.ewc import Consolidation, importance
from wmctrl.runtime.experience import Columns
from wmctrl.runtime.manifest import GRADIENT, GraphFile

Parameters = dict[str, NDArray[np.float32]]
"""Of the networks, by name."""
MODEL = "model_gradient"
CLIP = 100.0
"""Largest norm of a gradient."""


class Learner:
    """Improves a model's parameters, held by what was consolidated."""

    def __init__(
        self, bundle: Bundle, consolidation: Consolidation, rate: float, *, seed: int = 0, threads: int = 1
    ) -> None:
        """
        Args:
            bundle: With the graphs of learning, and their parameters.
            rate: Learning rate.

        Raises:
            ValueError: The bundle cannot learn.
        """
        if MODEL not in bundle.manifest.learning or not bundle.parameters:
            raise ValueError("this bundle cannot learn; write it with `wm export RUN --learn`")
        self.graph: GraphFile = bundle.manifest.learning[MODEL]
        self.engine = Engine({MODEL: self.graph}, bundle.graphs, "cpu", threads)
        shapes = {port.name: port.shape for port in self.graph.inputs}
        self.noise_shape: tuple[int, ...] = shapes["noise"]
        self.sequences, self.length = shapes["reward"]
        """Of a batch, B and T."""
        self.fed = {name for name in shapes if name in bundle.parameters}
        self.learned = [port.name.removeprefix(GRADIENT) for port in self.graph.outputs[1:]]
        self.parameters: Parameters = {name: np.array(value) for name, value in bundle.parameters.items()}
        self.consolidation, self.rate = consolidation, rate
        self.generator = np.random.default_rng(seed)
        self.adam = Adam(rate, CLIP)

    def restart(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        """Go on from other parameters, without momentum."""
        self.parameters = {name: np.array(value, np.float32) for name, value in parameters.items()}
        self.adam = Adam(self.rate, CLIP)

    def update(self, batch: Columns) -> float:
        """One step down the loss of sequences (B, T, ...) and what is consolidated; the loss.

        Raises:
            ValueError: Something is not finite; nothing has moved.
        """
        loss, gradients = self.gradients(batch)
        if not np.isfinite(loss):
            raise ValueError(f"the model's loss became {loss}")
        pulls = self.consolidation.gradient(self.parameters)
        moved = {name: gradient + pulls.get(name, np.float32(0.0)) for name, gradient in gradients.items()}
        self.parameters = self.adam.step(self.parameters, moved)
        return loss

    def gradients(self, batch: Columns) -> tuple[float, Parameters]:
        """Loss of sequences (B, T, ...), and its gradients by parameter."""
        feeds: dict[str, NDArray[Any]] = {name: self.parameters[name] for name in self.fed}
        feeds |= {port.name: batch[port.name] for port in self.graph.inputs if port.name in batch}
        feeds["noise"] = self.generator.standard_normal(self.noise_shape, np.float32)
        found = self.engine.run(MODEL, feeds)
        return float(found["loss"]), {name: found[GRADIENT + name] for name in self.learned}

    def consolidate(self, sequences: Columns) -> None:
        """Hold on to what is known now, as far as sequences (n, T, ...) tell what matters to it."""
        self.consolidation.keep(self.parameters, importance(self._singly(sequences)))

    def _singly(self, sequences: Columns) -> Iterator[Parameters]:
        """Gradients of each sequence, averaged over the graph's draws of noise."""
        for number in range(len(sequences["reward"])):
            repeated = {
                name: np.repeat(column[number : number + 1], self.sequences, 0) for name, column in sequences.items()
            }
            yield self.gradients(repeated)[1]

"""Actor and critic on the device: improved in what the learned model imagines, along a bundle's gradients."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.descent import CLIP, Adam, Arrays, Parameters
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.experience import Columns
from wmctrl.runtime.manifest import GRADIENT, SPREAD
from wmctrl.runtime.track import Belief

GRAPH = "behavior_gradient"
RATE = 3e-4
"""Learning rate of actor and critic."""
SLOW = 0.05
"""Share of actor and critic that enters their slow copies, which drive, at each update."""
COPIES = {"behavior.slow_actor.": "behavior.actor.", "behavior.slow_critic.": "behavior.critic."}
"""How the names of the slow copies' parameters begin, and those of what they follow."""
DRAWS: Mapping[str, Callable[..., NDArray[Any]]] = {
    "noise": np.random.Generator.standard_normal,
    "future_components": np.random.Generator.gumbel,
    "future_values": np.random.Generator.standard_normal,
}
"""What the graph takes as noise, where it takes it, and how that is drawn."""
WORSE = 0.02
"""By how much less than what drives what was learned may be imagined to earn, in units of the range of returns, or of 1
where that is less."""
STRANGE = 3.0
"""How far two critics may be from each other on the same futures, in the same units."""


class Starts(NamedTuple):
    """Where imagination starts, row by row."""

    belief: Belief
    """(n, D), (n, S)"""
    goal: NDArray[np.float32] | None
    """(n, G), where the task has one."""

    @classmethod
    def of(cls, belief: Belief, batch: Columns) -> "Starts":
        """Those of the beliefs (..., D), (..., S) along sequences that go on."""
        going = batch["terminated"] == 0.0
        goal = batch.get("goal")
        return cls(Belief(*(part[going] for part in belief)), None if goal is None else goal[going])

    def __len__(self) -> int:
        return len(self.belief.deter)

    def drawn(self, count: int, generator: np.random.Generator) -> "Starts":
        """As many of them, in any order; where there are fewer, they come again."""
        chosen = generator.permutation(len(self))[np.arange(count) % len(self)]
        return Starts(Belief(*(part[chosen] for part in self.belief)), None if self.goal is None else self.goal[chosen])


class Behavior:
    """Improves a bundle's actor and critic."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        """
        Args:
            bundle: With the graph, and its parameters.
            engine: What computes it.
        """
        graph, objective = bundle.manifest.learning[GRAPH], bundle.manifest.objective
        self.engine = engine
        self.shapes = {port.name: port.shape for port in graph.inputs}
        self.fed = self.shapes.keys() & bundle.parameters.keys()
        self.learned = graph.learned
        self.failed = np.array(objective.failed(objective.weights), np.float32)
        self.adam = Adam(RATE, CLIP)

    def restart(self) -> None:
        """Go on without momentum."""
        self.adam = Adam(RATE, CLIP)

    def improved(self, parameters: Parameters, starts: Starts, generator: np.random.Generator) -> Parameters:
        """Parameters after one update of actor and critic, in what their model imagines from some of the starts.

        Raises:
            ValueError: Something is not finite.
        """
        if not len(starts):
            return parameters
        found = self.imagined(parameters, starts, generator)
        moved = self.adam.step(parameters, {name: found[GRADIENT + name] for name in self.learned})
        moved[SPREAD] = found[f"next_{SPREAD}"]
        for slow, fast in COPIES.items():
            for name in [name for name in moved if name.startswith(slow)]:
                moved[name] = moved[name] + np.float32(SLOW) * (moved[fast + name.removeprefix(slow)] - moved[name])
        return moved

    def holds(self, learned: Parameters, driving: Parameters, starts: Starts, seed: int) -> bool:
        """Whether a learned actor earns no less than the one that drives, in the learned model and by the critic that
        drives; and whether the learned critic tells about the same of it.

        A critic that was learned amiss would praise the actor that was learned by it, and lead the planner astray.

        Args:
            seed: Of the draws, which are the same for both.
        """

        def earns(actor: Parameters, critic: Parameters) -> float:
            slow = {"behavior.slow_actor.": actor, "behavior.slow_critic.": critic}
            mixed = learned | {SPREAD: driving[SPREAD]}
            for begins, whose in slow.items():
                taken = {name: value for name, value in whose.items() if name.startswith(begins)}
                mixed |= taken | {name.replace(begins, COPIES[begins]): value for name, value in taken.items()}
            return -float(self.imagined(mixed, starts, np.random.default_rng(seed))["actor_loss"])

        own, other, told = earns(learned, driving), earns(driving, driving), earns(learned, learned)
        return own >= other - WORSE and abs(told - own) <= STRANGE

    def imagined(self, parameters: Arrays, starts: Starts, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
        """What the graph makes of drawn futures from some of the starts.

        Raises:
            ValueError: A loss is not finite.
        """
        belief, goal = starts.drawn(self.shapes["deter"][0], generator)
        feeds: dict[str, NDArray[Any]] = {name: parameters[name] for name in self.fed}
        feeds |= belief._asdict() | {"failed": self.failed} | ({} if goal is None else {"goal": goal})
        for name, draw in DRAWS.items():
            if name in self.shapes:
                feeds[name] = draw(generator, size=self.shapes[name]).astype(np.float32)
        found = self.engine.run(GRAPH, {name: feeds[name] for name in self.shapes})
        for loss in ("actor_loss", "critic_loss"):
            if not np.isfinite(found[loss]):
                raise ValueError(f"the {loss.replace('_', ' ')} became {found[loss]}")
        return found

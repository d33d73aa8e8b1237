"""How well parameters predict what was recorded: a model is judged by foreseeing what has already happened."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.actuation import error_of
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.descent import Parameters
from wmctrl.runtime.engine import Computes, Engine, Prepared
from wmctrl.runtime.experience import Columns
from wmctrl.runtime.plant import Element
from wmctrl.runtime.track import IMAGINE, OBSERVE, Belief


class Looking(NamedTuple):
    """How much is foreseen of recorded steps."""

    ahead: int
    """Steps that are."""
    every: int
    """Steps between two places from which they are."""


THOROUGHLY, BRIEFLY = Looking(ahead=5, every=2), Looking(ahead=3, every=3)
SETTLING = 3
"""Steps after an episode's start, or the recording's, before anything is foreseen: until then nothing is known."""
LARGEST = 10.0
"""Error of an element beyond which it counts no more, in standard deviations of what was recorded."""
LEAST_SPREAD, LARGEST_RANGE = 0.05, 1e6
"""Share of an element's range that its readings spread at least; a larger range says nothing."""
GRAPHS = (OBSERVE, IMAGINE)
REMEMBERED = 12
"""Parameters for which sessions are kept: all plants that are known, what drives, and what is learned."""


class Judge:
    """Computes beside what drives, with whatever parameters are judged."""

    def __init__(self, held: Bundle) -> None:
        """
        Args:
            held: With recorded steps of its plant.

        Raises:
            ValueError: There is no proprioception to judge by.
        """
        told = held.manifest
        if not told.task.proprio:
            raise ValueError("what is learned is judged by proprioception, and this bundle observes a camera alone")
        self.engine = Engine({name: told.graphs[name] for name in GRAPHS}, held.graphs, "cpu", 1)
        self.sizes, self.known = told.state_sizes, self.engine.parameters()
        self.prepared: deque[tuple[Parameters, Prepared]] = deque(maxlen=REMEMBERED)
        """Parameters that were judged lately, and what computes with them: most are judged again."""
        self.spread = spread(held.nominal["proprio"], told.task.proprio)

    def error(self, parameters: Parameters, steps: Columns, since: int = 0) -> float:
        """How badly parameters foresee recorded steps from one on; infinite where they do not at all."""
        if not self._ready(parameters):
            return float("inf")
        found = hindcast(self.engine, steps, self.spread, self.sizes, since)
        return found if np.isfinite(found) else float("inf")

    def residuals(self, parameters: Parameters, steps: Columns) -> NDArray[np.float32]:
        """Errors (n, O) of what parameters foresee a few steps ahead of recorded ones, in standard deviations.

        Raises:
            ValueError: The parameters are not finite.
        """
        if not self._ready(parameters):
            raise ValueError("parameters are not finite")
        return residuals(self.engine, steps, self.spread, self.sizes, 0, BRIEFLY)

    def _ready(self, parameters: Parameters) -> bool:
        """Have parameters compute; whether they are finite."""
        held = {name: value for name, value in parameters.items() if name in self.known}
        if not all(np.isfinite(value).all() for value in held.values()):
            return False
        ready = next((prepared for one, prepared in self.prepared if one is parameters), None)
        if ready is None:
            ready = self.engine.prepared(held)
            self.prepared.append((parameters, ready))
        self.engine.take(ready)
        return True


def spread(readings: NDArray[np.float32], elements: Sequence[Element]) -> NDArray[np.float32]:
    """How far each element's readings (n, O) spread; what hardly moved counts as some of its range."""
    ranges = np.array([0.0 if one.low is None or one.high is None else one.high - one.low for one in elements])
    least = np.where(ranges < LARGEST_RANGE, LEAST_SPREAD * ranges, 0.0)
    return np.maximum(np.maximum(readings.std(0), least), 1e-6).astype(np.float32)


def hindcast(
    engine: Computes, steps: Columns, spread: NDArray[np.float32], sizes: tuple[int, int], since: int = 0
) -> float:
    """Error of proprioception, foreseen some steps ahead without looking; nan where nothing could be.

    The arguments are those of `residuals`.
    """
    return error_of(residuals(engine, steps, spread, sizes, since, THOROUGHLY))


def residuals(
    engine: Computes,
    steps: Columns,
    spread: NDArray[np.float32],
    sizes: tuple[int, int],
    since: int,
    looking: Looking,
) -> NDArray[np.float32]:
    """Errors of proprioception (n, O), foreseen without looking.

    Args:
        steps: In order, (n, ...) by name.
        spread: Unit of every element's error (O,).
        sizes: Of the belief's memory and stochastic state, D and S.
        since: Step from which on it is judged; those before only settle the belief.
    """
    count, errors = len(steps["reward"]), []
    rest = Belief(*(np.zeros(size, np.float32) for size in sizes))
    belief, known = rest, 0
    for now in range(count):
        if steps["is_first"][now]:
            belief, known = rest, 0
        belief = observed(engine, belief, steps, now)
        known += 1
        if known > SETTLING and now >= since and now % looking.every == 0:
            errors += foreseen(engine, belief, steps, now, spread, looking.ahead)
    return np.array(errors, np.float32).reshape(-1, len(spread))


def observed(engine: Computes, belief: Belief, steps: Columns, now: int) -> Belief:
    """What is believed after a recorded step."""
    first = bool(steps["is_first"][now])
    action = np.zeros_like(steps["action"][now]) if first else steps["action"][now]
    seen: Columns = {name: steps[name][now] for name in ("proprio", "camera") if name in steps}
    found = engine.run(OBSERVE, {**belief._asdict(), "action": action, **seen})
    return Belief(found["next_deter"], found["next_stoch"])


def foreseen(
    engine: Computes, belief: Belief, steps: Columns, now: int, spread: NDArray[np.float32], ahead: int
) -> list[NDArray[Any]]:
    """Errors (O,) of what is foreseen some steps ahead of a recorded one, within its episode."""
    errors = []
    for then in range(now + 1, min(now + 1 + ahead, len(steps["reward"]))):
        if steps["is_first"][then]:
            break
        found = engine.run(IMAGINE, {**belief._asdict(), "action": steps["action"][then]})
        belief = Belief(found["next_deter"], found["next_stoch"])
        off = (found["next_proprio"] - steps["proprio"][then]) / spread
        errors.append(np.clip(np.where(np.isfinite(off), off, LARGEST), -LARGEST, LARGEST))
    return errors

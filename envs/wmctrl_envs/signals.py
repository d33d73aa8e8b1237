"""The way of commands to the plant and of measurements back: gain, delay and noise, for all plants but driving ones.

Those have gains and a delay in their actuators, and no noise.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.task import Element, Parameter

Vector = NDArray[np.float32]

LONGEST_DELAY = 5
"""Most control steps a command can be held back."""

UNBOUNDED = 1e6
"""An element that may go beyond this has no range: boxes also write the largest number of their type for infinity."""

PARAMETERS = (
    Parameter("action_scale", "1", 1.0, 0.2, 2.0, "Gain on every command, which still saturates at -1 and 1."),
    Parameter("action_delay", "1", 0.0, 0.0, LONGEST_DELAY, "Control steps a command waits, rounded to whole ones."),
    Parameter("action_noise", "1", 0.0, 0.0, 0.5, "Standard deviation of white noise on every command."),
    Parameter(
        "observation_noise",
        "1",
        0.0,
        0.0,
        0.2,
        "Standard deviation of white noise on proprioception, as a fraction of each element's range.",
    ),
)
_NOMINAL = {parameter.name: parameter.nominal for parameter in PARAMETERS}


class SignalMemory(NamedTuple):
    """What a signal path remembers."""

    sent: tuple[Vector, ...]
    age: int
    values: dict[str, float]


class SignalPath:
    """Commands on their way to the plant and measurements on their way back; nominally it changes neither.

    Args:
        proprio: Measured elements; one without bounds is taken to have range 1.
        actions: Number of commands.
    """

    def __init__(self, proprio: tuple[Element, ...], actions: int) -> None:
        self._ranges = np.array([range_of(element) for element in proprio], np.float32)
        self._actions = actions
        self._values = dict(_NOMINAL)
        self.reset()

    def reset(self) -> None:
        """Forget the commands under way: at rest all of them were zero."""
        rest = [np.zeros(self._actions, np.float32)] * (LONGEST_DELAY + 1)
        self._sent: deque[Vector] = deque(rest, maxlen=LONGEST_DELAY + 1)
        self._age = LONGEST_DELAY
        """Control steps since the command that arrived last was sent."""

    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Make the path nominal except for these values."""
        self._values = _NOMINAL | dict(values)

    def command(self, action: Vector, rng: np.random.Generator) -> Vector:
        """What reaches the plant when `action` is sent; while a delay grows, the last command goes on."""
        self._sent.append(action)
        self._age = min(round(self._values["action_delay"]), self._age + 1)
        arriving = self._sent[-1 - self._age] * np.float32(self._values["action_scale"])
        if self._values["action_noise"] > 0.0:
            arriving = arriving + _noise(rng, self._values["action_noise"], arriving.size)
        return np.minimum(np.maximum(arriving, np.float32(-1.0)), np.float32(1.0))

    def measurement(self, proprio: Vector, rng: np.random.Generator) -> Vector:
        """What is measured when the plant is at `proprio`."""
        if self._values["observation_noise"] == 0.0:
            return proprio
        noise = self._ranges * _noise(rng, self._values["observation_noise"], proprio.size)
        return np.asarray(proprio + noise, np.float32)

    def snapshot(self) -> SignalMemory:
        """Commands under way and the present parameters."""
        return SignalMemory(tuple(self._sent), self._age, dict(self._values))

    def restore(self, snapshot: SignalMemory) -> None:
        """Return to a snapshot."""
        self._sent, self._age = deque(snapshot.sent, maxlen=LONGEST_DELAY + 1), snapshot.age
        self._values = dict(snapshot.values)


def range_of(element: Element) -> float:
    """Width of an element's range, 1 where nothing bounds it [its unit]."""
    return element.high - element.low if max(-element.low, element.high) <= UNBOUNDED else 1.0


def _noise(rng: np.random.Generator, std: float, size: int) -> Vector:
    return np.float32(std) * rng.standard_normal(size, np.float32)

"""What a simulator must offer beneath a task, and the offer of environments written in plain Python."""

import copy
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.task import Parameter

_NO_STATE = ("env", "spec", "metadata", "observation_space", "action_space")

Picture = NDArray[np.uint8]
"""(h, w, 3) RGB."""


class Plant(Protocol):
    """A simulator under a Gymnasium environment: its physical parameters, its whole state and its pictures."""

    env: gym.Env[Any, Any]
    parameters: tuple[Parameter, ...]

    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Make the plant nominal except for these values."""

    def snapshot(self) -> Any:
        """Everything the rest of the episode depends on."""

    def restore(self, snapshot: Any) -> None:
        """Return to a snapshot."""

    def fault(self) -> str:
        """Why the simulation can no longer be trusted; empty while it can."""

    def picture(self, height: int, width: int, fast: bool) -> Picture:
        """The plant as seen now, fast for learning or fine for people."""

    def pixels(self, places: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
        """Where places (n, 3) [m] are in the last fine picture of a size (n, 2); nan where that is not known."""

    def close(self) -> None:
        """Release the environment and its rendering contexts."""


class PythonMemory(NamedTuple):
    """A Python environment's state: for each layer, outermost first, its attributes."""

    layers: tuple[dict[str, Any], ...]
    values: dict[str, float]


class PythonPlant:
    """An environment written in Python, whose physical parameters are attributes and whose state can be deep-copied.

    Args:
        attributes: For each parameter, the attribute of the unwrapped environment that holds it.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        parameters: tuple[Parameter, ...] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self.env = env
        self.parameters = parameters
        self._attributes = dict(attributes or {})
        self._values: dict[str, float] = {}

    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Make the plant nominal except for these values."""
        for parameter in self.parameters:
            value = values.get(parameter.name, parameter.nominal)
            setattr(self.env.unwrapped, self._attributes[parameter.name], value)
        self._values = dict(values)

    def snapshot(self) -> PythonMemory:
        """Deep copies of the attributes of every layer of the environment, drawing surfaces aside."""
        return PythonMemory(tuple(copy.deepcopy(_state(layer)) for layer in _layers(self.env)), dict(self._values))

    def restore(self, snapshot: PythonMemory) -> None:
        """Return to a snapshot, which stays untouched by what happens next."""
        for layer, memory in zip(_layers(self.env), snapshot.layers, strict=True):
            vars(layer).update(copy.deepcopy(memory))
        self._values = dict(snapshot.values)

    def fault(self) -> str:
        """Empty: what a Python environment computes is all there is to see."""
        return ""

    def picture(self, height: int, width: int, fast: bool) -> Picture:
        """The environment's own picture, resized and padded with white where its proportions differ."""
        from PIL import Image, ImageOps

        frame = self.env.render() if self.env.render_mode == "rgb_array" else None
        if not isinstance(frame, np.ndarray):
            told = "give it render mode rgb_array and a render() that returns pixels, or leave the camera out"
            raise ValueError(f"{self.env.spec and self.env.spec.id} draws no pictures; {told}")
        resample = Image.Resampling.BOX if fast else Image.Resampling.LANCZOS
        return np.array(ImageOps.pad(Image.fromarray(frame), (width, height), resample, "white"))

    def pixels(self, places: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
        """Nobody knows how an environment of its own draws (n, 2)."""
        return np.full((len(places), 2), np.nan)

    def close(self) -> None:
        """Release the environment."""
        self.env.close()


def _layers(env: gym.Env[Any, Any]) -> tuple[gym.Env[Any, Any], ...]:
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return tuple(layers)


def _state(layer: gym.Env[Any, Any]) -> dict[str, Any]:
    """Attributes that make up a layer's state: not the layer below, modules or pygame's surfaces and clocks."""
    return {name: value for name, value in vars(layer).items() if not _is_machinery(name, value)}


def _is_machinery(name: str, value: object) -> bool:
    return name in _NO_STATE or isinstance(value, ModuleType) or type(value).__module__.startswith("pygame")

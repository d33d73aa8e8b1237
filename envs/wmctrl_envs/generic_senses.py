"""What an environment observes as vectors of named numbers: boxes and choices, in dictionaries however deep."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wmctrl_envs.plant_task import Reading
from wmctrl_envs.task import Element

GOAL_KEYS = {"observation", "achieved_goal", "desired_goal"}
"""What an environment with goals observes."""
CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
"""Spaces that are read as zeros and ones."""


class Part(NamedTuple):
    """A space of numbers within what is observed."""

    name: str
    """Its path, or what it is where there is none."""
    space: spaces.Space[Any]
    path: tuple[str, ...]
    """Keys that lead to it."""

    def elements(self) -> tuple[Element, ...]:
        """What `read` returns, row by row."""
        box: Any = spaces.flatten_space(self.space)
        limits = zip(box.low, box.high, strict=True)
        return tuple(Element(f"{self.name} {i}", "1", float(low), float(high)) for i, (low, high) in enumerate(limits))

    def read(self, raw: Any) -> NDArray[Any]:
        """Its numbers (n,) in what is observed."""
        for key in self.path:
            raw = raw[key]
        return np.asarray(spaces.flatten(self.space, raw) if isinstance(self.space, CHOICES) else np.ravel(raw))


def senses_of(
    space: spaces.Space[Any], task_id: str, seen: bool
) -> tuple[tuple[Element, ...], tuple[Element, ...], Reading]:
    """Elements of proprioception and goal, and how to read them.

    Args:
        seen: Whether the camera is observed, which stands for the pictures that the environment observes.

    Raises:
        ValueError: Something observed is neither numbers nor choices, or a picture without the camera.
    """
    if isinstance(space, spaces.Dict) and space.keys() == GOAL_KEYS:
        names = {"observation": "proprio", "achieved_goal": "achieved goal"}
        own = [part for key, name in names.items() for part in _parts(space[key], name, (key,))]
        goal = [*_parts(space["desired_goal"], "goal", ("desired_goal",))]
    else:
        own, goal = [*_parts(space, "" if isinstance(space, spaces.Dict) else "proprio", ())], []
    for part in own + goal:
        _check(part, task_id, seen)
    own, goal = ([part for part in parts if not _is_picture(part.space)] for parts in (own, goal))
    return _elements(own), _elements(goal), Reading(lambda raw: _joined(own, raw), lambda raw: _joined(goal, raw))


def _parts(space: spaces.Space[Any], name: str, path: tuple[str, ...]) -> Iterator[Part]:
    if not isinstance(space, spaces.Dict):
        yield Part(name, space, path)
        return
    for key, inner in space.items():
        yield from _parts(inner, f"{name}/{key}" if name else key, (*path, key))


def _check(part: Part, task_id: str, seen: bool) -> None:
    name, space = part.name, part.space
    if _is_picture(space) and not seen:
        told = f"{task_id} must be observed by the camera, for `{name}` is a picture {space.shape}"
        raise ValueError(f"{told}; ask for it with observe=[camera]")
    if not isinstance(space, (spaces.Box, *CHOICES)):
        raise ValueError(f"{task_id} must be observed by boxes of numbers, but `{name}` is {space}; choose another id")


def _is_picture(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def _joined(parts: Sequence[Part], raw: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, np.float32), *(part.read(raw) for part in parts)])


def _elements(parts: Sequence[Part]) -> tuple[Element, ...]:
    return tuple(element for part in parts for element in part.elements())

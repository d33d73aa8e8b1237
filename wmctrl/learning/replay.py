"""Replay memory: what every plant saw, felt and did, in order, and batches of sequences from it."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.limits import require_at_least
from wmctrl.model.world_model import Batch, Sizes

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ReplayConfig:
    """How much is remembered and how it is sampled."""

    capacity: int = 100_000
    """Steps kept, over all plants; the oldest are forgotten first."""
    batch: int = 32
    """Sequences in a batch, B."""
    length: int = 12
    """Steps in a sequence, T."""
    hindsight: float = 0.5
    """Share of the sequences whose goal is replaced by one reached in the rest of its episode (Andrychowicz 2017)."""

    def __post_init__(self) -> None:
        require_at_least(self, capacity=self.length, batch=1, length=2, hindsight=0)
        if self.hindsight > 1:
            raise ValueError(f"hindsight is a share, at most 1, came {self.hindsight}")


@dataclass(frozen=True)
class Hindsight:
    """How a goal task judges another goal, vectorised over leading axes."""

    achieved: tuple[int, ...]
    """Indices into proprioception of what is compared with the goal."""
    reward: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    """The goal's part of the reward (...,), of achieved values (..., G) for goals (..., G)."""


class Stream:
    """The steps of one plant in order, the oldest overwritten when full."""

    def __init__(self, sizes: Sizes, capacity: int) -> None:
        fields: dict[str, tuple[tuple[int, ...], type]] = {
            "action": ((sizes.action,), np.float32),
            "reward": ((), np.float32),
            "terminated": ((), np.float32),
            "failure": ((), np.float32),
            "is_first": ((), np.float32),
        }
        if sizes.proprio:
            fields["proprio"] = ((sizes.proprio,), np.float32)
        if sizes.goal:
            fields["goal"] = ((sizes.goal,), np.float32)
        if sizes.camera:
            fields["camera"] = (sizes.camera, np.uint8)
        # np.zeros takes memory only as it is written, so a large capacity costs nothing at first.
        self.arrays: Arrays = {name: np.zeros((capacity, *shape), dtype) for name, (shape, dtype) in fields.items()}
        self.capacity = capacity
        self.total = 0
        """Steps ever added, those forgotten by the recording that they came from included."""
        self.first = 0
        """Number of the first step that was ever stored here."""
        self.starts: list[int] = []
        """Step numbers at which episodes start, in order."""
        self.stored = 0
        """Steps that the checkpoint's files already hold."""

    def __len__(self) -> int:
        return min(self.total - self.first, self.capacity)

    @property
    def oldest(self) -> int:
        """Number of the oldest step still stored."""
        return self.total - len(self)

    def add(self, step: Mapping[str, Any]) -> None:
        """Append one step: the action before the observation, and what came with it."""
        if step["is_first"]:
            self.starts.append(self.total)
        for name, array in self.arrays.items():
            array[self.total % self.capacity] = step[name]
        self.total += 1
        while len(self.starts) > 1 and self.starts[1] <= self.total - self.capacity:
            del self.starts[0]

    def extend(self, begin: int, steps: Arrays) -> None:
        """Append stored steps, the first of which has number `begin`."""
        if not self.total:
            self.first = begin
        self.total = begin
        for index in range(len(steps["reward"])):
            self.add({name: column[index] for name, column in steps.items()})
        self.stored = self.total

    def window(self, begin: int, length: int) -> Arrays:
        """Steps `begin` to `begin + length` by step number, each (length, ...)."""
        index = np.arange(begin, begin + length) % self.capacity
        return {name: array[index] for name, array in self.arrays.items()}

    def episode_end(self, step: int) -> int:
        """Step number one past the last step so far of the episode that holds `step`."""
        position = int(np.searchsorted(self.starts, step, side="right"))
        return self.starts[position] if position < len(self.starts) else self.total


class Replay:
    """All plants' streams."""

    def __init__(self, sizes: Sizes, config: ReplayConfig, plants: int, hindsight: Hindsight | None = None) -> None:
        self.config, self.hindsight = config, hindsight
        if config.capacity // plants < config.length:
            raise ValueError(f"replay.capacity must be at least {config.length * plants}: a sequence for every plant")
        self.streams = [Stream(sizes, config.capacity // plants) for _ in range(plants)]

    def __len__(self) -> int:
        return sum(len(stream) for stream in self.streams)

    def add(self, plant: int, step: Mapping[str, Any]) -> None:
        """Append one step of one plant."""
        self.streams[plant].add(step)

    def column(self, name: str) -> NDArray[Any] | None:
        """Everything remembered of one part of the steps (steps, ...); None where the plants have no such part."""
        if name not in self.streams[0].arrays:
            return None
        return np.concatenate(
            [stream.arrays[name][np.arange(stream.oldest, stream.total) % stream.capacity] for stream in self.streams]
        )

    @property
    def ready(self) -> bool:
        """Whether any stream is long enough for a sequence."""
        return any(len(stream) >= self.config.length for stream in self.streams)

    def sample(self, generator: np.random.Generator, device: torch.device) -> Batch:
        """A batch of sequences, every stored start equally likely."""
        B, T = self.config.batch, self.config.length
        starts = np.array([max(0, len(stream) - T + 1) for stream in self.streams])
        plants = generator.choice(len(self.streams), B, p=starts / starts.sum())
        sequences = [self._sequence(self.streams[plant], generator) for plant in plants]
        columns = {name: np.stack([sequence[name] for sequence in sequences]) for name in sequences[0]}
        return Batch(**{name: torch.from_numpy(column).to(device) for name, column in columns.items()})

    def _sequence(self, stream: Stream, generator: np.random.Generator) -> Arrays:
        """One window of a stream, perhaps with another goal."""
        begin = stream.oldest + int(generator.integers(len(stream) - self.config.length + 1))
        window = stream.window(begin, self.config.length)
        if self.hindsight is not None and generator.random() < self.config.hindsight:
            self._relabel(window, stream, begin, self.hindsight, generator)
        return window

    def _relabel(
        self, window: Arrays, stream: Stream, begin: int, hindsight: Hindsight, generator: np.random.Generator
    ) -> None:
        """Replace the goal of every episode in the window by one it reached later, and the rewards to match."""
        T = self.config.length
        step = begin
        while step < begin + T:
            end = stream.episode_end(step)
            reached = int(generator.integers(step, end)) % stream.capacity
            inside = slice(step - begin, min(end - begin, T))
            achieved = window["proprio"][inside][:, list(hindsight.achieved)]
            goal = np.broadcast_to(stream.arrays["proprio"][reached, list(hindsight.achieved)], achieved.shape)
            # The difference, because a reward can hold more than its goal's part: a crash costs extra, say.
            window["reward"][inside] += hindsight.reward(achieved, goal)
            window["reward"][inside] -= hindsight.reward(achieved, window["goal"][inside])
            window["goal"][inside] = goal
            step = end

    def save(self, checkpoint: CheckpointFolder) -> None:
        """Add the steps since the last save to a checkpoint, and drop files whose steps are all forgotten."""
        for number, stream in enumerate(self.streams):
            begin = max(stream.stored, stream.oldest)
            if stream.total > begin:
                checkpoint.put(segment_name(number, begin), stream.window(begin, stream.total - begin))
                stream.stored = stream.total
            begins = [first for owner, first in segments(checkpoint) if owner == number]
            checkpoint.drop([segment_name(number, a) for a, b in itertools.pairwise(begins) if b <= stream.oldest])

    def adopt(self, checkpoint: CheckpointFolder) -> None:
        """Remember the steps in another run's opened checkpoint, and keep them in the own one from now on."""
        self.load(checkpoint)
        for stream in self.streams:
            stream.stored = 0

    def load(self, checkpoint: CheckpointFolder) -> None:
        """Remember the steps in the own, opened checkpoint."""
        for number, begin in segments(checkpoint):
            stream = self.streams[number]
            stream.extend(begin, checkpoint.get(segment_name(number, begin)))


def segment_name(stream: int, begin: int) -> str:
    """File of a stream's steps from number `begin` on."""
    return f"replay-{stream:03d}-{begin:010d}.safetensors"


def segments(checkpoint: CheckpointFolder) -> list[tuple[int, int]]:
    """Stream and first step of every replay file of a checkpoint, in order."""
    parts = [Path(name).stem.split("-") for name in sorted(checkpoint.files) if name.startswith("replay-")]
    return [(int(stream), int(begin)) for _, stream, begin in parts]

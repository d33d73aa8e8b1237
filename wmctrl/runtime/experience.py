"""What is remembered of a step, as bytes in a log and as columns to learn from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.plant import Task

Columns = dict[str, NDArray[Any]]
"""Steps in order, each (n, ...) by name."""
LARGEST_SURPRISE = 0.99
"""Share of the surprises from which on they all count the same."""
LEAST_CHANCE = 0.1
"""Surprise that even a step without any counts as [nats]."""
SPARED = 0.01
"""Share of the steps, the oldest, that are not drawn: they may be overwritten meanwhile."""
FLAGS = ("terminated", "failure", "is_first")
"""1 where the plant ended the episode, where it failed, and where an episode starts."""


def step_of(
    observation: Mapping[str, Any], action: NDArray[np.float32], *, first: bool, **outcome: float
) -> dict[str, Any]:
    """An observation and what led to it, as training records it and whoever drives.

    Of a plant with goals, failing is all that is learned as an ending: whether reaching a goal ends the episode depends
    on the goal, and hindsight changes that.

    Args:
        action: The one before it (A,).
        first: Whether it is an episode's first.
        outcome: `reward`, `terminated`, `failure` and `surprise` [nats] on arrival, as far as they are known; 0
            otherwise.
    """
    known = {"reward": 0.0, "terminated": 0.0, "failure": 0.0, "surprise": 0.0} | outcome
    ends = {"terminated": known["failure"]} if "goal" in observation else {}
    return {**observation, "action": action, "is_first": float(first), **known, **ends}


@dataclass(frozen=True)
class Field:
    """A part of a step."""

    name: str
    dtype: str
    """As numpy names it."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The parts of a step: an observation, and what led to it."""

    task: str
    fields: tuple[Field, ...]

    @classmethod
    def of(cls, task: Task) -> "Layout":
        """Of a bundle's plant."""
        single = {"action": (len(task.action),), "reward": (), "surprise": (), **dict.fromkeys(FLAGS, ())}
        single |= {name: (len(part),) for name in ("proprio", "goal") if (part := getattr(task, name))}
        fields = [Field(name, "float32", shape) for name, shape in single.items()]
        if task.camera is not None:
            fields.append(Field("camera", "uint8", task.camera))
        return cls(task.id, tuple(fields))

    @property
    def actions(self) -> int:
        """Numbers in a command."""
        return next(field.shape[0] for field in self.fields if field.name == "action")

    @property
    def kind(self) -> bytes:
        """What tells steps of this layout from others in a log."""
        parts = [[field.name, field.dtype, field.shape] for field in self.fields]
        return json.dumps([self.task, parts]).encode()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a step in one piece."""
        return np.dtype([(field.name, np.dtype(field.dtype).newbyteorder("<"), field.shape) for field in self.fields])

    def whole(self, step: Mapping[str, Any]) -> bool:
        """Whether all of a step but its surprise is there, of the right shape, and finite."""
        for field in self.fields:
            value = step.get(field.name, 0.0 if field.name == "surprise" else None)
            if value is None or np.shape(value) != field.shape or not np.isfinite(value).all():
                return False
        return True

    def packed(self, step: Mapping[str, Any]) -> bytes:
        """A step as bytes."""
        row = np.zeros((), self.dtype)
        for field in self.fields:
            row[field.name] = step[field.name]
        return row.tobytes()

    def begun(self, packed: bytes) -> bytes:
        """A step from its bytes as one that nothing led to, as bytes."""
        row = np.frombuffer(packed, self.dtype).copy()
        row["is_first"] = 1.0
        return row.tobytes()

    def unpacked(self, payloads: Iterable[bytes]) -> Columns:
        """Steps from bytes; those of another length are left out."""
        size = self.dtype.itemsize
        rows = np.frombuffer(b"".join(one for one in payloads if len(one) == size), self.dtype)
        return {field.name: np.ascontiguousarray(rows[field.name]) for field in self.fields}

    def columns(self, steps: Sequence[Mapping[str, Any]]) -> Columns:
        """Steps from their parts."""
        return self.unpacked([self.packed(step) for step in steps])


class Memory:
    """The last steps, in order, from which sequences are drawn to learn from."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        """
        Args:
            capacity: Steps that are kept; the oldest are forgotten first.
        """
        self.capacity, self.total = capacity, 0
        self.rows = np.zeros(capacity, layout.dtype)

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    def add(self, packed: bytes) -> None:
        """Remember a step, as a layout packed it."""
        self.rows[self.total % self.capacity] = np.frombuffer(packed, self.rows.dtype)[0]
        self.total += 1

    @classmethod
    def of(cls, layout: Layout, steps: Columns) -> "Memory":
        """All of some steps."""
        found = cls(layout, len(steps["reward"]))
        for index in range(found.capacity):
            found.add(layout.packed({field.name: steps[field.name][index] for field in layout.fields}))
        return found

    def steps(self, begin: int, end: int) -> Columns:
        """Steps from a number to before another, as far as they are remembered."""
        numbers = np.arange(max(begin, self.total - len(self)), min(end, self.total))
        return batch_of(self.rows[numbers % self.capacity])

    def first(self, since: int = 0) -> int:
        """Number of the first step, from one on, that is drawn."""
        total = self.total  # which may grow meanwhile, the oldest steps being overwritten
        return max(since, total - len(self) + (int(SPARED * self.capacity) if total > self.capacity else 0))

    def drawn(
        self, count: int, length: int, generator: np.random.Generator, since: int = 0, until: int | None = None
    ) -> NDArray[Any]:
        """Sequences (count, length) of the steps from a number to before another, the more surprising ones more often.

        What is learned, and what then matters for it, are both told by such draws: EWC holds what these losses taught.

        A sequence's chance goes with its mean surprise, that of each step counted up to the 99th percentile: what is
        beyond would be drawn for the sake of a broken reading.

        Raises:
            ValueError: There are fewer steps than a sequence has.
        """
        last, first = self.total if until is None else min(until, self.total), self.first(since)
        begins = np.arange(first, last - length + 1)
        if not len(begins):
            raise ValueError(f"a sequence has {length} steps, came {max(0, last - first)}")
        places = (begins[:, None] + np.arange(length)) % self.capacity
        surprise = self.rows["surprise"][places]
        weight = np.minimum(surprise, np.quantile(surprise, LARGEST_SURPRISE)).mean(1, dtype=np.float64) + LEAST_CHANCE
        chosen = generator.choice(len(begins), count, p=weight / weight.sum())
        found: NDArray[Any] = self.rows[places[chosen]]
        return found


def batch_of(rows: NDArray[Any]) -> Columns:
    """Steps (...,) as columns (..., ...) by name."""
    names = rows.dtype.names or ()
    return {name: np.ascontiguousarray(rows[name]) for name in names}

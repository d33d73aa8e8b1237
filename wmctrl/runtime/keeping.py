"""What was learned while driving, kept in a folder: whoever is switched off goes on where it was.

Steps are in a log. Parameters of the plants that are known are in one of two slots, and `state.json`, which is replaced
as a whole, names the one that counts: at every moment, a power cut included, the old or the new ones are there.
"""

import fcntl
import hashlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wmctrl.runtime import json_file, replay_log, tensors
from wmctrl.runtime.actuation import LONGEST_DELAY, Actuation
from wmctrl.runtime.adaptation import Regime
from wmctrl.runtime.descent import Parameters
from wmctrl.runtime.experience import Layout
from wmctrl.runtime.files import read_bounded, read_verified, write_atomic
from wmctrl.runtime.replay_log import ReplayLog

STATE, LOG, LOCK = "state.json", "log", "lock"
SLOTS = ("slot-a.safetensors", "slot-b.safetensors")
PARTS = ("parameters", "importance", "actuation")
"""Of a plant."""
LARGEST_STATE = 1 << 16
"""Bytes."""


class Known(NamedTuple):
    """The plants that are known, or drive, beside the one that was learned first, which is in the bundle."""

    plants: tuple[Regime, ...]
    active: int
    """Which of them drives, counted from 1; 0 is the first."""

    @classmethod
    def of(cls, regimes: Sequence[Regime], active: Regime) -> "Known":
        """What is worth keeping of the plants that are known, the first one included, and what drives."""
        plants = [*regimes, *([] if active in regimes else [active])]
        return cls(tuple(plants[1:]), plants.index(active))

    def beside(self, first: Regime) -> tuple[list[Regime], Regime]:
        """The plants that are known, the first one included, and what drives, which may not be consolidated yet.

        A plant whose commands alone do something else shares the first one's parameters, as it did: by that it is told
        from one that was learned.
        """
        own = [
            replace(one, parameters=first.parameters) if same(one.parameters, first.parameters) else one
            for one in self.plants
        ]
        return [first, *(one for one in own if one.importance is not None)], [first, *own][self.active]


class Keeper:
    """Keeps steps and parameters in a folder of one bundle's controller."""

    def __init__(self, folder: Path, layout: Layout, origin: str) -> None:
        """
        Args:
            origin: What tells the bundle from others, its manifest's SHA-256 say.

        Raises:
            ValueError: Another process keeps there, it holds what another bundle learned, or a step is too large to be
                kept; nothing was changed.
        """
        self.folder, self.layout, self.origin = folder, layout, origin
        size, most = layout.dtype.itemsize, replay_log.LARGEST_PAYLOAD
        if size > most:
            raise ValueError(
                f"a step of {layout.task} has {size:,} bytes, at most {most:,} are kept; use a smaller camera"
            )
        self._state()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the system however the process ends
        except BlockingIOError:
            self._lock.close()
            raise ValueError(f"{folder} is where another process keeps what it learns; name another folder") from None
        self.log = ReplayLog(folder / LOG, layout.kind)
        self.problem = ""
        """Why what is known is not kept, while that is so."""
        self.slot = 0

    def steps(self, most: int) -> Iterator[bytes]:
        """The last steps of the log, packed; of those behind a lost one it is not known what led to them.

        However late commands took effect then: what was sent within the longest delay may be lost.
        """
        last, known = None, 0
        for number, payload in deque(replay_log.read(self.folder / LOG, self.layout.kind), most):
            if last is not None and number != last + 1:
                known = number + 1 + LONGEST_DELAY
            last = number
            yield payload if number >= known else self.layout.begun(payload)

    def keep(self, known: Known) -> bool:
        """Put what is known into the slot that does not count, and have it count; whether the disk took it."""
        arrays = {
            f"{number}.{part}.{name}": value
            for number, plant in enumerate(known.plants)
            for part, values in _parts(plant).items()
            for name, value in values.items()
        }
        slot = SLOTS[1 - self.slot]
        try:
            sha256 = write_atomic(self.folder / slot, tensors.written(arrays))
            state: dict[str, Any] = {"slot": slot, "sha256": sha256, "origin": self.origin}
            state |= {"plants": len(known.plants), "active": known.active}
            write_atomic(self.folder / STATE, json.dumps(state, indent=1).encode())
        except OSError as error:  # a full disk: driving and learning go on
            self.problem = f"{self.folder}: {error.strerror}"
            return False
        self.slot, self.problem = SLOTS.index(slot), ""
        return True

    def known(self) -> Known | None:
        """What is kept; None where nothing is.

        Raises:
            ValueError: It is of another bundle, or damaged; says what to do.
        """
        state = self._state()
        if state is None:
            return None
        try:
            slot = SLOTS.index(state["slot"])
            arrays = tensors.parse(read_verified(self.folder / SLOTS[slot], state["sha256"]), SLOTS[slot])
            plants: list[dict[str, Parameters]] = [{part: {} for part in PARTS} for _ in range(state["plants"])]
            for key, value in arrays.items():
                number, part, name = key.split(".", 2)
                plants[int(number)][part][name] = value
            regimes = tuple(self._regime(**plant) for plant in plants)
            found = Known(regimes, range(1 + len(regimes))[state["active"]])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{self.folder} is damaged ({error}); delete it to begin anew") from None
        self.slot = slot
        return found

    def _regime(self, parameters: Parameters, importance: Parameters, actuation: Parameters) -> Regime:
        """A plant from its parts.

        Raises:
            ValueError: What commands do is not considered.
        """
        found = Actuation(actuation["gain"], actuation["offset"], int(actuation.get("delay", 0)))
        found.require_sound(self.layout.actions)
        return Regime(parameters, found, importance or None)

    def _state(self) -> dict[str, Any] | None:
        """What counts, where anything does and it is of this bundle."""
        if not (self.folder / STATE).exists():
            return None
        state = json_file.parse(read_bounded(self.folder / STATE, LARGEST_STATE), STATE)
        if state.get("origin") != self.origin:
            raise ValueError(
                f"{self.folder} holds what another bundle learned; name another folder, or delete it to begin anew"
            )
        return state

    def close(self) -> None:
        """Put the last steps on the disk, and let others keep there."""
        self.log.close()
        self._lock.close()


def _parts(plant: Regime) -> dict[str, Parameters]:
    """A plant by PARTS."""
    actuation = {name: np.asarray(value) for name, value in plant.actuation._asdict().items()}
    return dict(zip(PARTS, (plant.parameters, plant.importance or {}, actuation), strict=True))


def same(one: Parameters, other: Parameters) -> bool:
    """Whether parameters have the same values."""
    return one.keys() == other.keys() and all(np.array_equal(value, other[name]) for name, value in one.items())


def origin_of(manifest: bytes) -> str:
    """What tells a bundle from others."""
    return hashlib.sha256(manifest).hexdigest()

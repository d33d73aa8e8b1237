"""What a bundle says of its plant: every element with its name, unit and order, and what is ordinary of it."""

from dataclasses import dataclass

LARGEST_VECTOR = 4096
LARGEST_PICTURE = 1024
LARGEST_READING = 3e38
"""Beyond it nothing is finite in single precision."""
LARGEST_GAIN = 1e6


@dataclass(frozen=True)
class Element:
    """One scalar of an observation, a goal or an action."""

    name: str
    unit: str
    """SI unit, or `1` for a ratio."""
    low: float | None
    """Smallest value expected in ordinary driving, in `unit`; None where nothing bounds it."""
    high: float | None
    """Largest value expected in ordinary driving, in `unit`."""


@dataclass(frozen=True)
class Gain:
    """How much of a command answers to what is sensed, when the plant is to come to rest."""

    action: int
    """Index of the action."""
    proprio: int
    """Index into the observation's `proprio`."""
    gain: float
    """Command, in [-1, 1], for one of the element's units."""


@dataclass(frozen=True)
class Task:
    """The plant that the bundle drives."""

    id: str
    """As `wm envs` names it."""
    control_period: float
    """Time between two actions [s]."""
    proprio: tuple[Element, ...]
    """In the order of the observation's `proprio`, in their own units: the graphs normalise."""
    goal: tuple[Element, ...]
    action: tuple[Element, ...]
    """Commands are in [-1, 1]; `low` and `high` are what these stand for physically."""
    camera: tuple[int, int, int] | None
    """Height, width, channels of uint8 pixels."""
    safe: tuple[Gain, ...]
    """What brings the plant to rest where nothing better is known: commands of zero, plus these, saturated."""
    observe: tuple[str, ...] | None
    """Parts of the observation, where they are not the task's usual ones."""
    config: dict[str, str]
    """Entries of the environment's own configuration, each as JSON text."""

    def __post_init__(self) -> None:
        if not 1e-5 <= self.control_period <= 1e3:
            raise ValueError(f"control_period must be from 1e-5 to 1000 s, came {self.control_period:g}")
        if not 1 <= len(self.action) <= LARGEST_VECTOR:
            raise ValueError(f"action must have from 1 to {LARGEST_VECTOR} elements, came {len(self.action)}")
        if max(len(self.proprio), len(self.goal)) > LARGEST_VECTOR:
            raise ValueError(f"proprio and goal must have at most {LARGEST_VECTOR} elements")
        if self.camera is not None and not all(1 <= size <= LARGEST_PICTURE for size in self.camera):
            raise ValueError(f"camera must be from 1 to {LARGEST_PICTURE} along every axis, came {self.camera}")
        for gain in self.safe:
            if not (0 <= gain.action < len(self.action) and 0 <= gain.proprio < len(self.proprio)):
                raise ValueError(f"safe: no action {gain.action} or no proprio {gain.proprio} is there")
            if not abs(gain.gain) <= LARGEST_GAIN:
                raise ValueError(f"safe: a gain must be at most {LARGEST_GAIN:g} in size, came {gain.gain:g}")
        if not self.proprio and self.camera is None:
            raise ValueError("a task observes proprio, a camera or both, came neither")


@dataclass(frozen=True)
class Ordinary:
    """What an element's readings are like: of all that were recorded, in its unit."""

    least: float
    most: float
    error: float
    """Distance from what was expected of the reading that 999 of 1,000 do not exceed."""
    still: int
    """Most readings in a row that were the same."""

    def __post_init__(self) -> None:
        if not -LARGEST_READING <= self.least <= self.most <= LARGEST_READING:
            raise ValueError(f"least and most must be in order and finite, came {self.least:g} and {self.most:g}")
        if not (0.0 <= self.error <= LARGEST_READING and self.still >= 1):
            raise ValueError(f"error must be at least 0 and still at least 1, came {self.error:g} and {self.still}")


@dataclass(frozen=True)
class Calibration:
    """What is ordinary: what is beyond is not believed of a sensor, or not expected of the model."""

    surprise: float
    """Of an observation, that 999 of 1,000 do not exceed [nats]."""
    proprio: tuple[Ordinary, ...]
    """Of every element."""
    still_pictures: int
    """Most pictures in a row that were the same; 0 without a camera."""

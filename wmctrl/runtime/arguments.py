"""What a caller hands over, refused in one line where it is not what is wanted."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.records import shown

NUMBERS = "fiub"
"""numpy's kinds of what is taken for numbers: floats, whole numbers, truth values."""


def hold_whole(name: str, value: Any, least: int, most: int) -> None:
    """Refuse what is not a whole number within bounds.

    Raises:
        ValueError: It is not.
    """
    if not (isinstance(value, int | np.integer) and least <= value <= most):
        raise ValueError(f"{name} must be a whole number from {least:,} to {most:,}, came {shown(value)}")


def hold_names(given: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse an observation with a part that nothing takes: its name may be misspelt.

    Raises:
        ValueError: There is one.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"the observation holds {shown(unknown[0])}, which is not taken; known: {', '.join(known)}")


def numbers(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Numbers of a shape, as an array of whatever type they came in.

    Raises:
        ValueError: They are not numbers, or of another shape.
    """
    try:
        found = np.asarray(value)
    except Exception:  # lists of unequal lengths, or whatever else does not become an array, for reasons of its own
        found = np.asarray(None)
    if found.dtype.kind not in NUMBERS:
        raise ValueError(f"{name} must be numbers of shape {shape}, came {shown(value)}")
    if found.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}, came {found.shape}")
    return found


def part(given: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any] | None:
    """A part of an observation as its graph takes it, finite or not; None where it is said to be not known.

    Raises:
        ValueError: It is missing, or of another shape or type.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"the observation must be a dictionary that holds {name} {shape}, came {type(given).__name__}")
    if name not in given:
        raise ValueError(f"the observation must hold {name} {shape}, came {', '.join(map(str, given)) or 'nothing'}")
    if given[name] is None:
        return None
    value = numbers(name, given[name], shape)
    if dtype == "uint8":
        if value.dtype != np.uint8:
            raise ValueError(f"{name} must be uint8, came {value.dtype}")
        return value
    return single(value)


def single(value: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers in single precision, infinite where they are beyond it."""
    with np.errstate(over="ignore"):
        return value.astype(np.float32)

"""Arrays from safetensors files that nobody vouches for."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime import json_file
from wmctrl.runtime.records import shown

LARGEST_HEADER = 1 << 20
"""Bytes."""
MOST_TENSORS = 4096
MOST_DIMENSIONS = 8
LARGEST_ARRAY = 1 << 31
"""Bytes that an array's shape may speak of, counting empty axes as 1."""
METADATA = "__metadata__"
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("bool"),
}


class Entry(NamedTuple):
    """Where an array lies behind the header, and what it is."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def parse(content: bytes, name: str) -> dict[str, NDArray[Any]]:
    """Read-only arrays of a safetensors file by name.

    Args:
        name: The file's, for messages.

    Raises:
        ValueError: The file is not what it says, or larger than anything of ours.
    """
    if len(content) < 8:
        raise ValueError(f"{name}: has {len(content)} bytes, expected a safetensors file of 8 or more")
    size = int.from_bytes(content[:8], "little")
    if size > min(LARGEST_HEADER, len(content) - 8):
        raise ValueError(
            f"{name}: speaks of a header of {size:,} bytes, expected at most {LARGEST_HEADER:,} and within the file"
        )
    header = json_file.parse(content[8 : 8 + size], name)
    try:
        _hold_metadata(header.pop(METADATA, {}))
        if len(header) > MOST_TENSORS:
            raise ValueError(f"holds {len(header):,} arrays, expected at most {MOST_TENSORS:,}")
        entries = [_entry(key, value) for key, value in header.items()]
        _hold_layout(entries, len(content) - 8 - size)
        return {entry.name: _array(content, 8 + size, entry) for entry in entries}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _hold_metadata(value: Any) -> None:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"{METADATA} must be an object of texts, came {shown(value)}")


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown(name)} must have dtype, shape and data_offsets, came {shown(value)}")
    dtype = DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if dtype is None:
        raise ValueError(f"{shown(name)} is of type {shown(value['dtype'])}, expected one of {', '.join(DTYPES)}")
    shape, offsets = _naturals(value["shape"]), _naturals(value["data_offsets"])
    if shape is None or len(shape) > MOST_DIMENSIONS:
        raise ValueError(
            f"{shown(name)} has shape {shown(value['shape'])}, expected at most {MOST_DIMENSIONS} whole numbers from 0"
        )
    if offsets is None or len(offsets) != 2:
        raise ValueError(f"{shown(name)} has data_offsets {shown(value['data_offsets'])}, expected a begin and an end")
    if math.prod(max(1, length) for length in shape) * dtype.itemsize > LARGEST_ARRAY:
        raise ValueError(f"{shown(name)} has shape {shown(shape)}, expected at most {LARGEST_ARRAY:,} bytes")
    needed, came = math.prod(shape) * dtype.itemsize, offsets[1] - offsets[0]
    if needed != came:
        raise ValueError(f"{shown(name)} has {came:,} bytes, expected {needed:,} for {dtype.name} {shown(shape)}")
    return Entry(name, dtype, shape, offsets[0], offsets[1])


def _naturals(value: Any) -> tuple[int, ...] | None:
    """A list of whole numbers from 0, None where it is not one."""
    if isinstance(value, list) and all(type(item) is int and item >= 0 for item in value):
        return tuple(value)
    return None


def _hold_layout(entries: list[Entry], size: int) -> None:
    """Arrays lie behind each other, without gaps, up to the file's end."""
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:
            raise ValueError(
                f"{shown(entry.name)} begins at {entry.begin:,}, expected {end:,}, where the last one ends"
            )
        end = entry.end
    if end != size:
        raise ValueError(f"holds {size:,} bytes of arrays, expected {end:,} from the header")


def _array(content: bytes, begin: int, entry: Entry) -> NDArray[Any]:
    count = math.prod(entry.shape)
    if count == 0:
        array = np.zeros(entry.shape, entry.dtype)
    else:
        array = np.frombuffer(content, entry.dtype, count, begin + entry.begin).reshape(entry.shape).copy()
    if entry.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"{shown(entry.name)} has bytes other than 0 and 1, expected truth values")
    array.flags.writeable = False
    return array


def written(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as the content of a safetensors file."""
    kinds = {dtype: name for name, dtype in DTYPES.items()}
    header, parts, end = {}, [], 0
    for name, array in arrays.items():
        content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": kinds[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(content)],
        }
        parts.append(content)
        end += len(content)
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + b"".join(parts)

"""Arrays are what safetensors wrote, or refused by the file's name."""

import json
import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from wmctrl.runtime.tensors import LARGEST_HEADER, MOST_TENSORS, parse

NAME = "noise.safetensors"
ARRAYS: dict[str, NDArray[Any]] = {
    "f64": np.linspace(-1, 1, 3),
    "f32": np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5),
    "f16": np.ones((7, 1), np.float16),
    "i64": np.array([-(2**63), 2**63 - 1]),
    "i32": np.array(11, np.int32),
    "u8": np.arange(13, dtype=np.uint8),
    "bool": np.array([[True, False, True]]),
    "empty": np.zeros((0, 17), np.float32),
}


def written(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_arrays_are_read_as_they_were_written() -> None:
    read = parse(save(ARRAYS, {"made by": "test"}), NAME)
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read[name], array)


def test_arrays_are_contiguous_and_cannot_be_written() -> None:
    for array in parse(save(ARRAYS), NAME).values():
        assert array.flags.c_contiguous
        assert array.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_no_arrays_are_no_fault() -> None:
    assert parse(save({}), NAME) == {}


WRONG = {
    b"": "has 0 bytes, expected a safetensors file of 8 or more",
    b"\xff" * 8 + b"{}": "speaks of a header of 18,446,744,073,709,551,615 bytes, expected at most 1,048,576",
    (100).to_bytes(8, "little") + b"{}": "speaks of a header of 100 bytes",
    written(b" " * LARGEST_HEADER + b"{}"): "speaks of a header of 1,048,578 bytes",
    written(b"[]"): "must hold a JSON object",
    written(b'{"a": 1, "a": 1}'): "has 'a' twice",
    written({"__metadata__": {"a": 1}}): "__metadata__ must be an object of texts",
    written({"a": 7}): "'a' must have dtype, shape and data_offsets",
    written({"a": {**entry(), "more": 1}}, bytes(8)): "'a' must have dtype, shape and data_offsets",
    written({"a": entry("BF16", (4,))}, bytes(8)): "'a' is of type 'BF16', expected one of F64, F32",
    written({"a": entry([])}, bytes(8)): r"'a' is of type \[\]",
    written({"a": entry(shape=(-2,))}, bytes(8)): r"'a' has shape \[-2\]",
    written({"a": entry(shape=(2.0,))}, bytes(8)): r"'a' has shape \[2.0\]",
    written({"a": entry(shape=(True, 2))}, bytes(8)): r"'a' has shape \[True, 2\]",
    written({"a": entry(shape=2)}, bytes(8)): "'a' has shape 2",
    written({"a": entry(shape=(2, *[1] * 8))}, bytes(8)): "expected at most 8 whole numbers",
    written({"a": entry(shape=(3,))}, bytes(8)): r"'a' has 8 bytes, expected 12 for float32 \(3,\)",
    written({"a": entry(shape=(0, 1 << 62), offsets=(0, 0))}): "expected at most 2,147,483,648 bytes",
    written({"a": entry(shape=(1 << 62, 1 << 62))}, bytes(8)): "expected at most 2,147,483,648 bytes",
    written({"a": entry(offsets=(8, 0))}, bytes(8)): "'a' has -8 bytes, expected 8",
    written({"a": entry(offsets=(0, 8, 16))}, bytes(8)): "expected a begin and an end",
    written({"a": entry(offsets=(-8, 0))}, bytes(8)): "expected a begin and an end",
    written({"a": entry(offsets=(4, 12))}, bytes(12)): "'a' begins at 4, expected 0",
    written({"a": entry(), "b": entry()}, bytes(8)): "'b' begins at 0, expected 8",
    written({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)): "'b' begins at 12, expected 8",
    written({"a": entry()}, bytes(7)): "holds 7 bytes of arrays, expected 8",
    written({"a": entry()}, bytes(9)): "holds 9 bytes of arrays, expected 8",
    written({"a": entry("BOOL", (2,), (0, 2))}, b"\1\2"): "'a' has bytes other than 0 and 1",
    written({str(i): entry("U8", (0,), (0, 0)) for i in range(MOST_TENSORS + 1)}): "holds 4,097 arrays",
}


@pytest.mark.parametrize(("content", "reason"), WRONG.items(), ids=lambda value: repr(value)[-40:])
def test_what_is_not_what_it_says_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^noise.safetensors: .*{reason}") as refusal:
        parse(content, NAME)
    assert str(refusal.value).isprintable()


def test_a_file_cut_anywhere_is_refused() -> None:
    content = save(ARRAYS)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"^noise.safetensors: "):
            parse(content[:length], NAME)


def test_damage_is_refused_or_read_as_safetensors_reads_it() -> None:
    content, generator, legal = save(ARRAYS), random.Random(19), 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(generator.choice((1, 1, 3))):
            damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        try:
            read = parse(bytes(damaged), NAME)
        except ValueError as error:
            reason = str(error)
        else:
            legal += 1
            expected = load(bytes(damaged))
            assert read.keys() == expected.keys()
            assert all(read[name].tobytes() == expected[name].tobytes() for name in read)
            continue
        assert reason.startswith("noise.safetensors: ")
        assert reason.isprintable()
    assert 300 < legal < 2500

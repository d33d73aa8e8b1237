"""JSON from strangers is bounded before it is taken apart, and refused by the file's name."""

import json
import random
import time
from typing import Any

import pytest

from wmctrl.runtime.json_file import DEEPEST, LARGEST_FILE, MOST_PARTS, parse

NAME = "manifest.json"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": [1, -2.5, 1e-3, True, None, '°[{\\"', {"b": []}]},
        {"least": -(2**63), "most": 2**63, "": "\U0001f916"},
        {"[" * 99: '\\"' * 99 + "]" * 99},
    ],
)
@pytest.mark.parametrize("ascii_alone", [True, False])
def test_what_was_written_is_read(value: dict[str, Any], ascii_alone: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_alone).encode(), NAME) == value


def test_objects_may_be_as_deep_as_told() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    parse(nested(DEEPEST), NAME)
    with pytest.raises(ValueError, match=r"^manifest.json: has objects or lists more than 16 deep$"):
        parse(nested(DEEPEST + 1), NAME)


WRONG = {
    b"": "is not JSON: Expecting value in line 1, column 1",
    b"[1]": "must hold a JSON object, came \\[1\\]",
    b'"text"': "must hold a JSON object",
    b'{"a": 1,}': "is not JSON",
    b'{"a": 1} {}': "is not JSON: Extra data",
    b"{'a': 1}": "is not JSON",
    b'{"a": "\x01"}': "is not JSON: Invalid control character",
    b'\xef\xbb\xbf{"a": 1}': "is not JSON: Unexpected UTF-8 BOM",
    b'{"a": "\xff"}': "is not JSON in UTF-8: byte 7",
    '{"a": 1}'.encode("utf-16"): "is not JSON",
    b'{"a": "\\ud800"}': "has half of a surrogate pair",
    b'{"\\udfff": 1}': "has half of a surrogate pair",
    b'{"a": 1, "b": {"c": 2, "c": 2}}': "has 'c' twice in one object",
    b'{"a": NaN}': "has NaN, which is no number in JSON",
    b'{"a": -Infinity}': "has -Infinity, which is no number in JSON",
    b'{"a": 1e999}': "has the number 1e999, which is too large",
    b'{"a": 9223372036854775809}': "has the number 9223372036854775809, expected at most",
    b'{"a": -' + b"9" * 1000 + b"}": "has a number of 1,001 characters, expected at most 40",
    b'{"a": 0.' + b"9" * 1000 + b"}": "has a number of 1,002 characters, expected at most 40",
    b" " * LARGEST_FILE + b"{}": "has 4,194,306 bytes of JSON, expected at most 4,194,304",
}


@pytest.mark.parametrize(("content", "reason"), WRONG.items(), ids=lambda value: repr(value)[:40])
def test_what_is_not_plain_json_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^manifest.json: {reason}") as refusal:
        parse(content, NAME)
    assert str(refusal.value).isprintable()


MILLION = 1_000_000
BOMBS = {
    "deep": b"[" * 4 * MILLION,
    "deep objects": b'{"a":' * 800_000,
    "deep behind text": b'{"' + b'\\"' * MILLION + b'":' + b"[" * MILLION,
    "open text": b'"' + b'\\"' * 2 * MILLION,
    "open escape": b'"' + b"\\" * (2 * MILLION + 1),
    "digits": b'{"a":' + b"1" * 4 * MILLION + b"}",
    "wide": b'{"a":[' + b"[]," * (MOST_PARTS + 1) + b"1]}",
    "many names": b"{" + b",".join(b'"%d":1' % i for i in range(200_000)) + b',"0":1}',
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS.keys())
def test_hostile_content_is_refused_soon(content: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=r"^manifest.json: "):
        parse(content, NAME)
    assert time.process_time() - began < 5.0


def test_damage_is_refused_or_legal() -> None:
    valid = json.dumps({"files": {"a": {"bytes": 7, "sha256": "0f"}}, "list": [1.5, None, "x\\n"]}).encode()
    generator = random.Random(13)
    for _ in range(2000):
        damaged = bytearray(valid)
        for _ in range(generator.choice((1, 2, 5))):
            damaged[generator.randrange(len(valid))] = generator.randrange(256)
        try:
            assert isinstance(parse(bytes(damaged), NAME), dict)
        except ValueError as error:
            reason = str(error)
        else:
            continue
        assert reason.startswith("manifest.json: ")
        assert reason.isprintable()

"""JSON from files that nobody vouches for: bounded in size, depth and digits before it is taken apart."""

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from wmctrl.runtime.records import shown

LARGEST_FILE = 4 << 20
"""Bytes."""
DEEPEST = 16
"""Objects and lists within each other."""
MOST_PARTS = 200_000
"""Objects and lists altogether."""
LARGEST_NUMBER = 2**63
LONGEST_NUMBER = 40
"""Characters of a number."""
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
"""Always ends, at the file's end where no quote does, so that finding all of them takes one pass."""
BRACKET = re.compile(r"[\[\]{}]")


def parse(content: bytes, name: str) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        name: The file's, for messages.

    Raises:
        ValueError: It is not an object in plain JSON, or is larger or deeper than anything of ours.
    """
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{name}: has {len(content):,} bytes of JSON, expected at most {LARGEST_FILE:,}")
    try:
        text = content.decode()
        _hold_depth(text)
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_whole, parse_float=_real, parse_constant=_refuse_constant
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: is not JSON in UTF-8: byte {error.start} is none of a character's") from None
    except UnicodeEncodeError:
        raise ValueError(f"{name}: has half of a surrogate pair in a text, expected whole characters") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name}: must hold a JSON object, came {shown(value)}")
    return value


def _hold_depth(text: str) -> None:
    depth = parts = 0
    for bracket in BRACKET.finditer(STRING.sub("", text)):
        opens = bracket[0] in "[{"
        depth, parts = (depth + 1, parts + 1) if opens else (depth - 1, parts)
        if depth > DEEPEST:
            raise ValueError(f"has objects or lists more than {DEEPEST} deep")
        if parts > MOST_PARTS:
            raise ValueError(f"has more than {MOST_PARTS:,} objects and lists")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"has {shown(twice)} twice in one object")
    return found


def _whole(text: str) -> int:
    _hold_length(text)
    number = int(text)
    if abs(number) > LARGEST_NUMBER:
        raise ValueError(f"has the number {shown(number)}, expected at most 2^63")
    return number


def _real(text: str) -> float:
    _hold_length(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"has the number {text}, which is too large")
    return number


def _hold_length(text: str) -> None:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"has a number of {len(text):,} characters, expected at most {LONGEST_NUMBER}")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"has {text}, which is no number in JSON")

"""Records: frozen dataclasses to and from JSON, refused by the name of the field that is wrong."""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
"""A frozen dataclass of bool, int, float, str, None, tuples, dicts by name, and other such dataclasses."""

LONGEST_TEXT = 4096
LONGEST_NAME = 200
NAMES: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}


def read(cls: type[Record], value: Any, place: str) -> Record:
    """A record from what JSON held.

    Args:
        place: Where it stood, for messages, such as `manifest.json`.

    Raises:
        ValueError: A field is missing, unknown or of another type, or the record refuses its values.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{place}: must be an object, came {shown(value)}")
    fields = {field.name: field for field in dataclasses.fields(cast("Any", cls))}
    for name in value:
        if name not in fields:
            raise ValueError(f"{place}: {shown(name)} is not a field here; known: {', '.join(fields)}")
    for name in fields:
        if name not in value:
            raise ValueError(f"{place}: {name} is missing")
    hints = get_type_hints(cls)
    values = {name: _value(hints[name], value[name], f"{place}: {name}") for name in fields}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def plain(record: Any) -> Any:
    """A record as what JSON holds."""
    if dataclasses.is_dataclass(record):
        return {field.name: plain(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {name: plain(item) for name, item in record.items()}
    return [plain(item) for item in record] if isinstance(record, tuple) else record


def in_a_line(error: BaseException) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def shown(value: Any) -> str:
    """A value in a message, on one line, and cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _value(kind: Any, value: Any, place: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return read(cast("type[Any]", kind), value, place)
    if origin in (Union, types.UnionType):
        kept = [part for part in parts if part is not types.NoneType]
        return None if value is None else _value(kept[0], value, place)
    if origin is tuple:
        return _tuple(parts, value, place)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{place} must be an object, came {shown(value)}")
        for name in value:
            if len(name) > LONGEST_NAME or not name.isprintable():
                raise ValueError(f"{place}: {shown(name)} is no name of at most {LONGEST_NAME} printable characters")
        return {name: _value(parts[1], item, f"{place}.{name}") for name, item in value.items()}
    return _scalar(kind, value, place)


def _tuple(parts: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{place} must be a list, came {shown(value)}")
    kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
    if len(kinds) != len(value):
        raise ValueError(f"{place} must be a list of {len(kinds)}, came {len(value)}")
    return tuple(_value(kind, item, f"{place}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _scalar(kind: type, value: Any, place: str) -> Any:
    """A number, text or truth value of just this type; a whole number is also a float."""
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{place} must be {NAMES[kind]}, came {shown(value)}")
    if kind is str and len(value) > LONGEST_TEXT:
        raise ValueError(f"{place} must have at most {LONGEST_TEXT:,} characters, has {len(value):,}")
    if kind is str and not value.isprintable():
        raise ValueError(f"{place} must be of printable characters alone, came {shown(value)}")
    return float(value) if kind is float else value

"""Settings as YAML, to and from frozen dataclasses, with errors that name the file, the key and the fix."""

import contextlib
import dataclasses
import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

Settings = TypeVar("Settings")
"""A frozen dataclass of bool, int, float, str, None, Literal, tuples of these, dict, and other such dataclasses."""

SCALARS: Mapping[str, tuple[str, Sequence[str]]] = {
    "null": (r"(~|null|Null|NULL|)$", ["", *"~nN"]),
    "bool": (r"(true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"[-+]?(0|[1-9][0-9_]*)$", "-+0123456789"),
    "float": (r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$|[-+]?\.inf$|\.nan$", "-+.0123456789"),
}
"""YAML 1.2's scalars: pattern and possible first characters. In PyYAML's 1.1 `1e-3` is text and `no` is false."""

SCALAR_NAMES: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """SCALARS in the form PyYAML wants: by first character, the tags to try in order."""
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, (pattern, starts) in SCALARS.items():
        for start in starts:
            table.setdefault(start, []).append((f"tag:yaml.org,2002:{tag}", re.compile(pattern)))
    return table


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
        return mapping


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _resolvers()


def shipped(name: str) -> Path:
    """A file or folder that travels with the package: inside it when installed, beside it in a source tree."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.exists() else package.parent / name


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty for an empty file.

    Raises:
        ValueError: Not YAML, or no mapping at the top; says where.
        OSError: The file cannot be read.
    """
    content = _parsed(path.read_bytes(), str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold `key: value` lines, holds {_described(content)}")
    return content


def _parsed(text: str | bytes, source: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        place = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{source}{place}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def to_mapping(settings: Any) -> dict[str, Any]:
    """All settings as plain dicts, lists and scalars, ready for YAML or JSON."""
    return {field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def to_yaml(settings: Any) -> str:
    """All settings as YAML text that `read_yaml` and `from_mapping` turn back into an equal instance."""
    return yaml.dump(to_mapping(settings), Dumper=_Dumper, sort_keys=False)


def from_mapping(cls: type[Settings], mapping: Mapping[str, Any], source: str) -> Settings:
    """Settings from nested mappings; what is not given keeps its default.

    Args:
        source: Where the mapping came from, for error messages.

    Raises:
        ValueError: Unknown key (with the nearest known one), value of the wrong type, or refused by the dataclass.
    """
    return _built(cls, mapping, None, _Place(source))


def updated(settings: Settings, mapping: Mapping[str, Any], source: str) -> Settings:
    """A copy with what the mapping gives, at any depth; raises as `from_mapping` does."""
    return _built(type(settings), mapping, settings, _Place(source))


def with_overrides(settings: Settings, overrides: Iterable[str]) -> Settings:
    """A copy with `a.b=c` texts applied together, a later one over an earlier; values are YAML, such as `[1, 2]`.

    Raises:
        ValueError: As `from_mapping` does, or an override without `=`.
    """
    mapping: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not (equals and key.strip()):
            raise ValueError(f"an override must read key=value, such as agent.planner.horizon=12; came {override!r}")
        _nest(mapping, key.strip().split("."), _parsed(text, override))
    return updated(settings, mapping, "--set")


def _nest(mapping: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        if not isinstance(mapping.get(name), dict):
            mapping[name] = {}
        mapping = mapping[name]
    mapping[path[-1]] = value


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: what was probably meant, else all there is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a value was given, for messages."""

    source: str
    key: str = ""

    def inner(self, name: object) -> "_Place":
        return _Place(self.source, f"{self.key}.{name}" if self.key else str(name))

    def error(self, must: str) -> ValueError:
        return ValueError(f"{self.source}: {self.key} {must}" if self.key else f"{self.source}: {must}")

    def refusal(self, wanted: str, value: Any) -> ValueError:
        return self.error(f"must be {wanted}, came {_described(value)}")


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{len(value)} settings" if isinstance(value, Mapping) else repr(value)


def _built(cls: type[Settings], mapping: Mapping[str, Any], base: Settings | None, place: _Place) -> Settings:
    fields = {field.name: field for field in dataclasses.fields(cast("Any", cls)) if field.init}
    for name in mapping:
        if name not in fields:
            near = nearest(str(name), fields)
            raise place.inner(name).error(f"is not a setting; {near}")
    hints = get_type_hints(cls)
    old = {name: _default(field) if base is None else getattr(base, name) for name, field in fields.items()}
    new = {name: _value(hints[name], value, old[name], place.inner(name)) for name, value in mapping.items()}
    values = old | new
    for name, value in values.items():
        if value is dataclasses.MISSING:
            raise place.inner(name).error("is required")
    try:
        return cls(**values)
    except ValueError as error:
        raise place.error(str(error)) from error


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _value(kind: Any, value: Any, old: Any, place: _Place) -> Any:
    """`value` as a `kind`; `old` is what an inner dataclass keeps where the mapping says nothing."""
    origin, choices = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise place.refusal("a group of settings", value)
        return _built(cast("type[Any]", kind), value, old if type(old) is kind else None, place)
    if origin in (Union, types.UnionType):
        return _one_of(choices, value, old, place)
    if origin is Literal:
        return _choice(choices, value, place)
    if origin is tuple:
        return _tuple(choices, value, place)
    if origin is dict:
        return _entries(choices[1], value, old, place)
    if kind is Any:
        return value
    return _scalar(kind, value, place)


def _one_of(kinds: Sequence[Any], value: Any, old: Any, place: _Place) -> Any:
    """The first alternative that takes the value; the last one's objection where none does."""
    if value is None and types.NoneType in kinds:
        return None
    *others, last = [kind for kind in kinds if kind is not types.NoneType]
    for kind in others:
        with contextlib.suppress(ValueError):
            return _value(kind, value, old, place)
    return _value(last, value, old, place)


def _choice(choices: Sequence[Any], value: Any, place: _Place) -> Any:
    for choice in choices:
        if choice == value and type(choice) is type(value):
            return choice
    raise place.refusal(f"one of {', '.join(map(str, choices))}", value)


def _tuple(kinds: Sequence[Any], value: Any, place: _Place) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise place.refusal("a list, such as [1, 2]", value)
    each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
    if len(each) != len(value):
        raise place.refusal(f"a list of {len(each)}", value)
    return tuple(_value(each[i], item, None, place.inner(i)) for i, item in enumerate(value))


def _entries(kind: Any, value: Any, old: Any, place: _Place) -> dict[str, Any]:
    """Settings that somebody else knows the names of, beside those there were."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise place.refusal("entries by name, such as {vehicles_count: 20}", value)
    return {**(old or {}), **{name: _value(kind, item, None, place.inner(name)) for name, item in value.items()}}


def _scalar(kind: type, value: Any, place: _Place) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and number and value % 1 == 0:
        return int(value)
    if kind is float and number and not math.isnan(value):
        return float(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    raise place.refusal(SCALAR_NAMES[kind], value)

"""Protocol Buffers' wire format, read strictly: what is not expected is refused, and nothing is copied."""

import struct
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["integer", "float", "text", "span", "aside", "refused"]
"""Spans are bytes or messages and only located; what is aside is skipped; what is refused is so by its name."""
Span = tuple[int, int]
"""Where something begins and ends in the content."""
VARINT, LENGTH, FIXED32 = 0, 2, 5
"""Wire types. Of the others, 1 holds what no message of ours has, 3 and 4 are long out of use."""
WIRES: Mapping[Kind, tuple[int, ...]] = {
    "integer": (VARINT,),
    "float": (FIXED32,),
    "text": (LENGTH,),
    "span": (LENGTH,),
    "aside": (LENGTH,),
    "refused": (VARINT, 1, LENGTH, FIXED32),
}
LONGEST_TEXT = 1024
"""Bytes."""
MOST_ASIDE = 1 << 20
"""Bytes altogether."""
FLOAT = struct.Struct("<f")


class Field(NamedTuple):
    """One field of a kind of message."""

    name: str
    kind: Kind
    repeated: bool


class Layout(NamedTuple):
    """The fields of a kind of message."""

    title: str
    fields: Mapping[int, Field]
    """By number and wire type, as they stand in front of a value: number * 8 + wire type."""


def layout(title: str, **fields: tuple[int, Kind] | tuple[int, Kind, Literal["repeated"]]) -> Layout:
    """A kind of message.

    Args:
        fields: Number and kind of every field by name; repeated numbers may also come packed.
    """
    found = {}
    for name, (number, kind, *repeated) in fields.items():
        packed = (LENGTH,) if repeated and kind in ("integer", "float") else ()
        for wire in (*WIRES[kind], *packed):
            found[number * 8 + wire] = Field(name, kind, bool(repeated))
    return Layout(title, found)


class Reader:
    """Takes messages apart, one level at a time, until a number of fields is used up."""

    def __init__(self, content: bytes, most_fields: int) -> None:
        self.content, self.left, self.aside = content, most_fields, 0

    def message(self, span: Span, layout: Layout) -> dict[str, Any]:
        """Fields of a message by name; those that are absent are absent, repeated ones are lists.

        Raises:
            ValueError: Says at which byte the content is not such a message.
        """
        begin = span[0]
        try:
            return self._message(span, layout)
        except IndexError:
            raise ValueError(f"byte {begin:,}: {layout.title} goes on beyond the end of the file") from None
        except UnicodeDecodeError:
            raise ValueError(f"byte {begin:,}: {layout.title} has a text that is not UTF-8") from None

    def _message(self, span: Span, layout: Layout) -> dict[str, Any]:
        content, (at, end), fields = self.content, span, layout.fields
        found: dict[str, Any] = {}
        while at < end:
            self.left -= 1
            begin, tag = at, content[at]
            at += 1
            if tag > 127:
                tag, at = self._varint(begin)
            field = fields.get(tag)
            if field is None or field.kind == "refused":
                raise self._unexpected(begin, tag, layout, field)
            name, kind, repeated = field
            value: Any
            wire = tag & 7
            if wire == LENGTH:
                size = content[at]
                at += 1
                if size > 127:
                    size, at = self._varint(at - 1)
                first, at = at, at + size
                if kind != "text":
                    value = self._delimited(kind, (first, at), end)
                elif size <= LONGEST_TEXT:
                    value = content[first:at].decode()
                else:
                    raise ValueError(f"byte {begin:,}: {name} has {size:,} bytes, expected at most {LONGEST_TEXT:,}")
            elif wire == VARINT:
                value = content[at]
                at += 1
                if value > 127:
                    value, at = self._varint(at - 1)
                    value -= value >> 63 << 64
            else:
                at += 4
                if at <= end:
                    (value,) = FLOAT.unpack_from(content, at - 4)
            if at > end or self.left < 0:
                raise self._too_long(begin, layout, name)
            if not repeated:
                if name in found:
                    raise ValueError(f"byte {begin:,}: {layout.title} has {name} twice")
                found[name] = value
            elif wire == LENGTH and kind in ("integer", "float"):
                found.setdefault(name, []).extend(value)
            else:
                found.setdefault(name, []).append(value)
        return found

    def _delimited(self, kind: Kind, span: Span, end: int) -> Any:
        """What a span of a kind holds, in a message that ends somewhere."""
        if kind == "integer" or kind == "float":
            return self._packed(kind, span) if span[1] <= end else []  # the caller refuses
        if kind == "aside":
            self.aside += span[1] - span[0]
            if self.aside > MOST_ASIDE:
                raise ValueError(f"byte {span[0]:,}: notes have more than {MOST_ASIDE:,} bytes; export without them")
        return span

    def _packed(self, kind: Kind, span: Span) -> list[Any]:
        at, end = span
        self.left -= end - at
        if self.left < 0:
            return []  # the caller refuses
        if kind == "float":
            if (end - at) % FLOAT.size:
                raise ValueError(f"byte {at:,}: {end - at} bytes of packed floats, expected a multiple of 4")
            return [value for (value,) in FLOAT.iter_unpack(self.content[at:end])]
        found = []
        while at < end:
            value, at = self._varint(at)
            found.append(value - (value >> 63 << 64))
        if at > end:
            raise ValueError(f"byte {span[0]:,}: the last of some packed integers is cut off")
        return found

    def _varint(self, begin: int) -> tuple[int, int]:
        """An unsigned integer of at most 64 bits, and where it ends."""
        content, at, value, shift = self.content, begin, 0, 0
        while shift < 64:
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                if value >> 64:
                    break
                return value, at
            shift += 7
        raise ValueError(f"byte {begin:,}: an integer has more than 64 bits")

    def _unexpected(self, begin: int, tag: int, layout: Layout, field: Field | None) -> ValueError:
        if field is not None:
            return ValueError(f"byte {begin:,}: {layout.title} has {field.name}, which no graph of ours has")
        return ValueError(f"byte {begin:,}: {layout.title} has no field {tag >> 3} of wire type {tag & 7}")

    def _too_long(self, begin: int, layout: Layout, name: str) -> ValueError:
        if self.left < 0:
            return ValueError(f"byte {begin:,}: the file has more fields than any graph of ours")
        return ValueError(f"byte {begin:,}: {name} goes on beyond the end of {layout.title}")


def header(number: int, length: int) -> bytes:
    """What stands before a field of some length: its number, its wire type and how long it is, in the shortest way."""
    found = bytearray()
    for value in (number * 8 + LENGTH, length):
        while value > 127:
            found.append(value & 127 | 128)
            value >>= 7
        found.append(value)
    return bytes(found)


def begun(content: bytes, number: int, span: Span) -> int:
    """Where a field begins, its header included, whose value is a span.

    Raises:
        ValueError: Its header is written in another way than the shortest.
    """
    wanted = header(number, span[1] - span[0])
    begin = span[0] - len(wanted)
    if begin < 0 or content[begin : span[0]] != wanted:
        raise ValueError(f"byte {span[0]:,}: field {number} is written in a longer way than it needs")
    return begin

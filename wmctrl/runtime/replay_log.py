"""The log of all that was sensed and sent: appended by a thread of its own, bounded, and checked record by record.

A folder of segments, which hold records of `magic | length | crc32 | number | payload` one behind the other. What is
damaged is skipped up to the next magic, so that a flipped bit or a torn end costs the records it hit and no others.
Whatever index is needed is made by reading.
"""

import os
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wmctrl.runtime.files import sync_folder

MAGIC = b"\xe7wmR"
"""Begins every record; its first byte is in no ASCII text."""
HEADER = struct.Struct("<4sIIQ")
"""Magic, bytes of the payload, CRC-32 of all but these two, and the record's number."""
NUMBER = struct.Struct("<Q")
LARGEST_PAYLOAD = 1 << 20
"""Bytes."""
SEGMENT = 4 << 20
"""Bytes after which another segment is begun."""
LARGEST_SEGMENT = 1 << 28
"""Bytes that are read of a segment at most."""
LIMIT = 256 << 20
"""Bytes of all segments; the oldest go first."""
SYNCED = 1.0
"""Longest time until what was appended is on a disk that takes it [s]."""
RETRIED = 0.2
"""Time until a disk that took nothing is tried again [s]."""
PENDING = 1 << 14
"""Records that wait for the disk at most; of more the oldest are given up."""
SUFFIX = ".segment"


class Record(NamedTuple):
    """Something that was logged."""

    number: int
    """Counts up from 0."""
    payload: bytes


class ReplayLog:
    """Appends records without ever waiting for the disk."""

    def __init__(self, folder: Path, kind: bytes, *, limit: int = LIMIT, segment: int = SEGMENT) -> None:
        """
        Args:
            kind: What the payloads are; records of another kind are as good as damaged.
            limit: Bytes of all segments.
            segment: Bytes of one.
        """
        self.folder, self.kind, self.limit, self.segment = folder, kind, limit, segment
        self.number = next_number(folder, kind)
        """Of the next record."""
        self.durable = self.number - 1
        """Number of the last record that is on the disk."""
        self.lost = 0
        """Records that were given up, for the disk took nothing for too long."""
        self.problem = ""
        """Why nothing is written, while that is so."""
        self.pending: deque[Record] = deque()
        self.lock, self.wanted, self.closing = threading.Lock(), threading.Event(), False
        self.file: int | None = None
        self.size = 0
        """Of the file, as far as it is known to be sound."""
        self.writer = threading.Thread(target=self._live, name="replay log", daemon=True)
        self.writer.start()

    def append(self, payload: bytes) -> int:
        """Log a payload; its number. Returns at once, whatever the disk does.

        Raises:
            ValueError: The payload is too large.
        """
        if len(payload) > LARGEST_PAYLOAD:
            raise ValueError(f"a record has at most {LARGEST_PAYLOAD:,} bytes, came {len(payload):,}")
        with self.lock:
            record = Record(self.number, payload)
            self.number += 1
            self.pending.append(record)
            if len(self.pending) > PENDING:
                self.pending.popleft()
                self.lost += 1
        return record.number

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was appended is on the disk; whether it is."""
        last, end = self.number - 1, time.monotonic() + timeout
        while self.durable < last and time.monotonic() < end:
            self.wanted.set()
            time.sleep(0.001)
        return self.durable >= last

    def close(self) -> None:
        """Write what is left, if the disk takes it."""
        self.closing = True
        self.wanted.set()
        self.writer.join()

    def _live(self) -> None:
        """What the thread does: a group of records at a time, and one sync a group."""
        closing = False
        while not closing:
            self.wanted.wait(RETRIED if self.problem else SYNCED)
            self.wanted.clear()
            closing = self.closing
            with self.lock:
                group = list(self.pending)
            try:
                self._write(group)
                self.problem = ""
            except OSError as error:
                self.problem = f"{self.folder}: {error.strerror}"
                self._forget_torn()
        self._end_segment()

    def _write(self, group: list[Record]) -> None:
        """Put a group on the disk, and only then count it as there."""
        while group:
            if self.file is None or self.size >= self.segment:
                self._begin_segment()
            assert self.file is not None, "a segment was begun"
            room = self.segment - self.size
            part, group = fitting(group, self.kind, room)
            content = b"".join(encoded(record, self.kind) for record in part)
            put(self.file, content)
            os.fdatasync(self.file)
            self.size += len(content)
            with self.lock:
                self.durable = part[-1].number
                while self.pending and self.pending[0].number <= self.durable:
                    self.pending.popleft()

    def _begin_segment(self) -> None:
        """Go on in a new file, and let the oldest go where there is too much."""
        self._end_segment()
        self.folder.mkdir(parents=True, exist_ok=True)
        old = segments(self.folder)
        index = int(old[-1].stem) + 1 if old else 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self.file, self.size = os.open(self.folder / f"{index:010d}{SUFFIX}", flags, 0o644), 0
        sync_folder(self.folder)
        total = self.segment + sum(bytes_of(one) for one in old)
        for one in old:
            if total <= self.limit:
                break
            total -= bytes_of(one)
            one.unlink(missing_ok=True)

    def _end_segment(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def _forget_torn(self) -> None:
        """Cut off what was written of a group that failed; where that fails too, go on in another segment."""
        if self.file is not None:
            try:
                os.ftruncate(self.file, self.size)
            except OSError:
                self._end_segment()


def fitting(group: list[Record], kind: bytes, room: int) -> tuple[list[Record], list[Record]]:
    """As many records as fill some room, one at least, and those that are left."""
    end = 0
    for count, record in enumerate(group):
        if count and end >= room:
            return group[:count], group[count:]
        end += HEADER.size + len(record.payload)
    return group, []


def put(file: int, content: bytes) -> None:
    """All of some bytes at a file's end."""
    while content:
        content = content[os.write(file, content) :]


def checksum(record: Record, kind: bytes) -> int:
    """CRC-32 of a record of a kind."""
    return zlib.crc32(record.payload, zlib.crc32(NUMBER.pack(record.number), zlib.crc32(kind)))


def encoded(record: Record, kind: bytes) -> bytes:
    """A record as it lies in a segment."""
    return HEADER.pack(MAGIC, len(record.payload), checksum(record, kind), record.number) + record.payload


def segments(folder: Path) -> list[Path]:
    """Segments in a folder, oldest first."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())


def bytes_of(path: Path) -> int:
    """Size of a file; 0 where it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def next_number(folder: Path, kind: bytes) -> int:
    """Number of the next record of a kind."""
    for path in reversed(segments(folder)):
        numbers = [record.number for record in sound(content(path), kind)]
        if numbers:
            return max(numbers) + 1
    return 0


def read(folder: Path, kind: bytes) -> Iterator[Record]:
    """Whole records of a kind, each once, in the order of their numbers."""
    last = -1
    for path in segments(folder):
        for record in sound(content(path), kind):
            if record.number > last:
                last = record.number
                yield record


def content(path: Path) -> bytes:
    """A segment's bytes; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_SEGMENT)
    except OSError:
        return b""


def sound(data: bytes, kind: bytes) -> Iterator[Record]:
    """Whole records of a kind in a segment's bytes."""
    at = data.find(MAGIC)
    while 0 <= at <= len(data) - HEADER.size:
        _, length, crc, number = HEADER.unpack_from(data, at)
        begin = at + HEADER.size
        record = Record(number, data[begin : begin + length])
        if length <= LARGEST_PAYLOAD and len(record.payload) == length and checksum(record, kind) == crc:
            yield record
            at = data.find(MAGIC, begin + length)
        else:
            at = data.find(MAGIC, at + 1)

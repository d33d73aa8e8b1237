"""The log: nothing acknowledged is lost, nothing damaged is read, and whoever appends never waits."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from wmctrl.runtime import replay_log
from wmctrl.runtime.replay_log import HEADER, MAGIC, Record, ReplayLog, read, segments

KIND = b"test: 3 floats"


def payload(number: int) -> bytes:
    """A payload that tells its record's number, with a magic in it now and then."""
    return (MAGIC if number % 7 == 0 else b"") + number.to_bytes(8, "little") * (1 + number % 5)


def filled(folder: Path, count: int, **sizes: int) -> None:
    """A log to which some records were appended."""
    log = ReplayLog(folder, KIND, **sizes)
    for _ in range(count):
        log.append(payload(log.number))
    assert log.flush()
    log.close()


def numbers(folder: Path) -> list[int]:
    """Of the records that are read, each of which is as it was appended."""
    found = list(read(folder, KIND))
    assert all(record.payload == payload(record.number) for record in found)
    return [record.number for record in found]


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    filled(tmp_path, 100)
    assert numbers(tmp_path) == list(range(100))


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    filled(tmp_path, 10)
    assert numbers(tmp_path) == list(range(20))


def test_it_is_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    for _ in range(5):
        filled(tmp_path, 400, limit=20_000, segment=2_000)
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 20_000 + 100
    kept = numbers(tmp_path)
    assert kept == list(range(kept[0], 2000))
    assert len(kept) > 200


def test_records_of_another_kind_are_not_read(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    assert list(read(tmp_path, b"another layout")) == []


def test_every_flipped_bit_costs_the_record_it_hit_and_no_other(tmp_path: Path) -> None:
    filled(tmp_path, 12)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(bytes(damaged))
        assert len(numbers(tmp_path)) == 11, at


def test_a_torn_end_costs_what_is_torn(tmp_path: Path) -> None:
    filled(tmp_path, 12)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    ends = np.cumsum([HEADER.size + len(payload(number)) for number in range(12)])
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert numbers(tmp_path) == list(range(int((ends <= length).sum())))


def test_a_damaged_log_goes_on(tmp_path: Path) -> None:
    filled(tmp_path, 12)
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    filled(tmp_path, 3)
    assert numbers(tmp_path) == list(range(14))


def test_rubbish_is_no_record(tmp_path: Path) -> None:
    rubbish = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()
    (tmp_path / "0000000000.segment").write_bytes(rubbish + (MAGIC + rubbish[:40]) * 3 + MAGIC)
    (tmp_path / "notes.segment").write_bytes(b"not ours")
    filled(tmp_path, 3)
    assert numbers(tmp_path) == [0, 1, 2]


class Disk:
    """Takes nothing once it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, reason: int, room: int) -> None:
        self.room, self.reason, self.real = room, reason, os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, file: int, content: bytes) -> int:
        """As `os.write`, which writes less than it was given before it gives up."""
        if not self.room:
            raise OSError(self.reason, os.strerror(self.reason))
        written = self.real(file, content[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_takes_nothing_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    disk = Disk(monkeypatch, reason, room=500)
    log = ReplayLog(tmp_path, KIND)
    for _ in range(50):
        log.append(payload(log.number))
    assert not log.flush(timeout=0.5)
    assert os.strerror(reason) in log.problem
    acknowledged = log.durable
    assert set(numbers(tmp_path)) >= set(range(acknowledged + 1))
    disk.room = 1 << 20
    assert log.flush()
    assert log.problem == ""
    log.close()
    assert numbers(tmp_path) == list(range(50))
    assert len(segments(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    log = ReplayLog(tmp_path / "file" / "log", KIND)
    began = time.monotonic()
    for _ in range(1000):
        log.append(payload(log.number))
    assert time.monotonic() - began < 1.0
    assert not log.flush(timeout=0.3)
    assert log.problem
    assert log.durable == -1
    log.close()


def test_of_more_than_can_wait_the_oldest_are_given_up_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, errno.ENOSPC, room=0)
    monkeypatch.setattr(replay_log, "PENDING", 30)
    log = ReplayLog(tmp_path, KIND)
    for _ in range(100):
        log.append(payload(log.number))
    assert log.lost == 70
    disk.room = 1 << 20
    assert log.flush()
    log.close()
    assert numbers(tmp_path) == list(range(70, 100))


APPENDS = """
import sys
from pathlib import Path
from tests.test_replay_log import KIND, payload
from wmctrl.runtime.replay_log import ReplayLog
log = ReplayLog(Path(sys.argv[1]), KIND, segment=3000, limit=1 << 30)
said = log.durable
while True:
    log.append(payload(log.number))
    log.wanted.set()
    if log.durable > said:
        said = log.durable
        print(said, flush=True)
"""


def test_what_was_acknowledged_outlives_any_kill(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    acknowledged = -1
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", APPENDS, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(generator.uniform(0.0, 0.1)))
            process.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in process.stdout.read().split())])
        assert set(numbers(tmp_path)) >= set(range(acknowledged + 1))
    assert acknowledged > 10


def test_a_payload_that_is_too_large_is_refused(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path, KIND)
    with pytest.raises(ValueError, match="at most 1,048,576 bytes, came 1,048,577"):
        log.append(bytes(replay_log.LARGEST_PAYLOAD + 1))
    log.close()


def test_a_record_is_found_behind_any_rubbish() -> None:
    record = Record(3, payload(3))
    content = b"\x00" * 11 + MAGIC + b"\x01" + replay_log.encoded(record, KIND)
    assert list(replay_log.sound(content, KIND)) == [record]

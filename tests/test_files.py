"""Files are whole or absent, whatever happens while they are written."""

import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wmctrl.runtime.files import read_bounded, read_verified, write_atomic


def no_space(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_was_written_is_read_back_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "weights"
    sha256 = write_atomic(path, b"abc")
    # FIPS 180-4's example for "abc".
    assert sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_verified(path, sha256) == b"abc"
    assert [entry.name for entry in path.parent.iterdir()] == ["weights"]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_atomic(path, b"a long old content")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "weights"
    write_atomic(path, b"old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, no_space)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"weights": b"old"}


def test_a_file_that_may_not_grow_leaves_the_old_one(tmp_path: Path) -> None:
    """The kernel refuses the write half-way: the limit is 4 KiB, the content 64."""
    path = tmp_path / "weights"
    write_atomic(path, b"old")
    program = (
        "import resource, sys; from pathlib import Path; from wmctrl.runtime.files import write_atomic;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "write_atomic(Path(sys.argv[1]), bytes(65536))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"weights": b"old"}


def test_a_kill_while_writing_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    sha256 = write_atomic(path, b"old")
    program = (
        "import os, signal, sys; from pathlib import Path; from wmctrl.runtime.files import write_atomic;"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL);"
        "write_atomic(Path(sys.argv[1]), bytes(65536))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_verified(path, sha256) == b"old"


@pytest.mark.parametrize("bit", [0, 7, 4000])
def test_a_flipped_bit_is_refused(tmp_path: Path, bit: int) -> None:
    path, content = tmp_path / "weights", bytes(range(256)) * 2
    sha256 = write_atomic(path, content)
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is damaged.*restore it or start again$"):
        read_verified(path, sha256)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    sha256 = write_atomic(path, b"0123456789")
    path.write_bytes(b"01234")
    with pytest.raises(ValueError, match="is damaged"):
        read_verified(path, sha256)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="weights is missing; try again where a training may just have replaced it, else restore"
    ):
        read_verified(tmp_path / "weights", hashlib.sha256(b"").hexdigest())


def test_an_ordinary_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(b"0123456")
    assert read_bounded(path, 7) == b"0123456"
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: has 7 bytes, expected at most 6$"):
        read_bounded(path, 6)
    path.write_bytes(b"")
    assert read_bounded(path, 0) == b""


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"huge: has 1,099,511,627,776 bytes, expected at most 4,096$"):
        read_bounded(path, 4096)


def test_a_file_that_grows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"short")
    monkeypatch.setattr(os, "read", lambda descriptor, size: b"x" * size)
    with pytest.raises(ValueError, match=r"log: grew while it was read, expected at most 11 bytes$"):
        read_bounded(path, 11)


def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path) -> None:
    """A named pipe that nobody writes to would wait for ever, a link lead out of the folder."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    kinds = {"folder": "folder", "pipe": "named pipe", "link": "link", "dangling": "link", "circle": "link"}
    for name, kind in kinds.items():
        with pytest.raises(ValueError, match=rf"{name}: is a {kind}, expected an ordinary file$"):
            read_bounded(tmp_path / name, 100)
    with pytest.raises(ValueError, match=r"^/dev/zero: is a device, expected an ordinary file$"):
        read_bounded(Path("/dev/zero"), 100)
    with pytest.raises(ValueError, match=r"nowhere: is missing$"):
        read_bounded(tmp_path / "nowhere", 100)
    with pytest.raises(ValueError, match=r"file/below: cannot be opened: Not a directory$"):
        read_bounded(tmp_path / "file" / "below", 100)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(ValueError, match=r"^socket: cannot be opened: "):
            read_bounded(Path("socket"), 100)

"""Files that are whole or absent, and known to be what was written."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> str:
    """Write a file so that at every moment, a power cut included, the old or the new one is there, and whole.

    Returns:
        SHA-256 of the content, in hexadecimal.

    Raises:
        OSError: The disk is full or may not be written; the old file is untouched and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def read_verified(path: Path, sha256: str) -> bytes:
    """The content of a file whose SHA-256 is known.

    Raises:
        ValueError: The file is missing or is not what was written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing; try again where a training may just have replaced it, else restore it or start again"
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path} is damaged (its SHA-256 differs from the one recorded); restore it or start again")
    return content


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of an ordinary file that nobody vouches for; opening it neither waits nor follows a link.

    Args:
        limit: Bytes that it may have at most.

    Raises:
        ValueError: It is missing, longer, or not an ordinary file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reasons = {errno.ENOENT: "is missing", errno.ELOOP: "is a link, expected an ordinary file"}
        raise ValueError(f"{path}: {reasons.get(error.errno or 0, f'cannot be opened: {error.strerror}')}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path}: is a {_kind(status.st_mode)}, expected an ordinary file")
        if status.st_size > limit:
            raise ValueError(f"{path}: has {status.st_size:,} bytes, expected at most {limit:,}")
        content = _read(descriptor, limit + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ValueError(f"{path}: grew while it was read, expected at most {limit:,} bytes")
    return content


def _kind(mode: int) -> str:
    """What a thing in a folder is, if not an ordinary file."""
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _read(descriptor: int, most: int) -> bytes:
    """What is left in an open file, up to a number of bytes."""
    parts = []
    while most and (part := os.read(descriptor, min(most, 1 << 24))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacement(folder: Path) -> Iterator[Path]:
    """An empty folder beside another one, whose place it takes where nothing is raised before the block ends.

    Killed between two renames, it leaves the former folder beside, as `.NAME.old.PID`.
    """
    fresh, old = (folder.with_name(f".{folder.name}.{what}.{os.getpid()}") for what in ("new", "old"))
    try:
        fresh.mkdir(parents=True)
        yield fresh
        try:
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
        except BaseException:
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)

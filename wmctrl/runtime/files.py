"""Files that are whole or absent, and known to be what was written."""

import hashlib
import os
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
    _sync_folder(path.parent)
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


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

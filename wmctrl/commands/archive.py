"""A bundle in one file: an archive to pass on, and the controllers that travel with the package.

It is a tar archive under xz, which stores once what several of a bundle's files hold: their networks' weights.
"""

import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wmctrl.config_files import nearest, shipped
from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.engine import CACHE
from wmctrl.runtime.files import read_bounded, replacement, write_atomic
from wmctrl.runtime.manifest import FILE_NAME, LARGEST_BUNDLE, LARGEST_FILE, Manifest

ENDING = ".tar.xz"
SHIPPED = "configs/controllers"
PRESET: Final = 7
"""Of xz: it finds again what is up to 16 MiB behind."""
MEMORY = 128 << 20
"""Bytes that unpacking may take to look behind."""


def names() -> list[str]:
    """The controllers that travel with the package."""
    return sorted(path.name.removesuffix(ENDING) for path in shipped(SHIPPED).glob(f"*{ENDING}"))


def path_of(name: str) -> Path:
    """The archive of a controller that travels with the package.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in names():
        raise ValueError(f"{name} is neither a folder nor a controller that comes with wm; {nearest(name, names())}")
    return shipped(SHIPPED) / f"{name}{ENDING}"


def told_in(archive: Path) -> Manifest:
    """The manifest in an archive.

    Raises:
        ValueError: It is damaged, or no bundle's.
    """
    return _told(archive, dict(_entries(archive, read_bounded(archive, LARGEST_BUNDLE))))


def pack(folder: Path, archive: Path) -> None:
    """Write a bundle's folder as an archive: what its manifest names, and nothing beside.

    Raises:
        ValueError: A file is missing or damaged.
        OSError: The disk is full or may not be written.
    """
    contents = {manifest.NAME: read_bounded(folder / manifest.NAME, bundle.LARGEST_MANIFEST)}
    told = manifest.parse(contents[manifest.NAME])
    contents |= {name: bundle.verified(folder, name, told) for name in told.files}
    if (folder / bundle.SIGNATURE).exists():
        contents[bundle.SIGNATURE] = read_bounded(folder / bundle.SIGNATURE, bundle.LARGEST_SIGNATURE)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=PRESET) as file:
        for name in sorted(contents):
            entry = tarfile.TarInfo(name)  # of no date and nobody's: the same bundle makes the same archive
            entry.size = len(contents[name])
            file.addfile(entry, io.BytesIO(contents[name]))
    write_atomic(archive, packed.getvalue())


def unpacked(archive: Path) -> Path:
    """The folder of an archive's bundle; unpacked once, and again where it was altered since.

    Raises:
        ValueError: It is damaged, or no bundle's.
        OSError: There is no place for it.
    """
    packed = read_bounded(archive, LARGEST_BUNDLE)
    folder = CACHE.expanduser() / "bundles" / hashlib.sha256(packed).hexdigest()[:16]
    contents = dict(_entries(archive, packed))
    _told(archive, contents)
    if not all(_holds(folder / name, content) for name, content in contents.items()):
        with replacement(folder) as fresh:
            for name, content in contents.items():
                write_atomic(fresh / name, content)
    return folder


def _holds(path: Path, content: bytes) -> bool:
    try:
        return read_bounded(path, len(content)) == content
    except ValueError:
        return False


def _told(archive: Path, contents: dict[str, bytes]) -> Manifest:
    if manifest.NAME not in contents:
        raise ValueError(f"{archive}: holds no {manifest.NAME}, so it is no bundle's")
    return manifest.parse(contents[manifest.NAME])


def _entries(archive: Path, packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents, none beyond the limits of a bundle's."""
    try:
        # Plainly: tarfile would by itself undo another compression within, and none of its limits would hold.
        with tarfile.open(fileobj=io.BytesIO(_decompressed(archive, packed)), mode="r:") as file:
            for entry in file:
                held = None if entry.issparse() else file.extractfile(entry)
                if held is None or not entry.isreg() or not FILE_NAME.fullmatch(entry.name) or ".." in entry.name:
                    raise ValueError(f"{archive}: {entry.name!r} is not an ordinary file within a bundle")
                if entry.size > LARGEST_FILE:
                    raise ValueError(f"{archive}: {entry.name} has more than {LARGEST_FILE:,} bytes")
                yield entry.name, held.read()
    except (tarfile.TarError, lzma.LZMAError, KeyError) as error:
        raise ValueError(f"{archive}: is damaged, or not {ENDING} ({error})") from None


def _decompressed(archive: Path, packed: bytes) -> bytes:
    """What is under xz, as far as a bundle may go."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
    content = decompressor.decompress(packed, LARGEST_BUNDLE + 1)
    if len(content) > LARGEST_BUNDLE:
        raise ValueError(f"{archive}: holds more than {LARGEST_BUNDLE:,} bytes")
    if not decompressor.eof:
        raise lzma.LZMAError("it ends too early")
    return content

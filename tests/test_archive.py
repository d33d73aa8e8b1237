"""Bundles in one file: what is packed drives as its folder does, and what is damaged or hostile goes nowhere."""

import io
import lzma
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny_bundle import made
from wmctrl.cli import main
from wmctrl.commands import archive, driving
from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.controller import Controller

ARM = ("FetchReach-v4", "agent.objective.goal=1", "agent.objective.reward=0")
MOST = 60_000_000
"""Bytes of all controllers that come with the package."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where archives are unpacked."""
    monkeypatch.setattr(archive, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    archive.pack(made(*ARM)[1], tmp_path / "arm.tar.xz")
    return tmp_path / "arm.tar.xz"


def test_what_is_unpacked_is_the_bundle_and_nothing_beside(packed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made(*ARM)[1], tmp_path / "bundle"))
    (folder / "notes.txt").write_text("of somebody's")
    archive.pack(folder, tmp_path / "other.tar.xz")
    assert (tmp_path / "other.tar.xz").read_bytes() == packed.read_bytes()
    found = archive.unpacked(packed)
    names = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert names == {manifest.NAME, *bundle.load(found).manifest.files}
    assert all((found / name).read_bytes() == (folder / name).read_bytes() for name in names)
    written = (found / manifest.NAME).stat().st_mtime_ns
    assert archive.unpacked(packed) == found
    assert (found / manifest.NAME).stat().st_mtime_ns == written


@pytest.mark.parametrize("harm", [b"", b"something else", None])
def test_what_was_altered_since_it_was_unpacked_is_unpacked_again(packed: Path, harm: bytes | None) -> None:
    altered = archive.unpacked(packed) / "refine.onnx"
    before = altered.read_bytes()
    altered.unlink() if harm is None else altered.write_bytes(harm)
    assert archive.unpacked(packed) == altered.parent
    assert altered.read_bytes() == before


def test_a_signature_is_packed_as_well(packed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made(*ARM)[1], tmp_path / "bundle"))
    (folder / bundle.SIGNATURE).write_bytes(b"64 bytes, say")
    archive.pack(folder, tmp_path / "signed.tar.xz")
    assert (archive.unpacked(tmp_path / "signed.tar.xz") / bundle.SIGNATURE).read_bytes() == b"64 bytes, say"
    assert not (archive.unpacked(packed) / bundle.SIGNATURE).exists()


@pytest.mark.parametrize("harm", [b"", b"something else", None])
def test_what_is_damaged_is_not_packed(tmp_path: Path, harm: bytes | None) -> None:
    folder = Path(shutil.copytree(made(*ARM)[1], tmp_path / "bundle"))
    (folder / "refine.onnx").unlink()
    if harm is not None:
        (folder / "refine.onnx").write_bytes(harm)
    with pytest.raises(ValueError, match=r"refine\.onnx: is (missing|damaged)"):
        archive.pack(folder, tmp_path / "arm.tar.xz")
    assert not (tmp_path / "arm.tar.xz").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--core", "0"], "a simulator that waits takes no --core; add --rate HZ"),
        (["--adapt-cpu", "0", "--fifo"], "a simulator that waits takes no --fifo, --adapt-cpu; add --rate HZ"),
        (["--rate", "50", "--adapt-cpu", "0.5"], "--adapt-cpu and --memory are of --adapt; add it, or leave them out"),
        (["--rate", "50", "--film", "a.webp"], "--film takes a simulator that waits; leave out --film or --rate"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(made(*ARM)[1]), *options]) == 2
    assert capsys.readouterr().err == f"wm run: {said}\n"


def test_an_archive_is_packed_and_driven_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "arm.tar.xz", made(*ARM)[1]
    assert main(["pack", str(folder), str(file)]) == 0
    assert main(["run", str(folder)]) == main(["run", str(file)]) == 0
    one, other = (line.split(";")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("episode 0"))
    assert one == other
    assert main(["pack", str(folder), str(tmp_path / "arm.tar")]) == 2
    assert "an archive's name must end in .tar.xz" in capsys.readouterr().err


def written(path: Path, entries: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:xz") as file:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(content), "manifest.json"
            file.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../../outside.json", "/tmp/outside.json", "a/../../outside.json"])
def test_what_would_be_written_elsewhere_is_refused(name: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is not an ordinary file within a bundle"):
        archive.unpacked(written(tmp_path / "hostile.tar.xz", {name: b"{}"}))
    assert not [*tmp_path.rglob("outside.json")]
    assert not cache.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_ordinary_file_is_refused(kind: bytes, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match=r"is not an ordinary file within a bundle|is damaged"):
        archive.unpacked(written(tmp_path / "hostile.tar.xz", {"other.json": b""}, kind))
    assert not cache.exists()


def test_what_is_no_bundle_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no manifest\.json, so it is no bundle's"):
        archive.unpacked(written(tmp_path / "other.tar.xz", {"other.json": b"{}"}))
    assert not cache.exists()


@pytest.mark.parametrize(
    ("limit", "most", "said"),
    [("LARGEST_FILE", 599, "a has more than 599"), ("LARGEST_BUNDLE", 2000, "holds more than 2,000")],
)
def test_what_would_fill_the_disk_is_refused(
    limit: str, most: int, said: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "large.tar.xz", {manifest.NAME: b"{}", "a": bytes(600), "b": bytes(600)})
    monkeypatch.setattr(archive, limit, most)
    with pytest.raises(ValueError, match=said):
        archive.unpacked(file)
    assert not cache.exists()


def test_what_unpacks_to_more_than_its_outer_layer_tells_is_refused(tmp_path: Path, cache: Path) -> None:
    within, sparse = tmp_path / "within.tar.xz", tmp_path / "sparse.tar.xz"
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as file:
        entry = tarfile.TarInfo(manifest.NAME)
        entry.size = 1 << 20
        file.addfile(entry, io.BytesIO(bytes(entry.size)))
    within.write_bytes(lzma.compress(inner.getvalue()))
    block = bytearray(512)  # GNU's sparse entry: an extent of nothing at 64 MiB, no content
    block[:8], block[100:108], block[124:136] = b"manifest", b"0000644\0", b"%011o\0" % 0
    block[156:157], block[257:265] = b"S", b"ustar  \0"
    block[386:398], block[398:410], block[483:495] = b"%011o\0" % (1 << 26), b"%011o\0" % 0, b"%011o\0" % (1 << 26)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    sparse.write_bytes(lzma.compress(bytes(block) + bytes(1024)))
    for file_ in (within, sparse):
        with pytest.raises(ValueError, match=r"is damaged, or not .tar.xz|is not an ordinary file within a bundle"):
            archive.unpacked(file_)
    assert not cache.exists()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


@pytest.mark.parametrize("damaged", [cut, flipped, lambda _: b"", lambda _: b"PK", lambda _: lzma.compress(b"no tar")])
def test_a_damaged_archive_is_refused_and_leaves_nothing(
    packed: Path, cache: Path, damaged: Callable[[bytes], bytes]
) -> None:
    packed.write_bytes(damaged(packed.read_bytes()))
    with pytest.raises(ValueError, match=f"{packed}: is damaged, or not .tar.xz"):
        archive.unpacked(packed)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_misspelt_controller_says_what_was_probably_meant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "names", lambda: ["fetch-reach", "parking"])
    assert main(["run", "fetch-raech"]) == 2
    assert capsys.readouterr().err == (
        "wm run: fetch-raech is neither a folder nor a controller that comes with wm; did you mean fetch-reach?\n"
    )


def test_the_controllers_that_come_with_the_package_are_small_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [archive.path_of(name).stat().st_size for name in archive.names()]
    assert sizes
    assert sum(sizes) < MOST
    assert main(["controllers"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in archive.names())


@pytest.mark.parametrize("name", archive.names())
def test_a_controller_that_comes_with_the_package_fits_its_plant(name: str) -> None:
    found = Controller.load(driving.bundle_in(Path(name)), provider="cpu", in_time=False)
    driving.matching_task(found.bundle.manifest.task).close()

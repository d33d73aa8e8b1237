"""A checkpoint is the old one or the new one, whole, and anything else is refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wmctrl.learning.checkpoint import MANIFEST, SCHEMA, CheckpointFolder


def committed(folder: Path, value: float = 1.0, name: str = "state.safetensors") -> CheckpointFolder:
    checkpoint = CheckpointFolder(folder)
    checkpoint.put(name, {"weight": np.full((2, 3), value, np.float32)})
    checkpoint.commit({"step": int(value)})
    return checkpoint


def reopened(folder: Path, name: str = "state.safetensors") -> tuple[int, float]:
    """Step and weight of the checkpoint a new process finds."""
    checkpoint = CheckpointFolder(folder)
    step = int(checkpoint.open()["step"])
    return step, float(checkpoint.get(name)["weight"][0, 0])


def test_a_checkpoint_gives_back_what_was_put(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
        "pixels": np.arange(5, dtype=np.uint8),
        "count": np.array(2**40, np.int64),
        "empty": np.zeros((0, 3), np.float32),
    }
    checkpoint = CheckpointFolder(tmp_path)
    checkpoint.put("state.safetensors", arrays)
    checkpoint.commit({"name": "run", "rate": 0.1})
    other = CheckpointFolder(tmp_path)
    assert other.open() == {"name": "run", "rate": 0.1}
    read = other.get("state.safetensors")
    assert {name: (array.shape, array.dtype) for name, array in read.items()} == {
        name: (array.shape, array.dtype) for name, array in arrays.items()
    }
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*holds no checkpoint[^\n]*$"):
        CheckpointFolder(tmp_path / "nowhere").open()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", f'{{"schema": {SCHEMA}}}', f'{{"schema": {SCHEMA}, "files": 3, "facts": {{}}}}', "\xff"],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    committed(tmp_path)
    (tmp_path / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^[^\n]*checkpoint.json is damaged[^\n]*$"):
        CheckpointFolder(tmp_path).open()


def test_a_foreign_schema_is_refused(tmp_path: Path) -> None:
    committed(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | {"schema": SCHEMA + 1}))
    with pytest.raises(ValueError, match=f"has schema {SCHEMA + 1}, this version reads {SCHEMA}; use the version"):
        CheckpointFolder(tmp_path).open()


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    committed(tmp_path)
    path = tmp_path / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state.safetensors is damaged"):
        reopened(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"state.safetensors is missing"):
        reopened(tmp_path)


def test_a_kill_between_put_and_commit_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    checkpoint = committed(tmp_path, 1.0, "state-1.safetensors")
    checkpoint.drop(["state-1.safetensors"])
    checkpoint.put("state-2.safetensors", {"weight": np.full((2, 3), 2.0, np.float32)})
    assert reopened(tmp_path, "state-1.safetensors") == (1, 1.0)


def test_a_kill_while_the_manifest_is_written_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = committed(tmp_path, 1.0, "state-1.safetensors")
    checkpoint.drop(["state-1.safetensors"])
    checkpoint.put("state-2.safetensors", {"weight": np.full((2, 3), 2.0, np.float32)})

    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.commit({"step": 2})
    monkeypatch.undo()
    assert reopened(tmp_path, "state-1.safetensors") == (1, 1.0)


def test_commit_deletes_what_it_does_not_name(tmp_path: Path) -> None:
    checkpoint = committed(tmp_path, 1.0, "state-1.safetensors")
    (tmp_path / "left-over.safetensors").write_bytes(b"of a run that was killed")
    (tmp_path / "notes.txt").write_text("not ours")
    checkpoint.drop(["state-1.safetensors"])
    checkpoint.put("state-2.safetensors", {"weight": np.full((2, 3), 2.0, np.float32)})
    checkpoint.commit({"step": 2})
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "state-2.safetensors", "notes.txt"}
    assert reopened(tmp_path, "state-2.safetensors") == (2, 2.0)


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        committed(tmp_path / folder)
    one, other = ((tmp_path / folder / "state.safetensors").read_bytes() for folder in ("one", "other"))
    assert one == other

"""Checkpoints: everything a training run needs to go on as if it had never stopped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from wmctrl.runtime.files import read_verified, write_atomic

MANIFEST = "checkpoint.json"
SCHEMA = 2


class CheckpointFolder:
    """A folder whose manifest names, with its SHA-256, every file that belongs to the last checkpoint.

    The manifest is replaced last, so a run killed at any moment finds either the old checkpoint or the new one, whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, str] = {}
        """SHA-256 of the checkpoint's files by their names."""

    def exists(self) -> bool:
        """Whether a checkpoint was ever made here."""
        return (self.folder / MANIFEST).exists()

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays to a file that the next `commit` will name."""
        contiguous = {key: np.asarray(array, order="C") for key, array in arrays.items()}
        self.files[name] = write_atomic(self.folder / name, save(contiguous))

    def drop(self, names: list[str]) -> None:
        """Leave files out of the next checkpoint; they are deleted when it stands."""
        for name in names:
            self.files.pop(name, None)

    def commit(self, facts: Mapping[str, Any]) -> None:
        """Make what was put the last checkpoint, and delete files of earlier ones that it does not name."""
        text = json.dumps({"schema": SCHEMA, "files": self.files, "facts": facts}, indent=1)
        write_atomic(self.folder / MANIFEST, text.encode())
        leftovers = {*self.folder.glob("*.safetensors"), *self.folder.glob(".*.safetensors.*")}
        for path in leftovers:
            if path.name not in self.files:
                path.unlink()

    def open(self) -> dict[str, Any]:
        """Facts of the last checkpoint; its files can be read with `get` afterwards.

        Raises:
            ValueError: There is no checkpoint here, or its manifest is damaged.
        """
        path = self.folder / MANIFEST
        if not self.exists():
            raise ValueError(f"{self.folder} holds no checkpoint; name the run's folder, or train one with `wm train`")
        try:
            manifest = json.loads(path.read_text())
            schema = manifest["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); restore it from a backup or start again") from None
        if schema != SCHEMA:
            raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}; use the version that wrote it")
        try:
            self.files, facts = dict(manifest["files"]), dict(manifest["facts"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); restore it from a backup or start again") from None
        return facts

    def get(self, name: str) -> dict[str, NDArray[Any]]:
        """Arrays of one file of the opened checkpoint, verified.

        Raises:
            ValueError: It is damaged or gone; a training that goes on replaces files, so opening anew may help.
        """
        return load(read_verified(self.folder / name, self.files[name]))

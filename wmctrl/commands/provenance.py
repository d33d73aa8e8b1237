"""What a figure was made by: the command, the code and the versions of what it depends on."""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import wmctrl_envs

import wmctrl

RECORDED = (
    *("wmctrl-stack", "torch", "numpy", "onnxruntime"),
    *("mujoco", "gymnasium", "gymnasium-robotics", "highway-env"),
)
"""Packages whose versions a run, or a drive of its bundle, depends on."""
DECISIVE = ("limits.py", "runtime", "model", "planning", "learning", "commands/training.py")
"""What of this package decides how a run turns out, beside the plants."""


def command_line() -> list[str]:
    """What was typed, without where `wm` is installed."""
    return ["wm", *sys.argv[1:]]


def versions(*others: str) -> dict[str, str]:
    """Versions of what trajectories, weights and durations depend on, and of other packages."""
    return {name: version(name) for name in (*RECORDED, *others)}


def made_by() -> dict[str, Any]:
    """Versions and code, as they are kept with what they made."""
    return {"versions": versions(), "code": code()}


def code(*others: Path) -> str:
    """SHA-256 of the sources that decide how a run turns out; how it is shown and kept is not among them.

    Args:
        others: Folders of further sources that count.
    """
    home = Path(wmctrl.__file__).parent
    digest = hashlib.sha256()
    for root in (Path(wmctrl_envs.__file__).parent, *(home / name for name in DECISIVE), *others):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(f"{path.relative_to(root.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()

"""What can be wrong with an installation or a machine, each with the line to type against it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from wmctrl.config_files import shipped

DISTRIBUTION = "wmctrl-stack"
GRAPHICS_PACKAGES = ("libegl1", "libgl1", "libosmesa6")
"""Debian's packages for rendering without a display."""
LEAST_FREE = 2e9
"""Disk space below which a long training run may not finish [bytes]."""
DRAW_ONE_FRAME = """
import mujoco
with mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8) as renderer:
    renderer.render()
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    subject: str
    found: str
    fix: str = ""
    """What to type or do; empty when all is well."""


def examine(folder: Path) -> Iterator[Finding]:
    """Every finding, the quick ones first; `folder` is where runs will be written."""
    yield python(sys.version_info[:3])
    versions: dict[str, str] = {canonicalize_name(found.name): found.version for found in metadata.distributions()}
    pins = {pin.name: pin for pin in tested(shipped("constraints.txt").read_text(encoding="utf-8"))}
    for name, pin in pins.items():
        if name in runtime_packages():
            yield package(pin, versions)
    yield fetch_pair(versions)
    yield disk(folder, shutil.disk_usage(folder).free)
    cores = len(os.sched_getaffinity(0))
    yield Finding("cores", str(cores))
    yield torch_threads(cores, pins["torch"])
    yield graphics()


def python(version: tuple[int, int, int]) -> Finding:
    """Whether this Python is new enough."""
    text = ".".join(map(str, version))
    return Finding("python", text, "" if version >= (3, 11) else "install Python 3.11 or newer and make .venv anew")


def runtime_packages() -> frozenset[str]:
    """Names of what the installed distribution needs to run, development tools aside."""
    requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    return frozenset(needed.name for needed in requirements if needed.marker is None or needed.marker.evaluate())


def install_line(requirement: str) -> str:
    """The command that puts a package into this very environment."""
    return f"{sys.executable} -m pip install '{requirement}'"


def tested(constraints: str) -> Iterator[Requirement]:
    """The pins in the text of a constraints file."""
    for line in constraints.splitlines():
        pin = line.partition("#")[0].strip()
        if pin:
            yield Requirement(pin)


def package(pin: Requirement, versions: Mapping[str, str]) -> Finding:
    """Whether a package is there, and whether it is the version that was tested."""
    version = versions.get(canonicalize_name(pin.name))
    if version is None:
        return Finding(pin.name, "missing", install_line(str(pin)))
    if pin.specifier.contains(version):
        return Finding(pin.name, version)
    return Finding(pin.name, f"{version}, tested with {str(pin.specifier).removeprefix('==')}")


def fetch_pair(versions: Mapping[str, str]) -> Finding:
    """gymnasium-robotics up to 1.4.2 compares an enum with a numpy int, which MuJoCo 3.12 no longer allows."""
    mujoco, robotics = (Version(versions.get(name, "0")) for name in ("mujoco", "gymnasium-robotics"))
    broken = mujoco >= Version("3.12") and robotics <= Version("1.4.2")
    found = f"mujoco {mujoco} with gymnasium-robotics {robotics}"
    return Finding(
        "Fetch tasks", f"broken by {found}" if broken else found, install_line("mujoco<3.12") if broken else ""
    )


def disk(folder: Path, free: float) -> Finding:
    """Whether runs have room; `free` in bytes."""
    fix = "" if free >= LEAST_FREE else f"free {LEAST_FREE / 1e9:.0f} GB, or pass --out with a folder on another disk"
    return Finding("disk", f"{free / 1e9:.1f} GB free at {folder}", fix)


def torch_threads(cores: int, pin: Requirement) -> Finding:
    """Whether PyTorch loads, and keeps to the cores there are."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("torch threads", f"torch does not load: {error}", install_line(str(pin)))
    threads = torch.get_num_threads()
    return Finding("torch threads", str(threads), f"export OMP_NUM_THREADS={cores}" if threads > cores else "")


def graphics() -> Finding:
    """Whether MuJoCo can draw without a display, tried in a process of its own since a driver may crash."""
    failures: list[str] = []
    for backend in dict.fromkeys((os.environ.get("MUJOCO_GL", "egl"), "egl", "osmesa")):
        failure = drawing_failure(backend)
        if not failure:
            return Finding("graphics", f"MUJOCO_GL={backend} draws", f"export MUJOCO_GL={backend}" if failures else "")
        failures.append(f"{backend}: {failure}")
    return Finding("graphics", "; ".join(failures), f"apt-get install -y {' '.join(GRAPHICS_PACKAGES)}")


def drawing_failure(backend: str) -> str:
    """Why one frame cannot be drawn with this MUJOCO_GL; empty when it can."""
    environment = os.environ | {"MUJOCO_GL": backend}
    command = [sys.executable, "-c", DRAW_ONE_FRAME]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "no frame within 60 s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]

"""The wheel: what is in it, what it asks for, and that it works outside the source tree."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "wmctrl", ROOT / "envs" / "wmctrl_envs", ROOT / "export" / "wmctrl_export")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The distribution as built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def files_below(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in files}


def test_the_wheel_adds_only_its_own_names_to_site_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"wmctrl", "wmctrl_envs", "wmctrl_export", "wmctrl_stack-0.1.0.dist-info"}


@pytest.mark.parametrize(
    ("folder", "package"),
    [
        ("wmctrl", "wmctrl"),
        ("envs/wmctrl_envs", "wmctrl_envs"),
        ("export/wmctrl_export", "wmctrl_export"),
        ("configs", "wmctrl/configs"),
    ],
)
def test_every_file_of_a_package_is_in_the_wheel(wheel: zipfile.ZipFile, folder: str, package: str) -> None:
    assert {f"{package}/{name}" for name in files_below(ROOT / folder)} <= set(wheel.namelist())


def test_the_metadata_names_command_licence_and_ranges(wheel: zipfile.ZipFile) -> None:
    folder = "wmctrl_stack-0.1.0.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())
    assert (metadata["Name"], metadata["License-Expression"]) == ("wmctrl-stack", "Apache-2.0")
    assert metadata["Requires-Python"] == ">=3.11"
    assert "torch>=2.10" in metadata.get_all("Requires-Dist", [])
    assert "wm = wmctrl.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert "Apache License" in wheel.read(f"{folder}/licenses/LICENSE").decode()


@pytest.fixture
def site(wheel: zipfile.ZipFile, tmp_path: Path) -> Path:
    """Where the wheel is installed, outside the source tree."""
    wheel.extractall(tmp_path / "site")
    return tmp_path / "site"


def printed(program: str, site: Path) -> list[str]:
    """Lines that a program prints which finds the installed packages alone."""
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_installed_wheel_works_without_the_tree(site: Path) -> None:
    program = """
import wmctrl_envs, wmctrl_export
from wmctrl.cli import main
from wmctrl.config_files import shipped
print(wmctrl_envs.__file__, wmctrl_export.__file__, shipped("constraints.txt"), sep="\\n")
raise SystemExit(main(["envs", "Pendulum-v1"]))
"""
    lines = printed(program, site)
    assert [Path(line).is_relative_to(site) for line in lines[:3]] == [True, True, True]
    assert lines[3].startswith("Pendulum-v1: 20 Hz")


def test_an_installed_wheel_reads_a_tasks_settings_from_its_own_files(site: Path) -> None:
    settings = site / "wmctrl" / "configs" / "FetchReach-v4.yaml"
    assert settings.read_bytes() == (ROOT / "configs" / settings.name).read_bytes()
    settings.write_text("schedule: {steps: 4321}\n")  # the tree's own says something else
    program = 'from wmctrl.config import resolve; print(resolve("FetchReach-v4").schedule.steps)'
    assert printed(program, site) == ["4321"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_package_says_that_it_is_typed(wheel: zipfile.ZipFile, folder: Path) -> None:
    assert f"{folder.name}/py.typed" in wheel.namelist()


def test_the_type_checker_is_strict_about_every_package_and_the_tests() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"] is True
    assert {ROOT / name for name in settings["files"]} == {*FOLDERS, ROOT / "tests"}
    loosened = {name for override in settings["overrides"] for name in override if name != "module"}
    assert loosened == {"disallow_subclassing_any", "ignore_missing_imports"}


def test_the_check_of_every_change_is_wm_test(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")  # with its mode
    stand_in = tmp_path / "wm"
    stand_in.write_text("#!/bin/sh\nprintf '%s|' \"$@\"\nexit 3\n")
    stand_in.chmod(0o755)
    done = subprocess.run([tmp_path / ".ci" / "run", "-k", "a b"], cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "test|-k|a b|", "")


def test_every_pinned_version_is_within_the_declared_range() -> None:
    extras = project()["optional-dependencies"]
    declared = [Requirement(text) for text in project()["dependencies"] + extras["dev"] + extras["peers"]]
    pins = {canonicalize_name(pin.name): pin for pin in map(Requirement, pinned_lines())}
    assert {canonicalize_name(wanted.name) for wanted in declared} <= pins.keys()
    for wanted in declared:
        version = next(iter(pins[canonicalize_name(wanted.name)].specifier)).version
        assert wanted.specifier.contains(version), f"{wanted} does not allow the pinned {version}"


def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def pinned_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def undeclared(sources: Iterable[str], dependencies: Iterable[str]) -> set[str]:
    """Top names that modules import, at their top or late, of distributions that are not among the dependencies."""
    names: set[str] = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module))
    tops = {name.partition(".")[0] for name in names}
    declared = {canonicalize_name(Requirement(text).name) for text in dependencies}
    owners = packages_distributions()
    # What is not installed, as extras may not be, is taken to be named as its distribution is.
    known = {name for name in tops if declared & {canonicalize_name(owner) for owner in owners.get(name, [name])}}
    return tops - known - sys.stdlib_module_names - {folder.name for folder in FOLDERS}


def test_every_package_that_is_imported_is_a_declared_dependency() -> None:
    sources = [path.read_text() for folder in FOLDERS for path in folder.rglob("*.py")]
    extras = project()["optional-dependencies"]
    optional = [*extras["bench"], *extras["peers"]]  # whose commands say so where they are missing
    assert undeclared(sources, [*project()["dependencies"], *optional]) == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from scipy.special import stdtrit", {"scipy"}),
        ("def late():\n    import numpy, scipy.stats as stats", {"scipy"}),
        ("import no_such_package", {"no_such_package"}),
        ("from PIL import Image\nimport json, wmctrl.cli\nfrom . import replay", set()),
    ],
)
def test_an_import_that_is_not_declared_is_found(source: str, expected: set[str]) -> None:
    assert undeclared([source], ["numpy>=2.0", "Pillow>=11"]) == expected

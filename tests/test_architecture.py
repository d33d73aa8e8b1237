"""The order of the house: who may import whom, and what nobody does."""

import ast
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "wmctrl": ROOT / "wmctrl",
    "wmctrl_envs": ROOT / "envs" / "wmctrl_envs",
    "wmctrl_export": ROOT / "export" / "wmctrl_export",
}
ENTRIES = ("wmctrl.cli", "wmctrl.commands", "wmctrl.bench")
"""The composition root: may import everything, and is imported by nobody else."""


class Rule(NamedTuple):
    """Modules under `room`, `apart` from some, must not import those under `banned`, `but` for some."""

    room: str
    banned: tuple[str, ...]
    but: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


RULES = (
    Rule("wmctrl_envs", ("torch", "wmctrl", "wmctrl_export")),
    Rule("wmctrl.runtime", ("wmctrl", "wmctrl_envs", "wmctrl_export"), but=("wmctrl.runtime",)),
    Rule("wmctrl.model", ("wmctrl_envs", "wmctrl.planning", "wmctrl.learning", "wmctrl.stress")),
    Rule("wmctrl.planning", ("wmctrl_envs", "wmctrl.model", "wmctrl.learning", "wmctrl.stress")),
    Rule("wmctrl.learning", ("wmctrl_envs", "wmctrl.stress"), but=("wmctrl_envs.task",)),
    Rule("wmctrl.stress", ("torch", "wmctrl.model", "wmctrl.planning", "wmctrl.learning", "wmctrl.live")),
    Rule("wmctrl.live", ("torch", "wmctrl.model", "wmctrl.planning", "wmctrl.learning", "wmctrl.stress")),
    Rule("wmctrl_export", ("wmctrl_envs", "wmctrl.stress")),
    Rule("wmctrl", ("wmctrl_export", *ENTRIES), apart=ENTRIES),
    Rule("wmctrl", ("wmctrl_envs",), but=("wmctrl_envs.task",), apart=(*ENTRIES, "wmctrl.stress", "wmctrl.live")),
    Rule("wmctrl", ("wmctrl.config", "wmctrl.config_files"), apart=(*ENTRIES, "wmctrl.config")),
    Rule("wmctrl_export", ENTRIES),
)
RUNTIME_NEEDS = ("numpy", "onnxruntime")
PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
NEWER_THAN_310 = {
    "": "tomllib ExceptionGroup BaseExceptionGroup",
    "typing": "Self Never LiteralString Required NotRequired Unpack TypeVarTuple override assert_never assert_type",
    "enum": "StrEnum ReprEnum EnumCheck FlagBoundary verify member nonmember",
    "datetime": "UTC",
    "contextlib": "chdir",
    "asyncio": "TaskGroup Runner timeout",
}
"""Names that came with Python 3.11 or 3.12, by module; the empty one holds modules and builtins."""


class Source(NamedTuple):
    """One module of the packages."""

    module: str
    path: Path
    tree: ast.Module


def packaged() -> Iterator[Source]:
    """Every module of the packages."""
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            module = ".".join((package, *(part for part in parts if part != "__init__")))
            yield Source(module, path, ast.parse(path.read_text(encoding="utf-8")))


SOURCES = tuple(packaged())


def under(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def imported(source: Source) -> set[str]:
    """Absolute names of all modules a module may import, at its top or late; `from a import b` gives a and a.b."""
    package = source.module.split(".")
    if source.path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return found


def violations(source: Source) -> list[str]:
    return [
        f"{source.module} imports {name}"
        for rule in RULES
        if under(source.module, (rule.room,)) and not under(source.module, rule.apart)
        for name in sorted(imported(source))
        if under(name, rule.banned) and not under(name, rule.but)
    ]


def written(module: str, text: str) -> Source:
    return Source(module, Path(*module.split(".")).with_suffix(".py"), ast.parse(text))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.module)
def test_imports_point_down(source: Source) -> None:
    assert violations(source) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("wmctrl.model.rssm", "from ..learning import agent"),
        ("wmctrl.model.rssm", "from wmctrl import learning"),
        ("wmctrl.model.rssm", "def late():\n    import wmctrl.stress.report"),
        ("wmctrl.planning.cem", "from wmctrl.model.rssm import RSSM"),
        ("wmctrl.learning.train", "from wmctrl_envs import make"),
        ("wmctrl.learning.train", "from wmctrl_export.bundle import write_bundle"),
        ("wmctrl.runtime.drift", "from wmctrl.config_files import read_yaml"),
        ("wmctrl.config", "import wmctrl_envs.driving"),
        ("wmctrl_envs.driving", "import torch.nn"),
        ("wmctrl_export.graphs", "from wmctrl.cli import main"),
    ],
)
def test_an_import_that_points_up_is_found(module: str, text: str) -> None:
    assert violations(written(module, text)) != []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("wmctrl.cli", "import wmctrl_envs, wmctrl_export, wmctrl.stress.report"),
        ("wmctrl.learning.train", "from wmctrl_envs.task import Task"),
        ("wmctrl.learning.train", "from ..model.rssm import RSSM"),
        ("wmctrl.stress.suite", "import wmctrl_envs.shifts"),
        ("wmctrl_envs.driving", "import torchvision_like_name"),
    ],
)
def test_an_import_that_points_down_is_allowed(module: str, text: str) -> None:
    assert violations(written(module, text)) == []


RUNTIME = [source for source in SOURCES if source.module == "wmctrl" or under(source.module, ("wmctrl.runtime",))]
"""What a board imports: importing `wmctrl.runtime` runs `wmctrl/__init__.py` first."""


@pytest.mark.parametrize("source", RUNTIME, ids=lambda source: source.module)
def test_the_runtime_needs_only_numpy_and_onnxruntime(source: Source) -> None:
    others = {name for name in imported(source) if not under(name, ("wmctrl.runtime", *RUNTIME_NEEDS))}
    assert {name.partition(".")[0] for name in others} <= sys.stdlib_module_names


@pytest.mark.parametrize("source", RUNTIME, ids=lambda source: source.module)
def test_the_runtime_stays_within_python_310(source: Source) -> None:
    ast.parse(source.path.read_text(encoding="utf-8"), feature_version=(3, 10))
    assert newer_names(source) == set()


def newer_names(source: Source) -> set[str]:
    """Names of Python 3.11 and later that a module uses."""
    newer = {f"{module}.{name}".lstrip(".") for module, names in NEWER_THAN_310.items() for name in names.split()}
    used = {ast.unparse(node) for node in ast.walk(source.tree) if isinstance(node, ast.Attribute | ast.Name)}
    return newer & (used | imported(source))


@pytest.mark.parametrize(
    "text", ["import tomllib", "from typing import Self", "import enum\nenum.StrEnum", "ExceptionGroup"]
)
def test_a_name_newer_than_python_310_is_found(text: str) -> None:
    assert len(newer_names(written("wmctrl.runtime.drift", text))) == 1


PYTHON_310 = os.environ | {"PYENV_VERSION": "3.10", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
"""Environment of a Python 3.10; the first is what pyenv needs to be told."""


def python_310_runs() -> bool:
    """Whether there is one; pyenv puts a name on the path even for one that it does not have."""
    command = ["python3.10", "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 10))"]
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, env=PYTHON_310, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not python_310_runs(), reason="there is no Python 3.10 here")
def test_python_310_imports_the_runtime_as_far_as_it_has_the_packages() -> None:
    program = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "onnxruntime"):
            raise
    else:
        print(name)
"""
    command = ["python3.10", "-c", program, *(source.module for source in RUNTIME)]
    done = subprocess.run(command, env=PYTHON_310, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"wmctrl", "wmctrl.runtime", "wmctrl.runtime.files"} <= set(done.stdout.split())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.module)
def test_nothing_is_pickled(source: Source) -> None:
    assert pickling(source) == []


def pickling(source: Source) -> list[str]:
    """Everything in a module that reads or writes pickles."""
    found = [name for name in sorted(imported(source)) if under(name, (*PICKLES, "torch.load", "torch.save"))]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {word.arg for word in node.keywords}
            if name in ("torch.load", "torch.save") or "allow_pickle" in keywords:
                found.append(f"{name} at line {node.lineno}")
    return found


@pytest.mark.parametrize(
    "text", ["import pickle", "from torch import load", "torch.load(path)", "numpy.load(path, allow_pickle=True)"]
)
def test_a_pickle_is_found(text: str) -> None:
    assert pickling(written("wmctrl.learning.train", text)) != []


def test_no_file_is_named_like_a_module_of_python_or_a_dependency() -> None:
    taken = sys.stdlib_module_names | metadata.packages_distributions().keys()
    names = {source.module: source.path.stem for source in SOURCES if not source.path.stem.startswith("__")}
    assert {module: stem for module, stem in names.items() if stem in taken} == {}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.module)
def test_only_the_entry_prints(source: Source) -> None:
    if not under(source.module, ENTRIES):
        calls = [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]
        assert [node.lineno for node in calls if ast.unparse(node.func) == "print"] == []


def test_help_imports_no_simulator_and_no_torch(record_property: Callable[[str, object], None]) -> None:
    program = "import sys; from wmctrl.cli import main; main([]); print(*sys.modules, file=sys.stderr)"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    record_property("seconds", time.perf_counter() - start)
    assert done.stdout.startswith("usage: wm")
    heavy = {"torch", "mujoco", "highway_env", "gymnasium", "numpy", "matplotlib", "onnxruntime", "rich"}
    assert heavy & set(done.stderr.split()) == set()

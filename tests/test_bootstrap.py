"""The `wm` script with a stand-in for Python: what it sets up, when, and what it does after an interruption."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "wm"
TOOLS = ("cat", "chmod", "cksum", "cp", "dirname", "head", "mkdir", "readlink", "rm", "sh", "sleep", "tr")
PYTHON = """#!/bin/sh
log() { printf '%s\\n' "$*" >>"$STAGE/log"; }
case "$1 $2" in
"-m venv") log venv; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
"-m pip")
    [ "$3" = install ] || { [ "$5" != global.find-links ] || echo /wheels /more; exit 0; }
    log install
    [ ! -e "$STAGE/slow" ] || sleep 0.5
    [ ! -e "$STAGE/broken" ] || { echo 'no such package' >&2; exit 1; }
    [ ! -e "$STAGE/killed" ] || { kill -9 "$PPID"; exit 1; }
    cp "$STAGE/command" "$(dirname "$0")/wm" ;;
"-c "*version_info*) [ ! -e "$STAGE/old" ] ;;
"-c "*ctypes*) [ ! -e "$STAGE/no-$3" ] ;;
"-c "*fcntl*) exec "$REAL_PYTHON" "$@" ;;
"-V "*) echo Python 3.9.2 ;;
esac
"""
UV = """#!/bin/sh
printf 'uv %s, links %s\\n' "$1" "${UV_FIND_LINKS-}" >>"$STAGE/log"
if [ "$1" = venv ]; then
    for venv; do :; done
    mkdir -p "$venv/bin"; cp "$STAGE/tools/python3" "$venv/bin/python"
else
    cp "$STAGE/command" "$(dirname "$5")/wm"
fi
"""
COMMAND = """#!/bin/sh
printf '%s|' "$@"
exit 7
"""


class Stage:
    """A source tree with the real `wm`, and a PATH on which Python, apt-get and id are stand-ins that keep a log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "a tree"
        self.tools = folder / "tools"
        self.tree.mkdir()
        self.tools.mkdir()
        shutil.copy(SCRIPT, self.tree / "wm")
        (self.tree / "pyproject.toml").write_text("[project]\n")
        (self.tree / "constraints.txt").write_text("torch==2.13.0\n")
        for tool in TOOLS:
            (self.tools / tool).symlink_to(str(shutil.which(tool)))
        self.program("python3", PYTHON)
        self.program("id", "#!/bin/sh\necho 1000\n")
        self.program("apt-get", '#!/bin/sh\nprintf \'apt-get %s\\n\' "$*" >>"$STAGE/log"\n')
        (folder / "command").write_text(COMMAND)
        (folder / "command").chmod(0o755)

    def program(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def set(self, condition: str, on: bool = True) -> None:
        """Switch one of the stand-ins' conditions: slow, broken, killed, old, no-LIBRARY."""
        if on:
            (self.folder / condition).touch()
        else:
            (self.folder / condition).unlink()

    def start(self, *arguments: str, script: Path | None = None) -> "subprocess.Popen[str]":
        environment = {"PATH": str(self.tools), "STAGE": str(self.folder), "REAL_PYTHON": sys.executable}
        command = [str(script or self.tree / "wm"), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, script: Path | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one call."""
        process = self.start(*arguments, script=script)
        output, errors = process.communicate(timeout=30)
        return process.returncode, output, errors

    def log(self) -> list[str]:
        """What the stand-ins were asked for, and forget it."""
        file = self.folder / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        file.write_text("")
        return lines


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("shell", [name for name in ("sh", "dash", "bash") if shutil.which(name)])
def test_the_script_is_plain_shell(shell: str) -> None:
    subprocess.run([shell, "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_the_first_call_sets_up_and_forwards(stage: Stage) -> None:
    code, output, errors = stage.run("train", "--out", "a b", "")
    assert (code, output) == (7, "train|--out|a b||")
    assert errors.splitlines() == ["wm: setting up .venv (first time, about 2 minutes) ...", "wm: ready"]
    assert stage.log() == ["venv", "install"]


def test_later_calls_only_forward(stage: Stage) -> None:
    stage.run()
    stage.log()
    assert stage.run("demo") == (7, "demo|", "")
    assert stage.log() == []


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again(stage: Stage, file: str) -> None:
    stage.run()
    stage.log()
    (stage.tree / file).write_text("changed\n")
    assert "bringing .venv up to date" in stage.run()[2]
    assert stage.log() == ["install"]
    assert stage.run()[2] == ""


def test_it_works_through_a_symlink_from_anywhere(stage: Stage) -> None:
    link = stage.folder / "link"
    link.symlink_to(stage.tree / "wm")
    assert stage.run("envs", script=link)[:2] == (7, "envs|")
    assert (stage.tree / ".venv").is_dir()


def test_a_killed_set_up_is_started_over(stage: Stage) -> None:
    stage.set("killed")
    assert stage.run()[0] == -9
    (stage.tree / ".venv" / "half-written").touch()
    stage.set("killed", on=False)
    code, _, errors = stage.run()
    assert (code, "removing .venv" in errors) == (7, True)
    assert not (stage.tree / ".venv" / "half-written").exists()
    assert stage.log() == ["venv", "install"] * 2


def test_a_failed_installation_is_told_and_tried_again(stage: Stage) -> None:
    stage.set("broken")
    code, output, errors = stage.run("demo")
    assert (code, output) == (2, "")
    assert errors.splitlines()[-2:] == [
        "no such package",
        "wm: could not install the packages, the cause is above; run wm again to retry",
    ]
    stage.set("broken", on=False)
    assert stage.run("demo")[:2] == (7, "demo|")
    assert stage.log() == ["venv", "install", "install"]


def test_calls_at_the_same_time_set_up_once(stage: Stage) -> None:
    stage.set("slow")
    calls = [stage.start("a"), stage.start("b"), stage.start("c")]
    results = [call.communicate(timeout=30) for call in calls]
    assert [output for output, _ in results] == ["a|", "b|", "c|"]
    assert stage.log() == ["venv", "install"]
    assert sum("another set-up is under way" in errors for _, errors in results) == 2


def test_a_moved_tree_is_set_up_anew(stage: Stage) -> None:
    stage.run()
    stage.log()
    stage.tree = stage.tree.rename(stage.folder / "moved")
    assert "removing .venv" in stage.run()[2]
    assert stage.log() == ["venv", "install"]


def test_an_old_python_is_refused_with_what_to_set(stage: Stage) -> None:
    stage.set("old")
    code, _, errors = stage.run()
    assert code == 2
    assert errors == "wm: needs Python 3.11 or newer, 'python3' is Python 3.9.2; set WM_PYTHON=/path/to/python3.11\n"


def test_missing_libraries_are_named_to_a_user(stage: Stage) -> None:
    stage.set("no-libEGL.so.1")
    stage.set("no-libOSMesa.so.8")
    code, _, errors = stage.run()
    line = "apt-get update && apt-get install -y --no-install-recommends libegl1 libosmesa6"
    assert (code, f"sudo sh -c '{line}'" in errors) == (7, True)
    assert stage.log() == ["venv", "install"]


def test_missing_libraries_are_installed_by_root(stage: Stage) -> None:
    stage.program("id", "#!/bin/sh\necho 0\n")
    stage.set("no-libGL.so.1")
    assert stage.run()[0] == 7
    assert stage.log() == [
        "apt-get update",
        "apt-get install -y --no-install-recommends libgl1",
        "venv",
        "install",
    ]


@pytest.mark.parametrize(("step", "asked"), [("update", 1), ("install", 2)])
def test_libraries_that_cannot_be_installed_are_told_in_a_line_and_gone_on_without(
    stage: Stage, step: str, asked: int
) -> None:
    stage.program("id", "#!/bin/sh\necho 0\n")
    stage.program(
        "apt-get",
        f'#!/bin/sh\nprintf \'apt-get %s\\n\' "$1" >>"$STAGE/log"\n'
        f'[ "$1" != {step} ] || {{ echo "no {step} today"; echo "E: locked" >&2; exit 100; }}\n',
    )
    stage.set("no-libGL.so.1")
    code, output, errors = stage.run("demo")
    record = stage.tree / ".wm-apt.log"
    assert (code, output) == (7, "demo|")
    assert errors.splitlines()[1:] == [
        "wm: installing system libraries: libgl1 ...",
        f"wm: could not install them, see {record}; rendering may fail until this works: "
        "apt-get update && apt-get install -y --no-install-recommends libgl1",
        "wm: ready",
    ]
    assert record.read_text() == f"no {step} today\nE: locked\n"
    assert stage.log() == [*("apt-get update", "apt-get install")[:asked], "venv", "install"]
    assert stage.run("demo") == (7, "demo|", "")


def test_missing_libraries_are_nobodys_business_where_there_is_no_apt_get(stage: Stage) -> None:
    (stage.tools / "apt-get").unlink()
    stage.set("no-libGL.so.1")
    code, _, errors = stage.run()
    assert (code, errors.splitlines()[1:]) == (7, ["wm: ready"])


def test_uv_is_used_where_it_is_and_told_what_pip_knows(stage: Stage) -> None:
    stage.program("uv", UV)
    assert stage.run("demo")[:2] == (7, "demo|")
    assert stage.log() == ["uv venv, links ", "uv pip, links /wheels,/more"]

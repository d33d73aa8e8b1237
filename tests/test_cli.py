"""The command line: what it answers, what it refuses with which words, and with which exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

import wmctrl
from wmctrl import cli
from wmctrl.bench.endurance import Endured
from wmctrl.cli import main
from wmctrl.commands import answers, doctor
from wmctrl.commands.doctor import Finding

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evns"], "wm evns: not a command; did you mean envs?"),
        (["doctor", "--jsn"], "wm doctor: --jsn is not an argument here; did you mean --json?"),
        (["--versoin"], "wm: --versoin is not an argument here; did you mean --version?"),
        (["envs", "Pendulum-v1", "Hopper-v5"], "wm envs: Hopper-v5 is not an argument here; known: --help"),
        (["train"], "wm train: one of the arguments --env --resume is required (see ./wm train --help)"),
        (
            ["train", "--env", "Pendulum-v1", "--steps", "2.5"],
            "wm train: argument --steps: must be a whole number of at least 1, came '2.5'",
        ),
        (["train", "--env", "Pendulum-v1", "--steps", "0"], "wm train: argument --steps: must be a whole number of at"),
        (
            ["eval", "x", "--episodes", "0"],
            "wm eval: argument --episodes: must be a whole number of at least 1, came '0' (",
        ),
        (["export", "x", "--sign", "no.pem"], "wm export: --sign: there is no file no.pem"),
        (["trials", "--env", "Pendulum-v1", "--config", "no.yaml"], "wm trials: --config: there is no file no.yaml"),
        (["bench", "punctuality"], "wm bench: punctuality drives what a run has learned; add --run RUN"),
        (["run", "x", "--threads", "many"], "wm run: argument --threads: must be a whole number of at least 1"),
        (["bench", "--width", "wide"], "wm bench: argument --width: must be a whole number of at least 1"),
        (
            ["train", "--resume", "x", "--seed", "1", "--device", "cuda", "--out", "y"],
            "wm train: --resume keeps the run's own settings; leave out --seed, --device, --out",
        ),
        (["train", "--resume", "x", "--steps", "9"], "wm train: x is not a run (it has no run.json)"),
        (["eval", "x", "--seed", "one"], "wm eval: argument --seed: must be a whole number from 0 to 42949"),
        (["train", "--env", "Pendulum-v1", "--set", "a.b"], "wm train: an override must read key=value"),
        (
            ["train", "--env", "FetchRech-v4", "--steps", "10"],
            "wm train: unknown task 'FetchRech-v4'; did you mean FetchReach-v4",
        ),
        (["envs", "Pendulm-v1"], "wm envs: unknown task 'Pendulm-v1'; did you mean Pendulum-v1"),
        (["envs", "CartPole-v1"], "wm envs: CartPole-v1 must have a vector of continuous actions"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.parametrize("given", ["-1", "4294967296"])
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["train", "--env", "Pendulum-v1", "--seed"], "--seed"),
        (["eval", "x", "--seed"], "--seed"),
        (["trials", "--env", "Pendulum-v1", "--seeds", "0"], "--seeds"),
        (["endure", "--env", "Pendulum-v1", "--seed"], "--seed"),
    ],
)
def test_a_seed_that_nothing_could_start_from_is_refused_before_a_run_is_made(
    words: list[str], option: str, given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*args: Any) -> Path:
        raise AssertionError("a run was made")

    monkeypatch.setattr("wmctrl.commands.training.new_run", never)
    assert main([*words, given]) == 2
    must = f"must be a whole number from 0 to 4294967295, came '{given}'"
    message = f"wm {words[0]}: argument {option}: {must} (see ./wm {words[0]} --help)"
    assert capsys.readouterr().err.splitlines() == [message]


def test_a_hint_is_told_as_it_is_typed_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").touch()
    for folder, name in ((ROOT, "./wm"), (tmp_path, "wm")):
        monkeypatch.chdir(folder)
        assert main(["run", str(tmp_path)]) == 2
        assert f"write it with `{name} export {tmp_path}`" in capsys.readouterr().err


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    for words in (["--debug", "envs", "Pendulm-v1"], ["envs", "Pendulm-v1", "--debug"]):
        with pytest.raises(ValueError, match="Pendulm"):
            main(words)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "wm doctor: stopped\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.yaml"),
            2,
            "wm doctor: No such file or directory: x.yaml\n",
        ),
        (OSError(28, "No space left on device"), 2, "wm doctor: No space left on device\n"),
        (ValueError("first\n  second"), 2, "wm doctor: first second\n"),
    ],
)
def test_what_stops_a_command_is_told_in_one_line(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(folder: Path) -> Iterator[Finding]:
        raise error

    monkeypatch.setattr(doctor, "examine", stop)
    assert main(["doctor"]) == code
    assert capsys.readouterr().err == message


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> Iterator[Finding]:
        raise AssertionError("an invariant")

    monkeypatch.setattr(doctor, "examine", fail)
    with pytest.raises(AssertionError):
        main(["doctor"])


def test_train_makes_a_run_of_its_arguments_and_says_where_it_is_and_what_is_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from wmctrl.commands import exporting, run_folder, training

    begun: list[Path] = []

    monkeypatch.setattr(exporting, "origin_of", lambda run: run)
    monkeypatch.setattr(exporting, "up_to_date", lambda run: run / "bundle")

    def train(folder: Path, *, resume: bool) -> SimpleNamespace:
        assert not resume
        assert capsys.readouterr().out == f"Run: {folder}\n"
        begun.append(folder)
        return SimpleNamespace(finished=True, step=2000)

    monkeypatch.setattr(training, "train", train)
    words = ["train", "--env", "Pendulum-v1", "--steps", "2e3", "--seed", "7", "--envs", "3", "--out", str(tmp_path)]
    assert main([*words, "--set", "schedule.updates_per_step=0.5"]) == 0
    config, facts = run_folder.open_run(begun[0])
    assert begun[0].is_relative_to(tmp_path)
    assert (config.task.id, config.schedule.steps, config.schedule.updates_per_step) == ("Pendulum-v1", 2000, 0.5)
    assert (config.collect.plants, facts["seed"]) == (3, 7)
    assert capsys.readouterr().out.splitlines() == [
        "Trained for 2,000 steps and saved; writes the bundle, which takes a while.",
        f"Bundle: {begun[0] / 'bundle'}, drives without PyTorch. Next: ./wm eval {begun[0]}",
    ]


@pytest.mark.parametrize("room", [20, 30, 40, 70])
def test_a_table_breaks_lines_between_words_and_cuts_none(room: int) -> None:
    columns = [("name", "fetch-reach", "parking"), ("return", "-0.51 (-0.56 to -0.47)", ""), ("what it does", "a", "b")]
    found = answers.widths(list(zip(*columns, strict=True)), room)
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    assert words == [11, 6, 4]
    assert found == {20: words, 30: [11, 10, 9], 40: [11, 17, 12], 70: [11, 22, 12]}[room]


@pytest.mark.parametrize("words", [["envs"], ["completion", "bash"]])
def test_whoever_has_read_enough_gets_no_error(words: list[str]) -> None:
    call = [sys.executable, "-c", "from wmctrl.cli import main; raise SystemExit(main())", *words]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as wm:
        assert wm.stdout is not None
        assert wm.stderr is not None
        wm.stdout.close()
        assert wm.stderr.read() == b""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_while_the_bundle_is_written_learns_that_the_training_is_saved(
    signum: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from wmctrl.commands import exporting, training

    def stopped(origin: object) -> Path:
        os.kill(os.getpid(), signum)
        raise AssertionError("it went on")

    monkeypatch.setattr(training, "train", lambda folder, resume: SimpleNamespace(finished=True, step=2000))
    monkeypatch.setattr(exporting, "origin_of", lambda run: run)
    monkeypatch.setattr(exporting, "up_to_date", stopped)
    assert main(["train", "--env", "Pendulum-v1", "--out", str(tmp_path)]) == 130
    (run,) = tmp_path.glob("*/*")
    said = f"wm train: stopped; the training is saved, `./wm export {run}` writes its bundle\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", ["eval", "eval-policy", "eval-objective.value=0.5-20-episodes"])
def test_every_way_to_drive_has_a_report_of_its_own(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def evaluated(*arguments: Any, **keywords: Any) -> SimpleNamespace:
        return SimpleNamespace(spec=SimpleNamespace(id="Arm-v0"), step=7, scores=(), folder=tmp_path / name, note="")

    written: list[Path] = []
    monkeypatch.setattr("wmctrl.commands.evaluation.evaluate", evaluated)
    monkeypatch.setattr("wmctrl.commands.report.write_report", lambda path, *_: written.append(path))
    report = tmp_path / f"{name.replace('eval', 'report', 1)}.html"
    assert main(["eval", str(tmp_path)]) == 0
    assert written == [report]
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {report}"


@pytest.mark.parametrize(("differences", "code"), [((), 0), (("worst_reward",), 1)])
def test_endure_tells_what_differs(
    differences: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []

    def endured(*arguments: Any) -> Endured:
        asked.append(arguments)
        return Endured((20, 50), differences)

    monkeypatch.setattr("wmctrl.bench.endurance.endure", endured)
    assert main(["endure", "--env", "Pendulum-v1", "--steps", "70", "--kills", "3", "--out", "here"]) == code
    ((config, root, kills, seed),) = asked
    assert (config.schedule.steps, config.schedule.checkpoint_every) == (70, 7)
    assert (root, kills, seed) == (Path("here"), 3, 0)
    told = capsys.readouterr().out
    assert "killed 2 times, with steps saved: 20, 50" in told
    assert ("not equal: worst_reward" in told) == bool(differences)


def test_wm_alone_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert {"envs", "doctor", "test"} <= set(capsys.readouterr().out.split())


def test_envs_lists_sizes_and_rates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "Pendulum-v1" in line)
    assert row.split()[-5:] == ["proprio", "3", "1", "20", "return"]


def test_envs_with_a_task_tells_elements_and_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "FetchReach-v4"]) == 0
    text = capsys.readouterr().out
    assert "within 0.05 m" in text
    assert any(line.split()[:2] == ["goal", "2"] for line in text.splitlines())
    assert any(line.split()[:1] == ["action_delay"] for line in text.splitlines())


def test_doctor_prints_json_and_fails_when_something_needs_mending(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding("cores", "2"), Finding("disk", "0.1 GB free", "free 2 GB")]
    monkeypatch.setattr(doctor, "examine", lambda folder: iter(findings))
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[1] == {"subject": "disk", "found": "0.1 GB free", "fix": "free 2 GB"}


@pytest.mark.parametrize(
    ("mujoco", "robotics", "fix"),
    [
        ("3.11.0", "1.4.2", ""),
        ("3.12.0", "1.4.2", f"{sys.executable} -m pip install 'mujoco<3.12'"),
        ("3.17.1", "1.4.2", f"{sys.executable} -m pip install 'mujoco<3.12'"),
        ("3.12.0", "1.4.3", ""),
    ],
)
def test_doctor_knows_the_pair_that_breaks_fetch(mujoco: str, robotics: str, fix: str) -> None:
    assert doctor.fetch_pair({"mujoco": mujoco, "gymnasium-robotics": robotics}).fix == fix


def test_doctor_looks_at_what_is_declared_to_run_with(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["torch>=2.10", "pygame-ce>=2.5", 'sun; platform_system == "Solaris"', 'pytest>=9; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", {"wmctrl-stack": declared}.__getitem__)
    assert doctor.runtime_packages() == {"torch", "pygame-ce"}


@pytest.mark.parametrize(
    ("versions", "finding"),
    [
        ({}, Finding("torch", "missing", f"{sys.executable} -m pip install 'torch==2.13.0'")),
        ({"torch": "2.13.0+cpu"}, Finding("torch", "2.13.0+cpu")),
        ({"torch": "2.14.0"}, Finding("torch", "2.14.0, tested with 2.13.0")),
    ],
)
def test_doctor_compares_with_the_tested_versions(versions: Mapping[str, str], finding: Finding) -> None:
    assert doctor.package(Requirement("torch==2.13.0"), versions) == finding


def test_doctor_asks_for_room(tmp_path: Path) -> None:
    assert doctor.disk(tmp_path, 2.1e9).fix == ""
    assert doctor.disk(tmp_path, 1.9e9).fix.startswith("free 2 GB")


def test_doctor_asks_for_a_newer_python() -> None:
    assert doctor.python((3, 11, 0)).fix == ""
    assert doctor.python((3, 10, 13)).fix.startswith("install Python 3.11")


def test_doctor_falls_back_to_the_backend_that_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(doctor, "drawing_failure", {"egl": "no display", "osmesa": ""}.__getitem__)
    assert doctor.graphics().fix == "export MUJOCO_GL=osmesa"
    monkeypatch.setattr(doctor, "drawing_failure", {"egl": "no display", "osmesa": "no library"}.__getitem__)
    assert doctor.graphics() == Finding(
        "graphics", "egl: no display; osmesa: no library", "apt-get install -y libegl1 libgl1 libosmesa6"
    )


def test_doctor_tells_why_nothing_is_drawn() -> None:
    assert "MUJOCO_GL" in doctor.drawing_failure("no-such-backend")


def test_the_checks_get_pytests_arguments_and_fail_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command[2:])
        return subprocess.CompletedProcess(command, 1 if "mypy" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["test", "-k", "name", "tests/test_cli.py"]) == 1
    assert [command[0] for command in commands] == ["ruff", "ruff", "mypy", "pytest"]
    assert commands[-1][-3:] == ["-k", "name", "tests/test_cli.py"]
    assert "mypy FAILED" in capsys.readouterr().out.splitlines()[-1]


def test_the_checks_need_a_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wmctrl, "__file__", str(tmp_path / "wmctrl" / "__init__.py"))
    assert main(["test"]) == 2
    assert "needs a source tree" in capsys.readouterr().err


def test_bash_completes_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    program = capsys.readouterr().out + "\nCOMP_WORDS=(wm ''); COMP_CWORD=1; _shtab_wm; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert {*cli.parsers()[1]} <= {*done.stdout.split()}

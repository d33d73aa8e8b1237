"""The `wm` command: arguments in, a function of another room called, one line on stderr where something is wrong."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import wmctrl
from wmctrl.config_files import nearest

if TYPE_CHECKING:
    from wmctrl_envs.task import Element, Parameter, TaskSpec

    from wmctrl.learning.train import Trainer

PIPED_WIDTH = 140
"""Columns of a table that goes to a file or another program."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Test processes that each start a thread per core would slow one another down."""


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit, so that every error of the command looks the same."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for a mistake of the user's, 130 for Ctrl-C."""
    given = sys.argv[1:] if argv is None else argv
    arguments = [word for word in given if word != "--debug"]
    debug = len(arguments) < len(given)
    command = next((word for word in arguments if not word.startswith("-")), "")
    try:
        return parsed(command, arguments)()
    except (KeyboardInterrupt, ValueError, OSError) as error:
        if debug:
            raise
        print(f"wm {command}".rstrip() + f": {one_line(error)}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 2


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks and error numbers."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def parsed(command: str, arguments: list[str]) -> Callable[[], int]:
    """The call that the command line asks for."""
    parser, commands = parsers()
    if command and command not in commands:
        raise ValueError(f"not a command; {nearest(command, commands)}")
    options, unknown = parser.parse_known_args(arguments)
    values = vars(options)
    run: Callable[..., int] = values.pop("run")
    if run is test:
        return partial(test, unknown)
    if unknown:
        known = re.findall(r"--[a-z][a-z-]*", commands.get(command, parser).format_help())
        raise ValueError(f"{unknown[0]} is not an argument here; {nearest(unknown[0], dict.fromkeys(known))}")
    return partial(run, **values)


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, and its commands by name."""
    parser = Parser(prog="wm", description=wmctrl.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"wm {wmctrl.__version__}")
    # Taken out by `main` before parsing, so that it may stand anywhere; here for the help.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
    parser.set_defaults(run=partial(show_help, parser))
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")

    def command(name: str, run: Callable[..., int], what: str) -> Parser:
        added = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    envs = command("envs", show_envs, "list the tasks, or tell everything about one")
    envs.add_argument("task", metavar="ID", nargs="?", help="a task of the list, or any Gymnasium id with a box action")
    add_train_arguments(command("train", train, "teach a controller to drive a plant, or go on with an earlier run"))
    add_lookers(command)
    add_bench_arguments(command("bench", show_costs, "what planning and learning cost, against this machine's limit"))
    trials = command("trials", show_trials, "train and evaluate a task over several seeds; the evidence behind a table")
    trials.add_argument("--env", metavar="ID", required=True, help="the task; see wm envs")
    trials.add_argument(
        "--seeds", metavar="S", type=int, nargs="+", default=[0, 1, 2], help="one after another (0 1 2)"
    )
    trials.add_argument("--episodes", type=count, default=100, metavar="N", help="of each seed's evaluation (100)")
    trials.add_argument(
        "--set", metavar="A.B=C", dest="overrides", action="append", default=[], help="one setting; may be repeated"
    )
    trials.add_argument("--json", metavar="FILE", type=Path, help="also write every episode to this file")
    trials.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help="folder of runs (default runs)")
    doctor = command("doctor", show_findings, "look for what is wrong with this installation, and say how to mend it")
    doctor.add_argument("--json", dest="as_json", action="store_true", help="print JSON instead of a table")
    command("test", test, "lint, type-check and test the source tree; further arguments go to pytest")
    return parser, dict(commands.choices)


def add_train_arguments(parser: Parser) -> None:
    """What a run is made of, or which run goes on."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--env", metavar="ID", help="start a run on this task; see wm envs")
    what.add_argument("--resume", metavar="RUN", type=Path, help="go on with this run's folder where it stopped")
    parser.add_argument("--steps", metavar="N", type=count, help="environment steps in all, such as 20000 or 2e4")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="the same seed gives the same run (default 0)")
    parser.add_argument("--offline", metavar="FOLDER", type=Path, help="learn from this run's recorded replay alone")
    parser.add_argument("--config", metavar="F", type=Path, help="YAML of settings instead of the task's own")
    parser.add_argument(
        "--set", metavar="A.B=C", dest="overrides", action="append", default=[], help="one setting; may be repeated"
    )
    parser.add_argument("--device", default="cpu", help="where PyTorch computes: cpu (default) or cuda")
    parser.add_argument("--envs", metavar="K", type=count, help="plants that run side by side")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help="folder of runs (default runs)")


def count(text: str) -> int:
    """A positive whole number, `2e4` and `20_000` included."""
    value = float(text)
    if value < 1 or value % 1:
        raise ValueError(text)
    return int(value)


def add_lookers(command: Callable[..., Parser]) -> None:
    """The commands that look at what was learned."""
    evaluate = command("eval", evaluate_run, "drive what a run has learned; write figures, films and a report")
    evaluate.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
    evaluate.add_argument("--episodes", type=count, default=100, metavar="N", help="how many (100)")
    evaluate.add_argument("--seed", type=int, default=0, help="episode i starts from this plus i (0)")
    evaluate.add_argument("--policy", dest="policy_only", action="store_true", help="the reactive policy, no planning")
    evaluate.add_argument("--json", dest="as_json", action="store_true", help="print JSON instead of a table")
    demo = command("demo", show_demo, "an arm and a car teach themselves to drive, in under five minutes")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="FOLDER", help="where to (runs/demo)")


def add_bench_arguments(parser: Parser) -> None:
    """What is measured, and how."""
    parser.add_argument("part", nargs="?", choices=("update", "planning", "all"), default="all", help="what (all)")
    parser.add_argument("--env", metavar="ID", default="HalfCheetah-v5", help="task whose sizes count (HalfCheetah-v5)")
    parser.add_argument("--width", metavar="N", type=count, default=128, help="width of every layer (128)")
    parser.add_argument("--threads", metavar="N", type=count, nargs="+", default=[1, 2], help="one after another (1 2)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write everything measured to this file")


def show_help(parser: Parser) -> int:
    """What `wm` alone prints."""
    parser.print_help()
    return 0


def train(
    *,
    env: str | None,
    resume: Path | None,
    steps: int | None,
    seed: int,
    offline: Path | None,
    config: Path | None,
    overrides: Sequence[str],
    device: str,
    envs: int | None,
    out: Path,
) -> int:
    """Start a run, or go on with one."""
    from wmctrl.commands import training
    from wmctrl.config import resolve

    if resume is not None:
        if steps or offline or config or overrides or envs:
            raise ValueError(
                "--resume keeps the run's own settings; leave out --steps, --offline, --config, --set and --envs"
            )
        return taught(training.train(resume, resume=True), resume)
    assert env is not None, "the parser asks for --env or --resume"
    short = {"schedule.steps": steps, "collect.plants": envs}
    settings = resolve(env, config, (*(f"{key}={value}" for key, value in short.items() if value), *overrides))
    folder = training.new_run(settings, seed, device, out, offline)
    return taught(training.train(folder), folder)


def taught(trainer: "Trainer", folder: Path) -> int:
    """Exit code of a training; one that Ctrl-C stopped tells how to go on."""
    if trainer.finished:
        return 0
    print(
        f"wm train: stopped and saved at step {trainer.step:,}; go on with: wm train --resume {folder}", file=sys.stderr
    )
    return 130


def evaluate_run(run_folder: Path, episodes: int, seed: int, policy_only: bool, as_json: bool) -> int:
    """Drive what a run has learned, and show and keep what was found."""
    from wmctrl.commands.evaluation import evaluate, to_json
    from wmctrl.commands.report import COLUMNS, table_row, write_report

    found = evaluate(run_folder, episodes, seed, policy_only=policy_only)
    write_report(run_folder / "report.html", f"{found.spec.id}: what it learned", [found])
    if as_json:
        print(json.dumps(to_json(found), indent=2))
        return 0
    show_table(
        f"{found.spec.id} after {found.step:,} steps", COLUMNS, [table_row(score, found) for score in found.scores]
    )
    print(f"In parentheses: 95 % intervals. Figures are in {found.folder / 'eval.json'}")
    print(f"Report: {run_folder / 'report.html'}" + (f" ({found.note})" if found.note else ""))
    return 0


def show_demo(out: Path) -> int:
    """Run the demo, saying what happens."""
    from wmctrl.commands.demo import Demo

    Demo().run(out, partial(print, flush=True))
    return 0


def show_costs(part: str, env: str, width: int, threads: Sequence[int], json: Path | None) -> int:
    """Measure, show and write what planning and learning cost."""
    from wmctrl.bench import cost

    question = cost.Question(env, width, cost.PARTS if part == "all" else (part,))
    answers = list(cost.bench(question, threads))
    for title, columns, rows in cost.tables(answers):
        show_table(title, columns, rows)
    if json is not None:
        cost.write_json(json, question, answers)
    return 0


def show_trials(
    env: str, seeds: Sequence[int], episodes: int, overrides: Sequence[str], json: Path | None, out: Path
) -> int:
    """Train and evaluate seed after seed, and show and write what was found."""
    from wmctrl.bench import trials
    from wmctrl.config import resolve

    config = resolve(env, overrides=tuple(overrides))
    found = []
    for trial in trials.trials(config, seeds, episodes, out):
        found.append(trial)
        show_table(f"{env}, {episodes} episodes a seed", trials.COLUMNS, [*map(trials.row, found), trials.total(found)])
        if json is not None:
            trials.write_json(json, config, found)
    return 0


def show_envs(task: str | None) -> int:
    """List the curated tasks, or every element and parameter of one task."""
    import wmctrl_envs

    if task is None:
        show_catalogue(wmctrl_envs.catalogue())
    else:
        show_task(spec_of(task))
    return 0


def spec_of(task: str) -> "TaskSpec":
    """What a task says about itself, which it knows once it is made."""
    import wmctrl_envs

    plant = wmctrl_envs.make(task)
    plant.close()
    return plant.task_spec


def show_catalogue(catalogue: Mapping[str, str]) -> None:
    """One line a task."""
    rows = []
    for task, what in catalogue.items():
        spec = spec_of(task)
        rows.append((task, what, sizes(spec), str(len(spec.action)), f"{1 / spec.control_period:.3g}"))
    show_table("", ("task", "what", "observes", "actions", "Hz"), rows)


def sizes(spec: "TaskSpec") -> str:
    """What is observed and how much of it, such as `proprio 10, goal 3`."""
    camera = "x".join(map(str, spec.camera or ()))
    parts = {"proprio": len(spec.proprio), "goal": len(spec.goal), "camera": camera}
    return ", ".join(f"{name} {size}" for name, size in parts.items() if size)


def show_task(spec: "TaskSpec") -> None:
    """Everything a task says about itself."""
    print(f"{spec.id}: {1 / spec.control_period:.3g} Hz, at most {spec.max_steps} steps; observes {sizes(spec)}")
    print(f"success: {spec.success or 'not defined'}")
    print(f"failure: {spec.failure or 'the task cannot fail'}")
    groups = {"proprio": spec.proprio, "goal": spec.goal, "action": spec.action}
    rows = [(group, str(i), *described(element)) for group, part in groups.items() for i, element in enumerate(part)]
    show_table("elements", ("part", "index", "name", "unit", "range"), rows)
    parameters = [(*described(one), f"{one.nominal:g}", one.meaning) for one in spec.parameters]
    show_table("parameters that can change while it runs", ("name", "unit", "range", "nominal", "meaning"), parameters)


def described(one: "Element | Parameter") -> tuple[str, str, str]:
    """Name, unit and range."""
    return one.name, one.unit, f"{one.low:g} to {one.high:g}"


def show_findings(as_json: bool) -> int:
    """Print what the doctor found; 1 when something needs mending."""
    from wmctrl.commands.doctor import examine

    findings = list(examine(Path.cwd()))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        rows = [("mend" if one.fix else "ok", one.subject, one.found, one.fix) for one in findings]
        show_table("", ("", "what", "found", "type this"), rows)
    return int(any(finding.fix for finding in findings))


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as wide as the terminal; nothing where there are no rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    if table.rows:
        Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False).print(table)


def test(pytest_arguments: Sequence[str]) -> int:
    """Every check of the source tree, the quick ones first; 1 when one fails."""
    root = Path(wmctrl.__file__).parents[1]
    if not (root / "tests").is_dir():
        raise ValueError(f"needs a source tree, and {root} is none; clone the repository and run ./wm test there")
    checks = {
        "ruff check": ("ruff", "check"),
        "ruff format": ("ruff", "format", "--check"),
        "mypy": ("mypy",),
        "pytest": ("pytest", "-n", "2", *pytest_arguments),
    }
    results = {name: timed(name, module, root) for name, module in checks.items()}
    told = ", ".join(
        f"{name} {'FAILED' if code else 'ok'} ({seconds:.1f} s)" for name, (code, seconds) in results.items()
    )
    print(f"wm test: {told}")
    return int(any(code for code, _ in results.values()))


def timed(name: str, module: Sequence[str], root: Path) -> tuple[int, float]:
    """Exit code and duration [s] of one check."""
    print(f"wm test: {name} ...", flush=True)
    start = time.perf_counter()
    code = subprocess.run(
        [sys.executable, "-m", *module], cwd=root, env=os.environ | ONE_THREAD, check=False
    ).returncode
    return code, time.perf_counter() - start

"""What each command of `wm` does: a function of another room called, and what it found shown."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import wmctrl
from wmctrl.commands.typed import wm

if TYPE_CHECKING:
    from wmctrl_envs.task import Element, Parameter, TaskSpec

    from wmctrl.commands.doctor import Finding
    from wmctrl.commands.evaluation import Evaluation

PIPED_WIDTH = 140
"""Columns of a table that goes to a file or another program."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Test processes that each start a thread per core would slow one another down."""


def train(
    *,
    env: str | None,
    resume: Path | None,
    steps: int | None,
    seed: int | None,
    offline: Path | None,
    config: Path | None,
    overrides: Sequence[str],
    device: str | None,
    envs: int | None,
    out: Path | None,
) -> int:
    """Start a run, or go on with one."""
    from wmctrl.commands import run_folder, training
    from wmctrl.config import resolve

    if resume is not None:
        given = {"--seed": seed, "--offline": offline, "--config": config, "--set": overrides or None}
        given |= {"--device": device, "--envs": envs, "--out": out}
        if named := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"--resume keeps the run's own settings; leave out {', '.join(named)}")
        if steps is not None:
            run_folder.extend(resume, steps)
        return teach(resume, resume=True)
    assert env is not None, "the parser asks for --env or --resume"
    require_file("--config", config)
    short = {"schedule.steps": steps, "collect.plants": envs}
    settings = resolve(env, config, (*(f"{key}={value}" for key, value in short.items() if value), *overrides))
    folder = training.new_run(settings, seed or 0, device or "cpu", out or Path("runs"), offline)
    print(f"Run: {folder}", flush=True)
    return teach(folder, resume=False)


def require_file(option: str, path: Path | None) -> None:
    """Refuse an option that names no file.

    Raises:
        ValueError: There is none.
    """
    if path is not None and not path.is_file():
        raise ValueError(f"{option}: there is no file {path}")


def teach(folder: Path, *, resume: bool) -> int:
    """Train a run, write its bundle and say what to type next; 130 when it was told to stop."""
    from wmctrl.commands import run_folder, training

    if resume and run_folder.begun_otherwise(folder):
        print(f"{folder} was begun by other code or versions: it goes on, but not bit for bit", file=sys.stderr)
    trainer = training.train(folder, resume=resume)
    if trainer.finished:
        print(f"Trained for {trainer.step:,} steps and saved; writes the bundle, which takes a while.", flush=True)
        print(f"Bundle: {last_bundle(folder)}, drives without PyTorch. Next: {wm()} eval {folder}")
        return 0
    print(
        f"wm train: stopped and saved at step {trainer.step:,}; go on with: {wm()} train --resume {folder}",
        file=sys.stderr,
    )
    return 130


def last_bundle(run: Path) -> Path:
    """The bundle that a run's training ends with."""
    from wmctrl.commands.stopping import told_to_stop

    try:
        with told_to_stop(signal.default_int_handler):
            from wmctrl.commands import exporting  # takes seconds, and may be stopped like the rest

            return exporting.up_to_date(exporting.origin_of(run))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the training is saved, `wm export {run}` writes its bundle") from None


def evaluate(
    folder: Path | None,
    every: bool,
    card: bool,
    episodes: int | None,
    seed: int,
    policy_only: bool,
    beside_torch: bool,
    overrides: Sequence[str],
    as_json: bool,
    env: str | None,
) -> int:
    """Drive what a run has learned, or bundles as they are; show and keep what was found.

    Args:
        every: Drive every controller that comes with the package.
        card: Write their cards anew.
        env: The task of a bundle, for those that are not ours to import.
    """
    from wmctrl.commands import deployment
    from wmctrl.runtime import manifest

    if every == (folder is not None):
        raise ValueError("name a run or a bundle, or give --all for every controller that comes along")
    if folder is not None and folder.is_dir() and not (folder / manifest.NAME).exists() and not card:
        from wmctrl.commands import evaluation  # takes seconds, and a mistake is told at once

        found = evaluation.evaluate(
            folder,
            evaluation.EPISODES if episodes is None else episodes,
            seed,
            policy_only=policy_only,
            beside_torch=beside_torch,
            overrides=tuple(overrides),
        )
        return show_evaluation(found, as_json)
    asked = {"--policy": policy_only, "--torch": beside_torch, "--set": bool(overrides)}
    if of_runs := [name for name, given in asked.items() if given]:
        raise ValueError(f"{', '.join(of_runs)} is of runs, and {folder or '--all'} is none; leave it out")
    return deployment.evaluate_bundles(folder, episodes, seed, as_json, card=card, env=env)


def show_evaluation(found: "Evaluation", as_json: bool) -> int:
    """Show what was found of a run, and write its report."""
    from wmctrl.commands.evaluation import to_json
    from wmctrl.commands.report import COLUMNS, table_row, write_report

    if as_json:
        print(json.dumps(to_json(found), indent=2), flush=True)
    else:
        show_table(
            f"{found.spec.id} after {found.step:,} steps", COLUMNS, [table_row(score, found) for score in found.scores]
        )
        print(f"In parentheses: 95 % intervals. Figures are in {found.folder / 'eval.json'}", flush=True)
    report = found.folder.with_name(f"report{found.folder.name.removeprefix('eval')}.html")
    write_report(report, f"{found.spec.id}: what it learned", [found])
    if not as_json:
        print(f"Report: {report}" + (f" ({found.note})" if found.note else ""))
    return 0


def show_demo(out: Path, from_nothing: bool) -> int:
    """Run a demo, saying what happens."""
    say = partial(print, flush=True)
    if from_nothing:
        from wmctrl.commands.self_taught import SelfTaught

        SelfTaught().run(out, say)
    else:
        from wmctrl.commands import demo

        demo.run(out, say)
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
        judged = ", ".join(name for name in ("success", "failure") if getattr(spec, name)) or "return"
        rows.append((task, what, sizes(spec), str(len(spec.action)), f"{1 / spec.control_period:.3g}", judged))
    show_table("", ("task", "what", "observes", "actions", "Hz", "judged by"), rows)
    print(f"Each has a camera as well, as in --set task.observe=[proprio,camera]. Next: {wm()} envs ID")


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

    return show_examined(examine(Path.cwd()), as_json, "type this")


def check_env(task: str, as_json: bool) -> int:
    """Print what was found of a plant; 1 when something needs mending before it can be learned."""
    from wmctrl.commands.check_env import examine

    code = show_examined(examine(task), as_json, "do this")
    if not code and not as_json:
        print(f"Next: {wm()} train --env {task} --steps 2000")
    return code


def show_examined(examined: "Iterable[Finding]", as_json: bool, remedy: str) -> int:
    """Print findings, the remedies under a heading; 1 when something needs mending."""
    findings = list(examined)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        columns = ("", "what", "found", remedy)[: 4 if any(one.fix for one in findings) else 3]
        rows = [("mend" if one.fix else "ok", one.subject, one.found, one.fix)[: len(columns)] for one in findings]
        show_table("", columns, rows)
    return int(any(finding.fix for finding in findings))


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as wide as the terminal; nothing where there are no rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    cells = list(rows)
    if not cells:
        return
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False)
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    gaps = 2 * len(columns) + 1
    fitted = widths([columns, *cells], console.width - gaps)
    console.width = max(console.width, sum(fitted) + gaps)  # rather lines that the terminal breaks than words cut off
    for column, width in zip(columns, fitted, strict=True):
        table.add_column(column, width=width)
    for row in cells:
        table.add_row(*row)
    console.print(table, crop=False)


def widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Of a table's columns, to fit into some room where that cuts no word: a name that is cut off cannot be typed."""
    columns = list(zip(*rows, strict=True))
    least = [max((len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    found = [max(map(len, column)) for column in columns]
    spare = [width - word for width, word in zip(found, least, strict=True)]
    while sum(found) > room and any(spare):
        longest = spare.index(max(spare))
        found[longest], spare[longest] = found[longest] - 1, spare[longest] - 1
    return found


def test(pytest_arguments: Sequence[str]) -> int:
    """Every check of the source tree, the quick ones first; 1 when one fails."""
    root = Path(wmctrl.__file__).parents[1]
    if not (root / "tests").is_dir():
        raise ValueError(f"needs a source tree, and {root} is none; clone the repository and run ./wm test there")
    checks = {
        "ruff check": ("ruff", "check"),
        "ruff format": ("ruff", "format", "--check"),
        "mypy": ("mypy",),
        # Each of the two processes takes neighbouring tests, which share what takes long to make.
        "pytest": ("pytest", "-n", "2", "--dist", "worksteal", *pytest_arguments),
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

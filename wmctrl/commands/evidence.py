"""Answers of the commands that stand behind tables and claims: measurements, trials, stress tests."""

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from wmctrl.commands.answers import require_file, show_table

USUAL = "HalfCheetah-v5"
"""Task that costs and peers are measured of where none is named."""


def show_costs(
    part: str,
    env: str | None,
    width: int,
    threads: Sequence[int],
    json: Path | None,
    trained: Path | None,
    episodes: int | None,
    seed: int,
    cycles: int,
    beside: bool,
    seeds: Sequence[int],
    methods: Sequence[str] | None,
    steps: int | None,
) -> int:
    """Measure, show and write what planning and learning cost, or what a run is worth under adverse conditions."""
    if part == "continual":
        return show_continual(threads[0], seeds, json)
    if part == "peers":
        return show_peers(env or USUAL, steps, seeds, episodes or 100, methods, json)
    if part == "punctuality":
        return show_punctuality(trained, env, cycles, beside, seed, json)
    if part in ("latency", "faults", "delay"):
        return show_robustness(part, trained, env, threads[0], episodes or 20, seed, json)
    from wmctrl.bench import cost, workload

    question = workload.Question(env or USUAL, width, workload.PARTS if part == "all" else (part,))
    answers = list(cost.bench(question, threads))
    for title, columns, rows in cost.tables(answers):
        show_table(title, columns, rows)
    if json is not None:
        cost.write_json(json, question, answers)
    return 0


def show_robustness(
    part: str, run: Path | None, env: str | None, threads: int, episodes: int, seed: int, json: Path | None
) -> int:
    """Drive a run within budgets, or with sensors that fail, and show and write what that is worth."""
    from wmctrl.bench import planner_faults, robustness
    from wmctrl.commands import driving

    run = require_run(part, run)
    controller = driving.load(run, policy_only=False, provider=None, threads=threads, public_key_hex=None)
    told = controller.bundle.manifest.task
    with contextlib.closing(driving.matching_task(told, env)) as task:
        random, found = robustness.random_return(task, seed), []
        measure, columns, row = robustness.PARTS[part]
        print("  ".join(columns), file=sys.stderr, flush=True)
        scores = measure(controller, task, episodes, seed)
        if part == "faults" and controller.planner is not None:
            scores = itertools.chain(scores, planner_faults.planner_faults(controller, episodes, seed))
        for score in scores:
            found.append(score)
            print("  ".join(row(score, found[0], random)), file=sys.stderr, flush=True)
            if json is not None:
                robustness.write_json(json, told.id, random, found)
    title = f"{told.id}, {episodes} episodes each, random actions {random:.4g}"
    show_table(title, columns, [row(score, found[0], random) for score in found])
    print("\n".join(robustness.legend(part)))
    if (run / "run.json").exists():  # nothing is added to a bundle
        report = run / f"report-{part}.html"
        robustness.write_report(report, told.id, part, random, found)
        print(f"Report: {report}")
    return 0


def require_run(part: str, run: Path | None) -> Path:
    """What drives.

    Raises:
        ValueError: It was not named.
    """
    if run is None:
        raise ValueError(f"{part} drives what a run has learned; add --run RUN")
    return run


def show_punctuality(run: Path | None, env: str | None, cycles: int, beside: bool, seed: int, json: Path | None) -> int:
    """Drive a run in real time, ahead of others and not, beside busy cores and not, and tell how punctual that is."""
    from wmctrl.bench import punctuality
    from wmctrl.commands import driving

    run = require_run("punctuality", run)
    controller = driving.load(run, policy_only=False, provider=None, threads=1, public_key_hex=None)
    task, found = controller.bundle.manifest.task.id, []
    for finding in punctuality.measure(controller, cycles, seed, beside=beside, env=env):
        found.append(finding)
        print(finding.circumstance.name, *finding.figures(), sep="  ", file=sys.stderr, flush=True)
        if json is not None:
            punctuality.write_json(json, task, found)
    show_table(task, *punctuality.table(found))
    print(punctuality.LEGEND)
    return 0


def show_continual(threads: int, seeds: Sequence[int], json: Path | None) -> int:
    """Learn digits task after task in every way, and show and write what was kept of them."""
    import torch

    from wmctrl.bench import continual

    torch.set_num_threads(threads)
    settings, found = continual.Settings(), []
    for finding in continual.measure(continual.PROTOCOLS, seeds, settings):
        found.append(finding)
        print(continual.told(finding), file=sys.stderr, flush=True)
        if json is not None:
            continual.write_json(json, settings, found)
    for protocol in continual.PROTOCOLS:
        show_table(f"{protocol.name}, {len(seeds)} seeds", continual.COLUMNS, continual.rows(protocol, found))
    print(continual.LEGEND)
    return 0


def show_peers(
    env: str, steps: int | None, seeds: Sequence[int], episodes: int, methods: Sequence[str] | None, json: Path | None
) -> int:
    """Have other methods learn and drive a task, and show and write what they are worth."""
    from wmctrl.bench import peers
    from wmctrl.commands import training
    from wmctrl.commands.watch import Watch
    from wmctrl.config import resolve

    settings = resolve(env)
    question = peers.Question(settings.task, steps or settings.schedule.steps, episodes)
    spec = training.spec_of(settings.task)
    chosen = peers.chosen(methods, spec)
    found = [] if json is None else peers.kept(json, question)
    with Watch() as watch:
        for part in peers.measure(question, chosen, seeds, tuple(found), watch):
            found.append(part)
            watch.say(peers.told(part, spec))
            if json is not None:
                peers.write_json(json, question, found, spec)
    show_table(f"{env}, {episodes} episodes a seed", peers.COLUMNS, peers.rows(found, spec))
    print(peers.LEGEND)
    return 0


def show_stress(
    bundle: Path,
    suite: str,
    seeds: Sequence[int] | None,
    arms: Sequence[str] | None,
    rivals: Sequence[str],
    processes: int,
    env: str | None,
) -> int:
    """Drive a suite's courses, a bar beside, and show and write what they are worth."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from wmctrl.commands import driving, stress_report, stressing
    from wmctrl.runtime import manifest
    from wmctrl.runtime.keeping import origin_of

    place = driving.bundle_in(bundle)
    task = manifest.parse((place / manifest.NAME).read_bytes()).task.id
    asked = stressing.suite_of(suite, task)
    asked = dataclasses.replace(
        asked, seeds=tuple(seeds) if seeds else asked.seeds, arms=tuple(arms) if arms else asked.arms
    )
    kept = Path("runs") / f"stress-{Path(suite).stem}-{origin_of((place / manifest.NAME).read_bytes())[:8]}"
    if (bundle / "run.json").exists():
        kept = bundle / f"stress-{Path(suite).stem}"
    found, beside = {}, [stressing.Rival.of(text) for text in rivals]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{task}, {processes} at a time", total=len(stressing.cells(asked, beside)))
        for cell, trace in stressing.run(bundle, asked, kept, processes, env, beside):
            found[cell] = trace
            progress.advance(bar)
            print(f"{cell.shift}, {cell.arm}, seed {cell.seed}: {trace.seconds:.0f} s", file=sys.stderr, flush=True)
    found = {cell: found[cell] for cell in stressing.cells(asked, beside)}
    show_table(f"{task} under stress", stress_report.COLUMNS, stress_report.rows(stress_report.compared(found)))
    print(stress_report.LEGEND)
    report, table = kept / "report.html", kept / "courses.csv"
    stress_report.write_report(report, task, asked, found)
    stress_report.write_table(table, found)
    print(f"Report: {report}; every course in {table}")
    return 0


def show_trials(
    *,
    env: str,
    seeds: Sequence[int],
    episodes: int,
    overrides: Sequence[str],
    config: Path | None,
    json: Path | None,
    out: Path,
    look_every: int,
    resume: bool,
) -> int:
    """Train and evaluate seed after seed, and show and write what was found."""
    from wmctrl.bench import trials
    from wmctrl.commands import training
    from wmctrl.config import resolve

    require_file("--config", config)
    settings = resolve(env, config, tuple(overrides))
    spec = training.spec_of(settings.task)
    found = []
    for trial in trials.trials(settings, seeds, episodes, out, look_every=look_every, resume=resume):
        found.append(trial)
        rows = [*(trials.row(one, spec) for one in found), trials.total(found, spec)]
        show_table(f"{env}, {episodes} episodes a seed", trials.COLUMNS, rows)
        if json is not None:
            trials.write_json(json, found, spec)
    return 0


def show_endurance(env: str, steps: int, kills: int, seed: int, out: Path) -> int:
    """Kill and resume a training, and say whether it came out as if it had been left alone; 1 when it did not."""
    from wmctrl.bench.endurance import endure
    from wmctrl.config import resolve

    # Ten checkpoints a run, so that most kills find one to go on from and lose something after it.
    settings = {"steps": steps, "checkpoint_every": max(1, steps // 10), "evaluate_every": 0}
    config = resolve(env, overrides=tuple(f"schedule.{name}={value}" for name, value in settings.items()))
    found = endure(config, out, kills, seed)
    print(f"killed {len(found.killed_at)} times, with steps saved: {', '.join(map(str, found.killed_at))}")
    unequal = ", ".join(found.differences)
    print(f"not equal: {unequal}" if unequal else "equal bit for bit: weights, moments, replay, figures")
    return int(bool(found.differences))

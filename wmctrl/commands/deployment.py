"""Answers of the commands about what is deployed: a bundle is written, packed, listed, and drives."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmctrl.commands.answers import require_file, show_table
from wmctrl.commands.typed import wm

if TYPE_CHECKING:
    from wmctrl.runtime.adapter import Adapter
    from wmctrl.runtime.controller import Controller

HALF = 0.5
"""Share of a core that learning takes where nothing else is said."""


def export_run(
    folder: Path,
    states: int,
    learn: bool,
    precision: str,
    target: str,
    sign: Path | None,
    overrides: Sequence[str],
) -> int:
    """Write a run's bundle, and show how it compares with what it was made from."""
    from wmctrl.commands import datasheet, exporting

    require_file("--sign", sign)
    made = exporting.export(folder, states, sign, learn=learn, precision=precision, target=target, overrides=overrides)
    show_table("what drives, and how long it takes here", datasheet.COLUMNS, datasheet.rows(made.folder))
    show_table("held against the agent it was made from", exporting.COLUMNS, exporting.rows(made, precision))
    print(exporting.LEGEND)
    if made.gradients:
        rows = [exporting.gradient_row(gradient) for gradient in made.gradients]
        show_table("held against autograd", exporting.GRADIENT_COLUMNS, rows)
        print(exporting.GRADIENT_LEGEND)
    if made.regret is not None:
        rows = exporting.regret_rows(made.regret)
        show_table("worth of a plan, below the one in single precision", exporting.REGRET_COLUMNS, rows)
        print(exporting.REGRET_LEGEND)
    drives = made.folder if overrides else folder
    print(f"{made.folder}: {made.files} files, {made.bytes / 1e6:.1f} MB. Next: {run_line(drives, made.folder)}")
    if made.public_key:
        print(f"Signed: it is verified with --require-signature {made.public_key}")
    print(f"On a board with numpy and onnxruntime: copy the folder there, then see {made.folder.name}/BOARD.md")
    return 0


def run_bundle(
    folder: Path,
    episodes: int,
    seed: int,
    policy_only: bool,
    provider: str | None,
    threads: int | None,
    require_signature: str | None,
    film: Path | None,
    env: str | None,
    rate: float | None,
    delay: int,
    measure_delay: bool,
    **timing: Any,
) -> int:
    """Drive with a bundle, a line an episode.

    Args:
        rate: Of a plant that does not wait [Hz]; None has the simulator wait.
        delay: Control periods until a command has an effect.
        measure_delay: Find that out.
        timing: How time is kept with a plant that does not wait.
    """
    from wmctrl.commands.driving import drive, load, require_filmable

    if film is not None and rate is not None:
        raise ValueError("--film takes a simulator that waits; leave out --film or --rate")
    if film is not None:
        require_filmable(film)
    controller = load(
        folder, policy_only=policy_only, provider=provider, threads=threads, public_key_hex=require_signature
    )
    controller.set_delay(delay)
    if measure_delay:
        controller.measure_delay()
    if rate is not None:
        return run_in_real_time(controller, folder, episodes, seed, env, rate, **timing)
    if named := [f"--{name.replace('_', '-')}" for name, value in timing.items() if _given(value)]:
        raise ValueError(f"a simulator that waits takes no {', '.join(named)}; add --rate HZ")
    drives = drive(controller, episodes, seed, film, env)
    for number, driven in enumerate(drives):
        o = driven.outcome
        ended = "broke down" if o.breakdown else "failed" if o.failure else "succeeded" if o.success else "ended"
        print(
            f"episode {number}: {ended} after {o.length} steps, return {o.reward:.2f}; a decision took"
            f" {driven.latency.p50:.1f} ms, {driven.latency.p99:.1f} at p99",
            flush=True,
        )
    if film is not None:
        print(f"Film of the last: {film}")
    if measure_delay:
        print(f"Delay of commands: {controller.follower.actuation.delay} control periods")
    return 0


def show_live(
    folder: Path, env: str | None, seed: int, budget_ms: float | None, host: str, port: int, adapt: bool
) -> int:
    """Drive on the wall clock, with a web page to watch and change it, until Ctrl-C."""
    from wmctrl.commands import live

    say = partial(print, flush=True)
    live.show(folder, say, env=env, seed=seed, budget_ms=budget_ms, host=host, port=port, adapt=adapt)
    return 0


def run_in_real_time(
    controller: "Controller",
    folder: Path,
    episodes: int,
    seed: int,
    env: str | None,
    rate: float,
    *,
    budget_ms: float | None,
    beside: bool,
    fifo: bool,
    core: int | None,
    cycles: int | None,
    adapt: bool,
    adapt_cpu: float | None,
    memory: Path | None,
    plant: Sequence[str],
) -> int:
    """Drive a plant that does not wait, a line an episode, and tell how punctual the loop was, and what was learned.

    Args:
        adapt: Learn meanwhile, for a share `adapt_cpu` of a core.
        memory: Where that is kept; None keeps it with the run, if it is a run's bundle that drives.
        plant: Physical parameters that are not nominal, as `name=value`.
    """
    from wmctrl.commands.realtime import COLUMNS, Punctuality, Timing, drive, parameters_of, write_report
    from wmctrl.runtime.adaptation import Adaptation
    from wmctrl.runtime.adapter import Adapter

    if not adapt and (adapt_cpu is not None or memory is not None):
        raise ValueError("--adapt-cpu and --memory are of --adapt; add it, or leave them out")
    timing = Timing(rate, None if budget_ms is None else budget_ms / 1000.0, beside, fifo, core)
    if adapt and controller.meter is not None:
        raise ValueError("--adapt finds out what commands do, and when; leave out --measure-delay")
    home = memory or (folder / "adapted" if (folder / "run.json").exists() else None)
    adapter = Adapter.of(controller, Adaptation(), kept=home) if adapt else None
    records = []
    with learning_beside(adapter, HALF if adapt_cpu is None else adapt_cpu, home) as tell:
        for number, driven in enumerate(
            drive(controller, timing, episodes, cycles, seed, env, adapter, parameters_of(plant))
        ):
            records.append(driven.record)
            r = driven.result
            ended = "failed" if r.failure else "succeeded" if r.success else "ended"
            late = f", the plant itself late {r.late} times" if r.late else ""
            print(f"episode {number}: {ended} after {r.steps} steps, return {r.reward:.2f}{late}", flush=True)
            tell()
    found = Punctuality.of(records)
    show_table(f"{rate:g} Hz, {1000.0 * timing.wanted:.1f} ms for a command", COLUMNS, [found.row(timing)])
    if (folder / "run.json").exists():  # nothing is added to a bundle
        report = folder / "report-realtime.html"
        write_report(report, controller.bundle.manifest.task.id, timing, found)
        print(f"Report: {report}")
    return 0


def _given(value: Any) -> bool:
    """Whether an option was given: 0 is a number, and neither nothing nor False."""
    return value is not None and value is not False and value != []


@contextlib.contextmanager
def learning_beside(adapter: "Adapter | None", share: float, home: Path | None) -> Iterator[Callable[[], None]]:
    """Learn in a thread meanwhile; what is yielded tells what has happened since, and all of it is kept in the end.

    Args:
        adapter: None learns nothing.
        share: Of a core.
        home: Where it is kept.
    """
    if adapter is None:
        yield lambda: None
        return
    from wmctrl.runtime.learning import Learning

    learning, told = Learning(adapter, share), 0

    def tell() -> None:
        nonlocal told
        news = adapter.state.events[told:]
        told += len(news)
        for event in news:
            print(f"  step {event.step}: {event.what}, {event.detail}", flush=True)

    try:
        yield tell
    finally:
        learning.close()
        adapter.close()
        tell()
        if learning.problem:
            print(f"learning stopped: {learning.problem}", file=sys.stderr)
        if adapter.problem:
            print(f"some steps could not be learned from: {adapter.problem}", file=sys.stderr)
    keeper = adapter.keeper
    if keeper is not None and (problem := keeper.problem or keeper.log.problem):
        print(f"not all that was learned is kept: {problem}; {keeper.log.lost:,} steps are lost", file=sys.stderr)
    elif keeper is not None:
        print(f"What was learned is kept in {home}: the next --adapt goes on from there")


def pack_bundle(folder: Path, file: Path) -> int:
    """Write a bundle as one file."""
    from wmctrl.commands import archive
    from wmctrl.commands.driving import bundle_in

    if not file.name.endswith(archive.ENDING):
        raise ValueError(f"an archive's name must end in {archive.ENDING}, came {file}")
    bundle = bundle_in(folder)
    archive.pack(bundle, file)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB. Next: {run_line(file, bundle)}")
    return 0


def run_line(drives: Path, bundle: Path) -> str:
    """What to type to drive with a bundle, whose task is named where it is not ours to import.

    Args:
        drives: What is named for it: its folder, that of its run, or an archive.
    """
    from wmctrl.runtime import bundle as bundles

    task = bundles.load(bundle).manifest.task.id
    return f"{wm()} run {drives}" + (f" --env {task}" if ":" in task else "")


def show_controllers(name: str | None) -> int:
    """List the controllers that come with the package, or show one's card."""
    from wmctrl.commands import archive, cards
    from wmctrl.commands.intervals import shown

    if name is not None:
        return show_card(name)
    rows = []
    for one in archive.names():
        path, figures = archive.path_of(one), cards.card(one).figures()
        told = archive.told_in(path)
        drives = [shown(figure, figures[figure]) if figure in figures else "" for figure in ("success", "return")]
        steps, size = f"{int(told.made_by['steps']):,}", f"{path.stat().st_size / 1e6:.1f}"
        rows.append((one, told.task.id, *drives, steps, size, "yes" if told.learning else ""))
    show_table("", ("name", "drives", "success", "return", "learned from steps", "MB", "goes on learning"), rows)
    print(f"Next: {wm()} run NAME, or {wm()} controllers NAME for all that is known of one")
    return 0


def show_card(name: str) -> int:
    """Show all that is known of a controller that comes with the package."""
    from wmctrl.commands import cards

    story, card = cards.story(name), cards.card(name)
    show_table(f"{name} drives {card.task}", cards.COLUMNS, card.rows())
    print(f"learned from: {story.learned}\ntrained over: {story.trained_over}")
    print("\n".join(["limits:", *(f"  - {limit}" for limit in story.limits)]))
    print("\n".join(["made by:", *(f"  {command}" for command in story.reproduce)]))
    print(f"measured by: {' '.join(card.command)}. Next: {wm()} eval {name}")
    return 0


def evaluate_bundles(
    folder: Path | None, episodes: int | None, seed: int, as_json: bool, *, card: bool, env: str | None
) -> int:
    """Drive bundles as they are; those that come with the package by their cards. 1 where one does not keep to it.

    Args:
        folder: One of them; None is every controller that comes with the package.
        env: The task, for those that are not ours to import.
        episodes: Other episodes than a card's.
        card: Whether cards are written anew, instead of held to.
    """
    from wmctrl.commands import archive, cards, measurement
    from wmctrl.commands.evaluation import EPISODES

    names = archive.names()
    if card and folder is not None and str(folder) not in names:
        raise ValueError(f"--card is of controllers that come along, and {folder} is none; leave it out")
    found, kept = [], True
    for one in names if folder is None else [str(folder)]:
        told = cards.card(one) if one in names and episodes is None else None
        count, first = (len(told.seeds), told.seeds[0]) if told else (episodes or EPISODES, seed)
        again = measurement.measure(Path(one), count, first, env)
        found.append(dataclasses.asdict(again))
        if not as_json:
            show_table(f"{one} drives {again.task}", cards.COLUMNS, again.rows())
        if card:
            print(f"Card: {cards.keep(one, again)}", file=sys.stderr)
        elif told is not None:
            deviations = told.deviations(again)
            kept &= not deviations
            print(f"{one}: {', '.join(deviations) or 'as its card tells'}", file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(found, indent=2))
    return int(not kept)

"""What `wm stress` shows: a table of what courses are worth, the same as CSV, and a page with curves and films."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wmctrl.commands import intervals, pictures, provenance, report
from wmctrl.commands.stressing import FROZEN, Cell
from wmctrl.config_files import to_yaml
from wmctrl.runtime.files import write_atomic
from wmctrl.stress.course import Trace
from wmctrl.stress.figures import TELLING, Worth, worth
from wmctrl.stress.suite import Suite

ORACLE = "oracle"
MEASURED = ("recovery", "soon", "adapted", "frozen", "nominal", "after", "forgotten", "delay")
"""Figures of `Worth` that are means over the seeds."""
TOO_SHORT = "too short"
"""What is told instead of T90 where a change was."""
COLUMNS = (
    *("shift", "arm", "recovery", "T90", "return", "of frozen", "of nominal"),
    *("after", "forgotten", "delay", "false alarms", "failures"),
)
LEGEND = f"""\
recovery: share of what the change cost that came back, late in it; of nominal: return before the change
beside an arm named oracle the cost is counted up to its return late in the change, instead of that before it
T90: steps until the mean return of ten episodes has nine tenths of that, and keeps it for ten more; {TOO_SHORT}: the
change had fewer than {TELLING} episodes, of which there is one answer at most
after: return on the nominal plant again, beside that of who learned nothing
forgotten: share of the nominal return that is missing there, late and the last time; delay: steps until the first alarm
failures: while the change lasted, beyond those of who learned nothing
in parentheses: 95 % intervals over the seeds, or how many of them a figure is known of, where it is not of all"""
"""What the columns mean."""
TOLD = ("alarm", "calibrated", "promoted", "recognised", "rolled back")
"""Events that a timeline shows."""


def compared(found: Mapping[Cell, Trace]) -> dict[tuple[str, str], list[Worth]]:
    """What the courses are worth, by shift and arm, as far as the frozen ones are there."""
    table: dict[tuple[str, str], list[Worth]] = {}
    for cell, one in _worths(found):
        table.setdefault((cell.shift, cell.arm), []).append(one)
    return table


def _worths(found: Mapping[Cell, Trace]) -> Iterator[tuple[Cell, Worth]]:
    """What every course is worth, as far as the frozen one is there."""
    for cell, trace in found.items():
        frozen, oracle = (found.get(cell._replace(arm=arm)) for arm in (FROZEN, ORACLE))
        if frozen is not None:
            yield cell, worth(trace, frozen, oracle)


def rows(table: Mapping[tuple[str, str], Sequence[Worth]]) -> list[tuple[str, ...]]:
    """Figures under COLUMNS."""
    found = []
    for (shift, arm), worths in table.items():
        means = {name: estimate_of_all([getattr(one, name) for one in worths]) for name in MEASURED}
        if all(one.episodes < TELLING for one in worths):
            means["soon"] = TOO_SHORT
        if arm == FROZEN:  # which these are told beside
            means |= dict.fromkeys(("recovery", "soon", "after", "forgotten", "delay"), "")
        if arm == ORACLE:  # which has nothing to recover
            means |= dict.fromkeys(("recovery", "soon"), "")
        counts = [str(sum(getattr(one, name) for one in worths)) for name in ("false_alarms", "failures")]
        found.append((shift, arm, *means.values(), *counts))
    return found


def estimate_of_all(values: Sequence[float]) -> str:
    """A mean with its interval; of how many it is, where it is not known of all; empty where it is known of none."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return ""
    found = intervals.in_digits(float(np.mean(known)))
    if len(known) < len(values):
        return f"{found} ({len(known)} of {len(values)})"
    if len(known) == 1:
        return found
    _, low, high = intervals.mean(known)
    return f"{found} ({intervals.in_digits(low)} to {intervals.in_digits(high)})"


def write_table(path: Path, found: Mapping[Cell, Trace]) -> None:
    """What every course is worth, as CSV."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*Cell._fields, *Worth._fields])
    for cell, one in _worths(found):
        table.writerow([*cell, *one])
    write_atomic(path, text.getvalue().encode())


def write_report(path: Path, task: str, suite: Suite, found: Mapping[Cell, Trace]) -> None:
    """A page of some courses, films beside it."""
    report.write_page(path, f"{task} under stress", [section(task, suite, found, path.parent)])


def section(title: str, suite: Suite, found: Mapping[Cell, Trace], films: Path) -> report.Section:
    """The table, curves, films and a timeline for every shift, and a map of what was recovered.

    Args:
        films: Folder of the courses' films.
    """
    table = compared(found)
    arms = [arm for arm in dict.fromkeys(cell.arm for cell in found) if arm != FROZEN]
    recovered = {
        shift: [float(np.mean([one.recovery for one in table.get((shift, arm), ())] or [np.nan])) for arm in arms]
        for shift in suite.shifts
    }
    panels = []
    if len(arms) * len(recovered) > 1:
        mapped = pictures.heat_map(recovered, arms)
        caption = "Share of the change's cost that came back; empty where that is not known of every seed."
        panels.append(report.drawn("Recovery", caption, mapped))
    for shift in suite.shifts:
        curves = {arm: [found[cell] for cell in found if cell[:2] == (shift, arm)] for arm in (FROZEN, *arms)}
        drawn = pictures.recovery({arm: _points(traces) for arm, traces in curves.items() if traces})
        panels.append(report.drawn(shift, "Returns of the episodes, all seeds, from the change on.", drawn))
        panels += _timeline(shift, arms, found)
        panels += _films(shift, arms, found, films)
    return report.Section(
        title=title,
        lead=f"{len(suite.seeds)} seeds, {suite.nominal} steps before the change, {suite.shifted} of it.",
        columns=COLUMNS,
        rows=rows(table),
        panels=panels,
        settings=to_yaml(suite),
        facts=provenance.versions(),
    )


def _points(traces: Sequence[Trace]) -> tuple[list[float], list[float]]:
    """Steps since the change and returns of the episodes of some courses."""
    points: list[Any] = sorted((one.begins - trace.phases[1], one.reward) for trace in traces for one in trace.episodes)
    return [step for step, _ in points], [reward for _, reward in points]


def _timeline(shift: str, arms: Sequence[str], found: Mapping[Cell, Trace]) -> Iterator[report.Panel]:
    """How much the first seed's observations surprised who learned by the last arm, and what came of it."""
    cell = next((one for one in found if one.shift == shift and one.arm == [FROZEN, *arms][-1]), None)
    if cell is None or cell.arm == FROZEN:
        return
    learning, without = found[cell], found.get(cell._replace(arm=FROZEN))
    traces = ({} if without is None else {FROZEN: without}) | {cell.arm: learning}
    change = learning.phases[1]
    drawn = pictures.surprise(
        {arm: (one.surprises, one.phases[1]) for arm, one in traces.items()},
        [(one.step - change, one.what) for one in learning.events if one.what in TOLD],
        [step - change for step in learning.phases],
    )
    caption = f"Mean surprise of {pictures.SURPRISES} observations, seed {cell.seed}, and what came of it: {cell.arm}."
    yield report.drawn(f"{shift}: surprise", caption, drawn, wide=True)


def _films(shift: str, arms: Sequence[str], found: Mapping[Cell, Trace], folder: Path) -> Iterator[report.Panel]:
    """An episode late in a change, by who learned nothing and by the last arm."""
    for arm in dict.fromkeys((FROZEN, *arms[-1:])):
        cell = next((one for one in found if (one.shift, one.arm) == (shift, arm)), None)
        if cell is not None and (folder / cell.film).exists():
            content = report.data_address("image/webp", (folder / cell.film).read_bytes())
            yield report.Panel(f"{shift}: {arm}", f"An episode late in the change, seed {cell.seed}.", content)

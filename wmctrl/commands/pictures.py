"""Figures for people: how learning went, and prediction against reality."""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray
from wmctrl_envs.task import Element

from wmctrl.learning.foresight import BAND, Foresight, Outlook

Row = Mapping[str, float]
"""One line of `metrics.jsonl`."""

DRIVING = ("return", "success", "failure", "length", "episode_return", "episode_success")
"""Rows' names that tell of driving; all but the counters are losses and other figures of learning."""
COUNTERS = ("step", "updates", "seconds")
SHOWN = 4
"""Elements plotted against reality."""
STRIP = 8
"""Pictures of the camera side by side."""
COLUMNS = 4
"""Panels side by side in a grid."""
BLUE, ORANGE, GREY, RED = "#2563eb", "#ea7317", "#9ca3af", "#dc2626"
SMOOTHED = 9
"""Episodes that a running mean is over."""
SURPRISES = 20
"""Observations of which a mean surprise is drawn."""
LEAST_SURPRISE = 0.01
"""That is drawn [nats]."""


def learning_curve(rows: Sequence[Row], has_success: bool) -> Figure:
    """Return, and success where the task has one, against environment steps."""
    panels = [("return", "episode_return", "return of an episode")]
    if has_success:
        panels.append(("success", "", "share of successes"))
    figure = _figure(5.2 * len(panels), 3.2)
    for index, (look, collected, label) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        if collected:
            axes.plot(*_series(rows, collected), ".", color=GREY, markersize=4, label="while collecting")
        axes.plot(*_series(rows, look), "o-", color=BLUE, markersize=4, label="without exploration")
        _label(axes, "environment steps", label)
        axes.legend(frameon=False, fontsize=8)
        axes.set_xlim(0.0, 1.02 * rows[-1]["step"])
    if has_success:
        figure.axes[-1].set_ylim(-0.05, 1.05)
    return figure


def losses(rows: Sequence[Row]) -> Figure:
    """Every figure of learning against updates, in a panel each: many updates may come at a single step."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in (*DRIVING, *COUNTERS)))
    lines = max(1, math.ceil(len(names) / COLUMNS))
    figure = _figure(2.6 * COLUMNS, 1.9 * lines)
    for index, name in enumerate(names):
        axes = figure.add_subplot(lines, COLUMNS, index + 1)
        axes.plot(*_series(rows, name, against="updates"), color=BLUE, linewidth=1.0)
        axes.set_title(name, fontsize=9, loc="left")
        _label(axes, "updates" if index + COLUMNS >= len(names) else "", "")
    return figure


def prediction(
    foresight: Foresight, elements: Sequence[Element], period: float, favourites: Sequence[int] = ()
) -> Figure:
    """A lively situation with the band of drawn futures.

    Args:
        favourites: Elements shown first, by index, and by which a lively situation is known; then come those that
            change most.
        period: Time between two steps [s].
    """
    moved = np.abs(foresight.actual - foresight.actual[:, :1]).max(1) / foresight.scale  # (N, O)
    # The median of the livelier half: neither standing still, nor chosen for its luck.
    liveliness = moved[:, list(favourites) or slice(None)].sum(1)
    situation = int(np.argsort(liveliness)[(3 * len(moved)) // 4])
    liveliest = np.argsort(-moved[situation], kind="stable").tolist()
    shown = list(dict.fromkeys([*favourites, *liveliest]))[:SHOWN]
    time = period * np.arange(foresight.actual.shape[1])
    figure = _figure(2.6 * COLUMNS, 2.8)
    for place, index in enumerate(shown):
        axes = figure.add_subplot(1, SHOWN, place + 1)
        low, high = foresight.low[situation, :, index], foresight.high[situation, :, index]
        axes.fill_between(time, low, high, color=BLUE, alpha=0.18, linewidth=0, label=_band_label())
        axes.plot(time, foresight.mean[situation, :, index], color=BLUE, label="predicted")
        axes.plot(time, foresight.actual[situation, :, index], color=ORANGE, label="happened")
        axes.set_title(elements[index].name, fontsize=9, loc="left")
        _label(axes, "time ahead [s]", f"[{elements[index].unit}]")
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def prediction_error(foresight: Foresight, period: float, planned: int) -> Figure:
    """Error against time ahead, beside that of the prediction that nothing changes.

    Args:
        period: Time between two steps [s].
        planned: Steps the planner looks ahead.
    """
    time = period * np.arange(len(foresight.error))
    figure = _figure(5.2, 3.2)
    axes = figure.add_subplot(1, 1, 1)
    axes.plot(time, foresight.still_error, color=GREY, label="nothing changes")
    axes.plot(time, foresight.error, color=BLUE, label="world model")
    axes.axvline(period * planned, color=RED, linewidth=0.8, linestyle=":", label="the planner looks this far")
    _label(axes, "time ahead [s]", "error of the median element [spreads]")
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False, fontsize=8)
    return figure


def outlook_strip(outlook: Outlook, period: float) -> Figure:
    """Pictures that came above those that were imagined.

    Args:
        period: Time between two pictures [s].
    """
    shown = np.linspace(0, len(outlook.actual) - 1, min(STRIP, len(outlook.actual))).astype(int)
    figure = _figure(1.3 * len(shown), 2.9)
    for row, (name, pictures) in enumerate((("happened", outlook.actual), ("imagined", outlook.imagined))):
        for column, index in enumerate(shown):
            axes = figure.add_subplot(2, len(shown), row * len(shown) + column + 1)
            axes.imshow(pictures[index])
            axes.set(xticks=[], yticks=[], ylabel=name if column == 0 else "")
            if row == 0:
                axes.set_title(f"{period * index:.2f} s", fontsize=8)
    return figure


def exceedance(times: Mapping[str, NDArray[np.float64]], deadline: float, period: float) -> Figure:
    """Share of some times (n,) [s] that are longer than any, by name (a complementary distribution function).

    Args:
        deadline: What they should not be longer than [s].
        period: Time between two ticks [s].
    """
    figure = _figure(5.2, 3.2)
    axes = figure.add_subplot(1, 1, 1)
    for color, (name, values) in zip((BLUE, GREY), times.items(), strict=False):
        longer = 1.0 - np.arange(len(values)) / max(1, len(values))
        axes.step(1e3 * np.sort(values), longer, where="post", color=color, label=name)
    axes.axvline(1e3 * deadline, color=RED, linewidth=1.0, linestyle="--", label="deadline")
    axes.axvline(1e3 * period, color=ORANGE, linewidth=0.8, linestyle=":", label="next tick")
    axes.set(xscale="log", yscale="log")
    _label(axes, "time from the tick [ms]", "share that took longer")
    axes.legend(frameon=False, fontsize=8)
    return figure


def heat_map(rows: Mapping[str, Sequence[float]], columns: Sequence[str]) -> Figure:
    """Shares of what is kept, from none (red) to all (white), by name and column; a row may be shorter."""
    shares = np.full((len(rows), len(columns)), np.nan)
    for line, values in zip(shares, rows.values(), strict=True):
        line[: len(values)] = values
    figure = _figure(1.2 * len(columns) + 2.4, 0.34 * len(rows) + 0.9)
    axes = figure.add_subplot(1, 1, 1)
    axes.imshow(np.clip(shares, 0.0, 1.0), cmap="Reds_r", vmin=0.0, vmax=1.0, aspect="auto")
    for (line_number, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            axes.text(column, line_number, f"{share:.0%}", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), [*rows], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def budget_curve(budgets: Sequence[float], rewards: Sequence[float], unlimited: float, random: float) -> Figure:
    """Return against the time for a decision [ms], beside unlimited planning and random actions."""
    figure = _figure(5.2, 3.2)
    axes = figure.add_subplot(1, 1, 1)
    axes.plot(budgets, rewards, "o-", color=BLUE, markersize=4, label="within the budget")
    axes.axhline(unlimited, color=GREY, linewidth=1.0, linestyle="--", label="unlimited")
    axes.axhline(random, color=RED, linewidth=0.8, linestyle=":", label="random actions")
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
    axes.minorticks_off()
    _label(axes, "time for a decision [ms]", "return of an episode")
    axes.legend(frameon=False, fontsize=8)
    return figure


def recovery(courses: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Returns of episodes against the steps since a change, by name: each a dot, and their running mean."""
    figure = _figure(5.2, 3.2)
    axes = figure.add_subplot(1, 1, 1)
    for number, (name, (steps, rewards)) in enumerate(courses.items()):
        color = GREY if number == 0 else f"C{number - 1}"
        axes.plot(steps, rewards, ".", color=color, markersize=2.5, alpha=0.4)
        kernel = np.ones(min(SMOOTHED, len(rewards)))
        smooth = np.convolve(rewards, kernel, "valid") / len(kernel)
        axes.plot(steps[len(kernel) - 1 :], smooth, color=color, linewidth=1.2, label=name)
    axes.axvline(0.0, color=RED, linewidth=0.8, linestyle=":")
    _label(axes, "steps since the change", "return of an episode")
    axes.legend(frameon=False, fontsize=7)
    return figure


def surprise(
    courses: Mapping[str, tuple[Sequence[float], int]], events: Sequence[tuple[int, str]], phases: Sequence[int]
) -> Figure:
    """Mean surprise of the last observations, by name, against the steps since a change, and what happened when.

    Args:
        courses: Surprises [nats], and at which of them the change was.
        events: Steps since the change, and what happened.
        phases: Steps since the change at which the plant changed.
    """
    figure = _figure(10.4, 3.0)
    axes = figure.add_subplot(1, 1, 1)
    for number, (name, (values, change)) in enumerate(courses.items()):
        kernel = np.ones(min(SURPRISES, len(values)))
        smooth = np.maximum(np.convolve(values, kernel, "valid") / len(kernel), LEAST_SURPRISE)
        steps = np.arange(len(smooth)) + len(kernel) - change
        axes.plot(steps, smooth, color=GREY if number == 0 else BLUE, linewidth=1.0, label=name)
    for phase in phases[1:]:
        axes.axvline(phase, color=RED, linewidth=0.8, linestyle=":")
    for row, (step, what) in enumerate(events):
        axes.axvline(step, color=ORANGE, linewidth=0.8)
        height = 0.96 - 0.09 * (row % 6)
        axes.text(step, height, f" {what}", transform=axes.get_xaxis_transform(), fontsize=7, va="top")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _label(axes, "steps since the change", "surprise [nats]")
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=130)
    return memory.getvalue()


def _series(rows: Sequence[Row], name: str, against: str = "step") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A counter and the values of the rows that have a figure."""
    pairs = [(row[against], row[name]) for row in rows if name in row]
    counts, values = np.array(pairs, np.float64).reshape(-1, 2).T
    return counts, values


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _band_label() -> str:
    low, high = (round(100 * edge) for edge in BAND)
    return f"{low} to {high} % of futures"

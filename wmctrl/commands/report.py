"""One HTML file with everything worth seeing of a run, pictures and films included."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

import wmctrl
from wmctrl.commands import logbook, pictures
from wmctrl.commands.evaluation import Evaluation, Score, figures
from wmctrl.commands.intervals import FIGURES, cells, shown
from wmctrl.config_files import to_yaml
from wmctrl.learning.evaluate import Outcome
from wmctrl.learning.foresight import BAND
from wmctrl.runtime.files import write_atomic

COLUMNS = ("driver", "episodes", *FIGURES, "decisions/s", "ms/decision, p50 (p99)")
"""Of the table of drivers."""


@dataclass(frozen=True)
class Panel:
    """A picture or a film with what it shows."""

    title: str
    caption: str
    source: str
    """`data:` address."""
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A run in the report."""

    title: str
    lead: str
    """One sentence on the result."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    panels: Sequence[Panel]
    settings: str
    """YAML"""
    facts: Mapping[str, str]


def write_report(path: Path, title: str, evaluations: Sequence[Evaluation]) -> None:
    """Write the report of some evaluated runs, replacing an older one."""
    write_page(path, title, [section(evaluation) for evaluation in evaluations])


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page of some sections, replacing an older one."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wmctrl.commands", ""), autoescape=True, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(title=title, sections=sections, version=wmctrl.__version__)
    write_atomic(path, page.encode())


def section(found: Evaluation) -> Section:
    """What the report says of a run."""
    return Section(
        title=found.spec.id,
        lead=lead(found),
        columns=COLUMNS,
        rows=[table_row(score, found) for score in found.scores],
        panels=[*_films(found), *_curves(found), *_predictions(found), *_outlook(found)],
        settings=to_yaml(found.config),
        facts=_facts(found),
    )


def lead(found: Evaluation) -> str:
    """The result in a sentence."""
    score = found.scores[0]
    measured = figures(score.outcomes, found.spec)
    named = [f"{name} {shown(name, measured[name])}" for name in ("success", "failure", "return") if name in measured]
    count = f"{len(score.outcomes)} episode{'s' if len(score.outcomes) > 1 else ''}"
    return f"After {found.step:,} environment steps the {score.driver} drove {count}: {', '.join(named)}."


def table_row(score: Score, found: Evaluation) -> list[str]:
    """A driver's line in the table; figures with their 95 % intervals."""
    timing = score.timing()
    row = cells(figures(score.outcomes, found.spec))
    pace = f"{timing['decisions_per_s']:.0f}"
    return [score.driver, str(len(score.outcomes)), *row, pace, f"{timing['ms_p50']:.1f} ({timing['ms_p99']:.1f})"]


def _films(found: Evaluation) -> list[Panel]:
    return [
        Panel(
            f"The {one.name} episode",
            f"Episode {one.number}: {told(one.outcome)}.",
            data_address("image/webp", one.content),
        )
        for one in found.films
    ]


def told(outcome: Outcome) -> str:
    """An outcome in words, such as `success, return -1.5, 50 steps`."""
    kinds = [name for name, held in (("success", outcome.success), ("failure", outcome.failure)) if held]
    return ", ".join([*kinds, f"return {outcome.reward:.4g}", f"{outcome.length} steps"])


def _curves(found: Evaluation) -> list[Panel]:
    rows = logbook.logged(found.run)
    if not rows:
        return []
    curve = pictures.learning_curve(rows, bool(found.spec.success))
    return [
        drawn("Learning curve", "Return and success against the plant's steps.", curve, wide=True),
        drawn(
            "Losses",
            "Every figure of learning against the updates of the world model.",
            pictures.losses(rows),
            wide=True,
        ),
    ]


def _predictions(found: Evaluation) -> list[Panel]:
    foresight, spec = found.foresight, found.spec
    if foresight is None:
        return []
    planned = found.config.agent.planner.horizon
    low, high = BAND
    favourites = spec.goal_cost.achieved if spec.goal_cost else ()
    return [
        drawn(
            "Prediction against reality",
            "A lively situation: from its first moment on the model sees only the actions that were really taken.",
            pictures.prediction(foresight, spec.proprio, spec.control_period, favourites),
            wide=True,
        ),
        drawn(
            "Error over the horizon",
            f"Root-mean-square over {len(foresight.actual)} situations, in units of each element's normaliser. "
            f"{foresight.covered:.0%} of the measurements fall into the band that should hold {high - low:.0%}.",
            pictures.prediction_error(foresight, spec.control_period, planned),
        ),
    ]


def _outlook(found: Evaluation) -> list[Panel]:
    if found.outlook is None:
        return []
    strip = pictures.outlook_strip(found.outlook, found.spec.control_period)
    caption = "What the camera saw, and what the model imagined it would see after the same actions."
    return [drawn("Imagined pictures", caption, strip, wide=True)]


def drawn(title: str, caption: str, figure: Figure, wide: bool = False) -> Panel:
    """A figure as a panel."""
    return Panel(title, caption, data_address("image/png", pictures.png(figure)), wide)


def data_address(media: str, content: bytes) -> str:
    """An address that holds its content."""
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def _facts(found: Evaluation) -> dict[str, str]:
    """What the run recorded of itself, one line each."""
    facts = {"run": str(found.run)}
    for name, value in found.facts.items():
        if isinstance(value, dict):
            facts |= {part: str(inner) for part, inner in value.items()}
        elif value is not None:
            facts[name] = " ".join(value) if isinstance(value, list) else str(value)
    return facts | ({"note": found.note} if found.note else {})

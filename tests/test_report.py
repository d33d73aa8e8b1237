"""The report: one file, with everything in it and nothing outside it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from wmctrl_envs.task import Element, GoalCost, TaskSpec

from wmctrl.commands import logbook, pictures
from wmctrl.commands.evaluation import Evaluation, Film, Score
from wmctrl.commands.report import COLUMNS, lead, section, table_row, write_report
from wmctrl.config import Config, TaskConfig
from wmctrl.learning.evaluate import Outcome
from wmctrl.learning.foresight import Foresight, Outlook

SPEC = TaskSpec(
    id="Arm-v0",
    proprio=tuple(Element(name, "m") for name in ("hand x", "hand y", "elbow", "wrist", "<finger>")),
    goal=(Element("goal x", "m"), Element("goal y", "m")),
    action=(Element("push", "N"),),
    camera=None,
    control_period=0.1,
    max_steps=50,
    goal_cost=GoalCost((1,), (1.0,), 2.0, 0.5, 0.05),
    success="The hand is at the goal.",
)
GOOD, BAD = Outcome(-1.5, 50, True, False), Outcome(-9.25, 50, False, False)


class Sources(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def foresight() -> Foresight:
    actual = np.random.default_rng(0).normal(size=(7, 11, 5)).astype(np.float32)
    return Foresight(actual, actual + 0.1, actual - 0.5, actual + 0.5, np.ones(5, np.float32))


@pytest.fixture
def found(tmp_path: Path) -> Evaluation:
    rows = [
        {"step": 50, "updates": 0, "episode_return": -20.0, "episode_success": 0.0},
        {"step": 60, "updates": 10, "proprio": -3.0, "reward": 1.0},
        {"step": 100, "updates": 50, "return": -9.0, "success": 0.5, "failure": 0.0, "length": 50.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 1')
    score = Score("planner", [GOOD, GOOD, BAD], np.full(150, 0.004), 1.5)
    config = Config(TaskConfig("Arm-v0"))
    facts = {"seed": 0, "recorded": None, "command": ["wm", "train"], "versions": {"torch": "2.10"}}
    films = [Film("best", 0, GOOD, b"film")]
    return Evaluation(
        tmp_path / "eval", config, facts, SPEC, 100, 0, [score], foresight(), films=films, note="no worst film"
    )


def test_report_loads_nothing_from_outside(found: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "Arms", [found, found])
    page = (tmp_path / "report.html").read_text()
    sources = Sources()
    sources.feed(page)
    assert len(sources.found) == 2 * 5  # film, learning curve, losses, prediction, error
    assert all(source.startswith("data:image/") for source in sources.found)
    assert "url(" not in page
    assert "@import" not in page


def test_report_shows_names_as_they_are_and_not_as_markup(found: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "<b>Arms</b> & legs", [found])
    page = (tmp_path / "report.html").read_text()
    assert "<h1>&lt;b&gt;Arms&lt;/b&gt; &amp; legs</h1>" in page


def test_report_says_what_made_it(found: Evaluation) -> None:
    part = section(found)
    assert part.facts["torch"] == "2.10"
    assert part.facts["command"] == "wm train"
    assert part.facts["note"] == "no worst film"
    assert "None" not in part.facts.values()
    assert "id: Arm-v0" in part.settings


def test_a_run_without_figures_or_films_still_has_a_report(found: Evaluation, tmp_path: Path) -> None:
    bare = Evaluation(tmp_path / "nowhere" / "eval", found.config, {}, SPEC, 0, 0, found.scores, None)
    assert section(bare).panels == []


def test_rows_cut_off_by_a_kill_are_left_out(found: Evaluation, tmp_path: Path) -> None:
    assert [row["step"] for row in logbook.logged(tmp_path)] == [50, 60, 100]


def test_table_tells_only_what_the_task_defines(found: Evaluation) -> None:
    row = dict(zip(COLUMNS, table_row(found.scores[0], found), strict=True))
    assert row["failure"] == "-"
    assert row["success"].startswith("0.67 (")
    assert row["decisions/s"] == "100"
    assert row["ms/decision, p50 (p99)"] == "4.0 (4.0)"


def test_lead_tells_the_result() -> None:
    found = Evaluation(
        Path(), Config(TaskConfig("Arm-v0")), {}, SPEC, 2000, 0, [Score("policy", [GOOD] * 3, np.ones(3), 3.0)], None
    )
    assert re.match(r"After 2,000 environment steps the policy drove 3 episodes: success 1\.00 \(0\.44 ", lead(found))


def test_what_the_goal_is_about_is_plotted_first() -> None:
    figure = pictures.prediction(foresight(), SPEC.proprio, 0.1, favourites=(1,))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "hand y"
    assert len(set(titles)) == 4


def test_losses_get_a_panel_each_and_driving_none() -> None:
    rows = [{"step": 1.0, "updates": 1.0, "reward": 0.5, "return": 1.0, "failure": 0.0}]
    rows.append({"step": 2.0, "updates": 9.0, "dynamics": 1.0})
    titles = [axes.get_title(loc="left") for axes in pictures.losses(rows).axes]
    assert titles == ["reward", "dynamics"]


def test_losses_are_drawn_against_updates_of_which_many_may_come_at_one_step() -> None:
    rows = [{"step": 600.0, "updates": float(done), "reward": 1.0 / (1 + done)} for done in range(4)]
    (axes,) = pictures.losses(rows).axes
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert axes.get_xlabel() == "updates"


def test_imagined_pictures_stand_below_those_that_came() -> None:
    happened = np.full((4, 8, 8, 3), 200, np.uint8)
    figure = pictures.outlook_strip(Outlook(happened, happened // 2), 0.1)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["happened", "imagined"]
    assert [axes.get_title() for axes in figure.axes[:4]] == ["0.00 s", "0.10 s", "0.20 s", "0.30 s"]


def test_learning_curve_has_success_only_where_the_task_defines_it() -> None:
    rows = [{"step": 1.0, "return": 1.0, "success": 0.0}]
    assert len(pictures.learning_curve(rows, has_success=False).axes) == 1
    assert len(pictures.learning_curve(rows, has_success=True).axes) == 2

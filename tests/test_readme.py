"""README says what the command line understands and what was measured."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmctrl import cli
from wmctrl.bench.trials import Trial, summary
from wmctrl.commands import evaluation, training
from wmctrl.commands.stressing import suite_of
from wmctrl.config import TaskConfig
from wmctrl.config_files import from_mapping
from wmctrl.learning.evaluate import Outcome

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FOLDERS = ("configs", "configs/results", "envs", "export", "wmctrl", "wmctrl/runtime")
PAGES = {Path(): README} | {Path(folder): (ROOT / folder / "README.md").read_text() for folder in FOLDERS}
WRITTEN = [command for page in PAGES.values() for command in re.findall(r"^\./wm .*$|`\./wm .*?`", page, re.M)]
COMMANDS = sorted({text.strip("`").split("#")[0].strip() for text in WRITTEN})
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if "--json FILE" in line]
FIGURE = r"-?\d(?:[\d,.]*\d)?"
NAMES = "success|failure|return|length"
KEPT = sorted((ROOT / "configs" / "results").glob("*.json"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command.replace("$RUN", "runs/some/run"))[1:]
    assert callable(cli.parsed(next((word for word in words if not word.startswith("-")), ""), words))


def test_the_plant_of_ones_own_can_be_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (module,) = [block for block in blocks("envs", "python") if "gym.register" in block]
    (tmp_path / "cart.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check-env", "cart:Cart-v0"]) == 0
    assert "wm train --env cart:Cart-v0" in capsys.readouterr().out


def test_the_suite_of_shifts_is_one(tmp_path: Path) -> None:
    (text,) = blocks("configs", "yaml")
    (tmp_path / "suite.yaml").write_text(text)
    suite = suite_of(str(tmp_path / "suite.yaml"), "FetchReach-v4")
    assert [suite.shift(name).schedule for name in suite.shifts] == ["drift", "step"]
    assert suite.arms == ("frozen", "calibration", "all")


@pytest.mark.parametrize("folder", PAGES, ids=str)
def test_links_lead_somewhere(folder: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[folder]):
        path, _, anchor = link.partition("#")
        target = (ROOT / folder / path) if path else (ROOT / folder / "README.md")
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def anchors(page: str) -> set[str]:
    """Of a page's headings, as they are linked to."""
    headings = re.findall(r"^#+ (.*)$", page, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(folder: str, language: str) -> list[str]:
    """The blocks of code in a folder's README."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / folder / "README.md").read_text(), re.S)


def kept(path: Path) -> tuple[str, dict[str, Any]]:
    """The command of some trials as README writes it, and what they measured."""
    content = json.loads(path.read_text())
    return "`./" + shlex.join(content["command"]).replace(f"configs/results/{path.name}", "FILE") + "`", content


def trial(kept: dict[str, Any]) -> Trial:
    """A trial as it was before it was written."""
    parts = {name: [Outcome(**one) for one in kept[name]] for name in ("outcomes", "baseline")}
    return Trial(**(kept | parts))


def told(figure: str) -> tuple[float, float]:
    """A figure as README writes it, and half of its last digit."""
    return float(figure.replace(",", "")), 0.5 * 10.0 ** -len(figure.partition(".")[2])


def agrees(written: str, measured: float) -> bool:
    value, half = told(written)
    return abs(value - measured) <= half * 1.001


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_measured_figures_are_those_of_the_kept_trials(path: Path) -> None:
    command, content = kept(path)
    (row,) = [row for row in ROWS if row[-1] == command]
    _, steps, time, result, random, _ = row
    found = [trial(one) for one in content["trials"]]
    spec = training.spec_of(from_mapping(TaskConfig, content["config"]["task"], str(path)))
    figures = summary(found, spec)
    assert {int(steps.replace(",", ""))} == {one.steps for one in found}
    assert agrees(time.removesuffix(" min"), float(np.mean([one.seconds / 60.0 for one in found])))
    estimates = re.findall(rf"({NAMES}) ({FIGURE}) \(({FIGURE}) to ({FIGURE})\)", result)
    for name, *written in estimates:
        assert all(map(agrees, written, figures[name].over_episodes)), name
    (seeds,) = re.findall(rf"by seed ({FIGURE}(?: / {FIGURE})*)", result)
    assert all(map(agrees, seeds.split(" / "), figures[estimates[0][0]].by_seed))
    assert len(seeds.split(" / ")) == len(found)
    (episodes,) = re.findall(r"(\d+) episodes", result)
    assert int(episodes) == sum(len(one.outcomes) for one in found)
    ((name, by_chance),) = re.findall(rf"({NAMES}) ({FIGURE})", random)
    baseline = evaluation.figures([outcome for one in found for outcome in one.baseline], spec)
    assert agrees(by_chance, baseline[name].value)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_summaries_are_those_of_the_kept_episodes(path: Path) -> None:
    content = json.loads(path.read_text())
    spec = training.spec_of(from_mapping(TaskConfig, content["config"]["task"], str(path)))
    for name, figure in summary([trial(one) for one in content["trials"]], spec).items():
        written = content["summary"][name]
        assert [written[part] for part in ("value", "low", "high")] == pytest.approx(list(figure.over_episodes))
        assert written["by_seed"] == pytest.approx(list(figure.by_seed))


def test_every_measured_row_has_its_trials() -> None:
    assert sorted(row[-1] for row in ROWS) == sorted(kept(path)[0] for path in KEPT)

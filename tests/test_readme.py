"""README says what the command line understands and what was measured."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from wmctrl import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
WRITTEN = re.findall(r"^\./wm .*$|`\./wm .*?`", README, re.M)
COMMANDS = sorted({text.strip("`").split("#")[0].strip() for text in WRITTEN})
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if "--json FILE" in line]
KEPT = sorted((ROOT / "configs" / "results").glob("*.json"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command.replace("$RUN", "runs/some/run"))[1:]
    assert callable(cli.parsed(next((word for word in words if not word.startswith("-")), ""), words))


def kept(path: Path) -> tuple[str, dict[str, Any]]:
    """The command of some trials as README writes it, and what they measured."""
    content = json.loads(path.read_text())
    return "`./" + shlex.join(content["command"]).replace(f"configs/results/{path.name}", "FILE") + "`", content


def decimals(figure: str) -> int:
    return len(figure.partition(".")[2])


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_measured_figures_are_those_of_the_kept_trials(path: Path) -> None:
    command, content = kept(path)
    (row,) = [row for row in ROWS if row[-1] == command]
    _, steps, seeds, minutes, result, random, _ = row
    trials = content["trials"]
    assert {int(steps.replace(",", ""))} == {trial["steps"] for trial in trials}
    assert int(seeds) == len(trials)
    assert minutes == f"{content['summary']['minutes']['value']:.1f} min"
    figures = re.findall(r"(-?[\d,.]+) \((-?[\d,.]+) to (-?[\d,.]+)\)", result)
    estimates = [tuple(estimate[name] for name in ("value", "low", "high")) for estimate in content["summary"].values()]
    for figure in figures:
        told = tuple(part.replace(",", "") for part in figure)
        assert told in [tuple(f"{part:.{decimals(told[0])}f}" for part in estimate) for estimate in estimates]
    assert figures
    baseline = [outcome for trial in trials for outcome in trial["baseline"]]
    by_chance = re.sub(r"[^\d.-]", "", random)
    means = [sum(float(outcome[name]) for outcome in baseline) / len(baseline) for name in ("success", "reward")]
    assert by_chance in [f"{mean:.{decimals(by_chance)}f}" for mean in means]


def test_every_measured_row_has_its_trials() -> None:
    assert sorted(row[-1] for row in ROWS) == sorted(kept(path)[0] for path in KEPT)

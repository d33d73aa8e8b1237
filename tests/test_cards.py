"""Cards of controllers that come with the package: each is held to what was measured of it."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.tiny_bundle import made
from wmctrl.cli import main
from wmctrl.commands import archive, cards, driving, evaluation, measurement
from wmctrl.runtime import manifest
from wmctrl.runtime.keeping import origin_of

ARM = ("FetchReach-v4", "agent.objective.goal=1", "agent.objective.reward=0")
STORY = "learned: two steps\ntrained_over: nothing\nreproduce: [./wm train]\nlimits: [it is tiny]\n"


@pytest.fixture
def arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of controllers with one in it, which has a story and no card yet."""
    monkeypatch.setattr(archive, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(archive, "shipped", lambda name: tmp_path)
    monkeypatch.setattr(cards, "shipped", lambda name: tmp_path)
    archive.pack(made(*ARM)[1], tmp_path / "arm.tar.xz")
    (tmp_path / "arm.yaml").write_text(STORY)
    return tmp_path


def test_a_card_is_written_shown_and_held_to(arm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "arm", "--card", "--episodes", "3", "--seed", "7"]) == 0
    card = cards.card("arm")
    assert card.seeds == [7, 8, 9]
    assert card.bundle == origin_of((driving.bundle_in(Path("arm")) / manifest.NAME).read_bytes())
    assert card.figures().keys() == {"success", "return", "length"}
    assert len(card.drivers[cards.PLANNER]["episodes"]) == 3
    capsys.readouterr()
    assert main(["controllers"]) == 0
    assert "FetchReach-v4" in capsys.readouterr().out
    assert main(["controllers", "arm"]) == 0
    said = capsys.readouterr().out
    assert all(told in said for told in ("it is tiny", "./wm train", "two steps", "random actions"))
    assert main(["eval", "--all"]) == 0, "the same seeds drive as before"
    assert "arm: as its card tells" in capsys.readouterr().out


def test_a_controller_that_drives_otherwise_than_its_card_is_told(
    arm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measurement.measure(Path("arm"), 2, 7)
    told = {**found.drivers[cards.PLANNER]["figures"], "return": {"value": 9.0, "low": 8.0, "high": 10.0}}
    better = {**found.drivers, cards.PLANNER: {**found.drivers[cards.PLANNER], "figures": told}}
    cards.keep("arm", dataclasses.replace(found, drivers=better))
    assert main(["eval", "arm", "--json"]) == 1
    printed = capsys.readouterr()
    assert "instead of 9.00 (8.00 to 10.00)" in printed.err
    assert json.loads(printed.out)[0]["drivers"][cards.PLANNER]["figures"] == found.drivers[cards.PLANNER]["figures"]


def test_a_bundle_that_does_not_come_along_is_driven_as_it_is(arm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(made(*ARM)[1]), "--episodes", "1"]) == 0
    assert "drives FetchReach-v4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a run or a bundle, or give --all for every controller that comes along"),
        (["arm", "--all"], "name a run or a bundle, or give --all for every controller that comes along"),
        (["arm", "--policy"], "--policy is of runs, and arm is none; leave it out"),
        (["--all", "--torch"], "--torch is of runs, and --all is none; leave it out"),
        (["arn"], "arn is neither a folder nor a controller that comes with wm; did you mean arm?"),
        (["there/arm", "--card"], "--card is of controllers that come along, and there/arm is none; leave it out"),
    ],
)
def test_what_cannot_be_evaluated_says_so(
    arm: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["eval", *arguments]) == 2
    assert capsys.readouterr().err == f"wm eval: {said}\n"


def test_a_card_of_another_version_says_how_to_write_it_anew(arm: Path) -> None:
    (arm / "arm.json").write_text('{"schema": 0}')
    with pytest.raises(ValueError, match="write it anew with `wm eval arm --card`"):
        cards.card("arm")


@pytest.mark.parametrize("name", archive.names())
def test_every_controller_that_comes_along_has_a_card_of_its_own(name: str) -> None:
    card, story = cards.card(name), cards.story(name)
    assert card.bundle == origin_of((driving.bundle_in(Path(name)) / manifest.NAME).read_bytes())
    assert story.limits
    assert any(command.startswith(f"./wm train --env {card.task} ") for command in story.reproduce)
    assert cards.PLANNER in card.drivers
    assert evaluation.RANDOM in card.drivers

"""What a controller is worth under faults and budgets is told of the episodes that it really drove."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import wmctrl_envs
from wmctrl_envs.faults import KINDS, Fault, FaultySensors

from tests.tiny_bundle import controller
from wmctrl.bench import planner_faults, robustness
from wmctrl.cli import main
from wmctrl.commands.bundle_driver import AssuredDriver
from wmctrl.learning.evaluate import Outcome, drive_episode
from wmctrl.runtime.assurance import Assured, Rung
from wmctrl.runtime.latency import Latency

PENDULUM = ("Pendulum-v1",)
QUICK = Latency(1.0, 2.0, 3.0)


def score(*rewards: float, name: str = "none", amount: float = 0.0) -> robustness.Score:
    outcomes = [Outcome(reward, 10, success=reward > 5.0, failure=False) for reward in rewards]
    return robustness.Score(name, amount, outcomes, {"plan": 30, "safe action": 10}, 2, 0.25, 1.5, QUICK)


def test_what_is_retained_is_told_between_random_actions_and_nothing_wrong() -> None:
    assert score(2.0, 4.0).retained(nominal=6.0, random=-6.0) == 0.75
    assert score(-6.0).retained(nominal=6.0, random=-6.0) == 0.0


def test_where_nothing_wrong_is_worth_random_actions_no_share_is_told() -> None:
    found = robustness.fault_row(score(6.0, name="frozen", amount=1.0), score(1.0), random=1.0)
    assert dict(zip(robustness.FAULT_COLUMNS, found, strict=True))["retained"] == ""


def test_a_fault_is_a_row_with_its_amount_in_words() -> None:
    found = robustness.fault_row(score(6.0, 4.0, name="frozen", amount=1.0), score(9.0), random=1.0)
    row = dict(zip(robustness.FAULT_COLUMNS, found, strict=True))
    assert row["fault"] == "frozen"
    assert row["amount"] == "much (1 s)"
    assert (row["return"], row["retained"], row["success"]) == ("5", "50%", "0.50")
    assert (row["at rest"], row["switches/s"], row["unfit commands"]) == ("25%", "0.25", "2")


def test_a_budget_is_a_row_with_who_made_the_commands() -> None:
    found = robustness.budget_row(score(5.0, name="budget", amount=10.0), score(9.0), random=1.0)
    row = dict(zip(robustness.BUDGET_COLUMNS, found, strict=True))
    assert (row["budget [ms]"], row["iterations"], row["made by"]) == ("10", "1.5", "plan 75%, safe action 25%")


@pytest.fixture(scope="module")
def task() -> wmctrl_envs.task.Task:
    return wmctrl_envs.make("Pendulum-v1")


def test_a_driver_behind_faulty_sensors_gets_what_arrives(task: wmctrl_envs.task.Task) -> None:
    sensors = FaultySensors(Fault("lost", np.inf, begins=5), task.task_spec)
    driver = AssuredDriver(Assured(controller(*PENDULUM)), sensors)
    drive_episode(driver, task, seed=0, number=0)
    surprises = [action.surprise for action in driver.decisions]
    assert all(surprise is not None for surprise in surprises[:5])
    assert all(surprise is None for surprise in surprises[5:])
    assert driver.rungs[:15] == [Rung.FOLLOW] * 15
    assert driver.rungs[16:] == [Rung.STOP] * (len(driver.rungs) - 16)
    found = robustness.driven(driver, task, "lost", np.inf, episodes=2, seed=0)
    assert found.made_by == {"plan": 2 * 15, "safe action": 2 * 185}
    assert found.switches == pytest.approx(2 / 20.0)
    assert found.unfit == 0


def test_what_is_beyond_its_limits_is_counted(task: wmctrl_envs.task.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    assured = Assured(controller(*PENDULUM))
    act = assured.act

    def reckless(*given: object, **named: object) -> object:
        action = act(*given, **named)  # type: ignore[arg-type]
        action.command[0] = np.nan if assured.controller.state.track.now % 2 else 1.5
        return action._replace(command=action.command)

    monkeypatch.setattr(assured, "act", reckless)
    monkeypatch.setattr(task, "step", lambda command, step=task.step: step(np.nan_to_num(command)))
    assert robustness.driven(AssuredDriver(assured), task, "none", 0.0, episodes=1, seed=0).unfit == 200


def test_every_fault_and_every_budget_is_driven_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmctrl.commands import driving

    monkeypatch.setattr(driving, "load", lambda *given, **named: controller(*PENDULUM))
    monkeypatch.setattr(robustness, "KINDS", {name: KINDS[name] for name in ("frozen", "noise")})
    monkeypatch.setattr(robustness, "BUDGETS", (1000.0,))
    monkeypatch.setattr(planner_faults, "planner_faults", lambda *given: [score(-900.0, name="planner slow")])
    for part, rows in (("faults", 8), ("latency", 2), ("delay", 7)):
        kept = tmp_path / f"{part}.json"
        assert main(["bench", part, "--run", "anything", "--episodes", "1", "--json", str(kept)]) == 0
        content = json.loads(kept.read_text())
        assert len(content["scores"]) == rows
        assert content["task"] == "Pendulum-v1"
        shown = capsys.readouterr().out
        assert (
            len(
                re.findall(
                    r"^ +(?:none|frozen|noise|planner slow|unlimited|1000|[013] +(?:no delay|known|measured|ignored)) ",
                    shown,
                    re.M,
                )
            )
            == rows
        )
        assert "Pendulum-v1, 1 episodes each, random actions -" in shown


def test_a_delayed_command_arrives_later_and_until_then_the_plant_rests(task: wmctrl_envs.task.Task) -> None:
    driver = AssuredDriver(Assured(controller(*PENDULUM)), delay=3)
    episode = drive_episode(driver, task, seed=0, number=0)
    sent = np.array([action.command for action in driver.decisions])
    np.testing.assert_array_equal(episode.actions[:3], 0.0)
    np.testing.assert_array_equal(episode.actions[3:], sent[:-3])


@pytest.mark.parametrize("part", ["faults", "latency"])
def test_a_report_shows_the_table_and_its_picture(tmp_path: Path, part: str) -> None:
    amounts = KINDS["frozen"].amounts if part == "faults" else (5.0, 10.0, 20.0)
    scores = [score(9.0), *(score(5.0, name="frozen" if part == "faults" else "budget", amount=a) for a in amounts)]
    robustness.write_report(tmp_path / "report.html", "Pendulum-v1", part, 1.0, scores)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<td>50%</td>") == 3
    assert "data:image/png;base64," in page


def test_without_a_run_it_says_what_to_add(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "faults"]) == 2
    assert "faults drives what a run has learned; add --run RUN" in capsys.readouterr().err

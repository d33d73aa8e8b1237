"""Trials train and evaluate several seeds, and go on where they were interrupted."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tiny_run import tiny
from wmctrl.bench import trials
from wmctrl.commands import evaluation, provenance, run_folder, training
from wmctrl.learning.evaluate import Outcome
from wmctrl.learning.train import EXAMINATION_SEED

UNGUIDED = ("agent.learn_behavior=false", "agent.proposals=0", "agent.objective.value=0")
CONFIG = tiny("Pendulum-v1", "task.config.max_steps=25", "schedule.steps=44", *UNGUIDED)
SPEC = training.spec_of(CONFIG.task)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def found(root: Path) -> list[trials.Trial]:
    return list(trials.trials(CONFIG, [0, 1], episodes=2, root=root, look_every=22))


def test_every_seed_is_trained_looked_at_and_evaluated(found: list[trials.Trial]) -> None:
    assert [trial.seed for trial in found] == [0, 1]
    for trial in found:
        assert trial.steps == 44
        assert [look["step"] for look in trial.looks] == [22, 44]
        assert len(trial.outcomes) == len(trial.baseline) == 2
        assert 0.0 < trial.seconds < 600.0
    assert found[0].outcomes != found[1].outcomes


def test_finished_runs_are_evaluated_again_without_training(found: list[trials.Trial], root: Path) -> None:
    again = list(trials.trials(CONFIG, [0, 1], episodes=2, root=root, look_every=22, resume=True))
    assert again == found


def test_an_interrupted_run_is_finished(root: Path, tmp_path: Path, found: list[trials.Trial]) -> None:
    started = training.new_run(run_folder.open_run(Path(found[0].run))[0], 0, "cpu", tmp_path)
    training.train(started, enough=lambda news: "return" in news)
    assert not training.finished(started)
    (trial,) = trials.trials(CONFIG, [0], episodes=2, root=tmp_path, look_every=22, resume=True)
    assert trial.run == str(started)
    assert trial.outcomes == found[0].outcomes


def test_runs_of_other_settings_are_not_gone_on_with(found: list[trials.Trial], root: Path) -> None:
    assert run_folder.newest_run(CONFIG, 0, root) is None, "those runs look elsewhere"
    longer = replace(CONFIG, schedule=replace(CONFIG.schedule, steps=45))
    assert run_folder.newest_run(longer, 0, root, whatever_looks=True) is None


def test_where_no_looks_are_wanted_a_run_that_looked_will_do(found: list[trials.Trial], root: Path) -> None:
    (trial,) = trials.trials(CONFIG, [0], episodes=2, root=root, resume=True)
    assert trial == found[0]


def test_no_two_seeds_are_evaluated_in_the_same_episodes(
    found: list[trials.Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[range] = []

    def evaluated(run: Path, episodes: int, seed: int) -> SimpleNamespace:
        asked.append(range(seed, seed + episodes))
        return SimpleNamespace(scores=(SimpleNamespace(outcomes=[]), SimpleNamespace(outcomes=[])))

    monkeypatch.setattr(evaluation, "evaluate", evaluated)
    for seed in range(12):
        trials.examine(Path(found[0].run), seed, episodes=1000)
    numbers = [number for episodes in asked for number in episodes]
    assert len(set(numbers)) == 12 * 1000
    assert not set(numbers) & set(range(EXAMINATION_SEED, EXAMINATION_SEED + 1000)), "looks have their own"


def test_a_run_of_another_version_is_passed_over(found: list[trials.Trial], root: Path) -> None:
    settings = run_folder.open_run(Path(found[0].run))[0]
    stale = root / "Pendulum-v1" / "99999999-000000-s0"
    stale.mkdir()
    (stale / "run.json").write_text("{}")
    (stale / "config.yaml").write_text("task: {id: Pendulum-v1}\nold_setting: 3\n")
    newest = run_folder.newest_run(settings, 0, root)
    assert newest == Path(found[0].run)


@pytest.mark.parametrize("seeds", [[0, 1, 0], [0, 1001]])
def test_seeds_whose_episodes_would_meet_are_refused(tmp_path: Path, seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="--seeds takes different seeds from 0 to 1000, came 0 1"):
        next(trials.trials(CONFIG, seeds, episodes=1, root=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_seeds_are_told_apart_from_episodes(found: list[trials.Trial]) -> None:
    first, second = (
        replace(trial, outcomes=[Outcome(reward, 5, success=True, failure=False) for reward in rewards])
        for trial, rewards in zip(found, ([1.0, 3.0], [7.0, 9.0]), strict=True)
    )
    figure = trials.summary([first, second], replace(SPEC, success="Upright."))["return"]
    assert figure.over_episodes.value == 5.0
    assert figure.by_seed == [2.0, 8.0]
    assert "success" in trials.summary([first], replace(SPEC, success="Upright."))
    assert "success" not in trials.summary([first], SPEC), "the pendulum has none"
    assert trials.row(first, SPEC)[3:7] == ("-", "-", "2", "5")


def test_a_run_by_other_code_is_passed_over(
    found: list[trials.Trial], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = run_folder.open_run(Path(found[0].run))[0]
    assert run_folder.newest_run(settings, 0, root) == Path(found[0].run)
    monkeypatch.setattr(provenance, "code", lambda: "0" * 64)
    assert run_folder.newest_run(settings, 0, root) is None


def test_the_digest_of_the_code_follows_what_learns_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    before = provenance.code()
    changed: list[str] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name in changed else b""))
    for name in ("behavior.py", "rssm.py", "planner.py", "driving_task.py", "limits.py", "noise.py", "training.py"):
        changed[:] = [name]
        assert provenance.code() != before, name
    changed[:] = ["cli.py", "logbook.py", "report.py", "cost.py"]
    assert provenance.code() == before


def test_ctrl_c_in_a_training_ends_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: SimpleNamespace(finished=False))
    with pytest.raises(KeyboardInterrupt, match="stopped in the training of seed 0; --resume goes on with it"):
        next(trials.trials(CONFIG, [0, 1], episodes=1, root=tmp_path))


def test_everything_a_reader_may_ask_for_is_written(found: list[trials.Trial], tmp_path: Path) -> None:
    trials.write_json(tmp_path / "trials.json", found, SPEC)
    kept = json.loads((tmp_path / "trials.json").read_text())
    assert kept["versions"]["torch"]
    assert kept["config"]["schedule"]["steps"] == 44
    assert kept["config"]["schedule"]["evaluate_every"] == 22, "as they ran, not as they were asked for"
    assert [len(trial["outcomes"]) for trial in kept["trials"]] == [2, 2]
    returns = [outcome["reward"] for trial in kept["trials"] for outcome in trial["outcomes"]]
    assert kept["config"]["agent"]["planner"]["temperature"] == "inf", "JSON has no infinite number"
    assert kept["summary"]["return"]["value"] == pytest.approx(sum(returns) / 4)
    assert kept["summary"]["return"]["by_seed"] == pytest.approx([sum(returns[:2]) / 2, sum(returns[2:]) / 2])

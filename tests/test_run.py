"""From a trained run to a bundle that drives its plant, by the commands that people type."""

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from wmctrl_envs.catalogue import catalogue
from wmctrl_export.gradient_parity import GradientParity
from wmctrl_export.parity import Parity
from wmctrl_export.regret import Regret, Spread

from tests.tiny_bundle import controller, made
from tests.tiny_run import tiny
from wmctrl.cli import DRIVEN, main
from wmctrl.commands import answers, driving, exporting, observations, run_folder, training
from wmctrl.commands.bundle_driver import BundleDriver
from wmctrl.commands.evaluation import evaluate
from wmctrl.config import TaskConfig
from wmctrl.config_files import with_overrides
from wmctrl.learning.evaluate import drive_episode
from wmctrl.runtime import bundle, manifest, plant, records
from wmctrl.runtime.controller import Controller

TASK = "FetchReach-v4"
GOAL = ("agent.objective.goal=1", "agent.objective.reward=0")
A = {"name": "a", "dtype": "float32", "shape": [], "meaning": ""}
EQUAL = Parity(9, one_step=0.0, recurrent=0.0, surprise=0.0, same_action=1.0, as_good=1.0, action=0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run with the bundle that ends its training."""
    folder = training.new_run(tiny(TASK, "schedule.evaluate_every=0"), 0, "cpu", tmp_path_factory.mktemp("runs"))
    assert answers.teach(folder, resume=False) == 0
    return folder


def test_a_bundle_is_written_anew_only_where_something_else_would_be_in_it(run: Path) -> None:
    config, facts = run_folder.open_run(run)
    spec, before = training.spec_of(config.task), (run / "bundle" / manifest.NAME).stat()
    exporting.up_to_date(exporting.Origin.of(run, config, facts, spec))
    assert (run / "bundle" / manifest.NAME).stat() == before
    otherwise = with_overrides(config, ["agent.objective.action_rate=1"])
    assert not exporting.Origin.of(run, otherwise, facts, spec).made()
    assert not exporting.Origin.of(run, config, facts, spec, ["objective.action_rate=1"]).made()


def test_a_bundle_that_plans_otherwise_is_kept_beside_and_evaluated_so(run: Path) -> None:
    before = (run / "bundle" / manifest.NAME).stat()
    asked = ["agent.planner.iterations=3"]
    made = exporting.export(run, 5, overrides=asked)
    assert made.folder == run / "eval-planner.iterations=3" / "bundle"
    planning = manifest.parse((made.folder / manifest.NAME).read_bytes()).planning
    assert planning is not None
    assert planning.iterations == 3
    assert exporting.up_to_date(exporting.origin_of(run, asked)) == made.folder
    assert (run / "bundle" / manifest.NAME).stat() == before
    with pytest.raises(ValueError, match=r"--set can change agent\.planner"):
        exporting.export(run, 5, overrides=["agent.model.deter=64"])


def exported_with(option: str, folder: Path) -> None:
    """Make a bundle look as if it had been exported with an option."""
    path = folder / manifest.NAME
    told = json.loads(path.read_text())
    if option == "--sign KEY":
        (folder / bundle.SIGNATURE).write_bytes(b"0" * 64)
    elif option == "--learn":
        ports = {port["name"]: port for port in told["graphs"]["observe"]["inputs"]}
        beliefs = [ports[part] | {"name": f"belief_{part}"} for part in ("deter", "stoch")]
        makes = [A | {"name": "loss"}, *beliefs, A | {"name": "gradient.a"}]
        told["learning"] = {"model_gradient": {"file": "observe.onnx", "inputs": [A], "outputs": makes}}
    elif option == "--precision fp16":
        told["precision"] = "fp16"
    else:
        told["made_by"]["target"] = option.removeprefix("--target ")
    path.write_text(json.dumps(told))


OPTIONS: dict[str, dict[str, Any]] = {
    "--sign KEY": {"signed": True},
    "--learn": {"learn": True},
    "--precision fp16": {"precision": "fp16"},
    "--target jetson-jp6": {"target": "jetson-jp7"},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_what_a_bundle_was_exported_with_is_not_dropped_unasked(run: Path, tmp_path: Path, option: str) -> None:
    folder = Path(shutil.copytree(run / "bundle", tmp_path / "bundle"))
    assert exporting.dropped(folder) == ""
    exported_with(option, folder)
    others = [given for name, given in OPTIONS.items() if name != option]
    assert [exporting.dropped(folder, **given) for given in ({}, *others)] == [option] * len(OPTIONS)
    assert exporting.dropped(folder, **OPTIONS[option]) == ""


def test_all_that_would_be_dropped_is_named_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    for option in OPTIONS:
        exported_with(option, folder / "bundle")
    before = (folder / "bundle" / manifest.NAME).read_bytes()
    assert main(["export", str(folder), "--learn"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"wm export: {folder}/bundle was exported with --sign KEY --precision fp16 --target jetson-")
    assert (folder / "bundle" / manifest.NAME).read_bytes() == before


def test_a_training_leaves_a_signed_bundle_alone_and_blames_it_only_where_it_is_not_of_the_last_weights(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    exported_with("--sign KEY", folder / "bundle")
    before = (folder / "bundle" / manifest.NAME).read_bytes()
    assert answers.last_bundle(folder) == folder / "bundle"
    assert main(["train", "--resume", str(folder), "--steps", "70"]) == 2
    told = capsys.readouterr()
    assert "Trained for 70 steps and saved" in told.out
    assert told.err.splitlines()[-1].startswith(
        f"wm train: {folder}/bundle was exported with --sign KEY, and is not of the last weights, settings and code;"
        f" write it anew with `./wm export {folder} --sign KEY`"
    )
    assert (folder / "bundle" / manifest.NAME).read_bytes() == before


def test_a_run_that_has_not_learned_yet_drives_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, facts = run_folder.open_run(run)
    spec = training.spec_of(config.task)
    learned = training.load_agent(run, config, spec)
    learned.agent.updates = 0
    monkeypatch.setattr(training, "load_agent", lambda *_: learned)
    with pytest.raises(ValueError, match="has recorded, and learned nothing yet; go on with `wm train --resume"):
        exporting.Origin.of(run, config, facts, spec)


def test_a_bundle_is_checked_on_what_one_plant_showed_last(tmp_path: Path) -> None:
    config = tiny(TASK, "collect.plants=2", "schedule.evaluate_every=0")
    folder = training.new_run(config, 0, "cpu", tmp_path)
    training.train(folder)
    replay = training.assembled(folder).replay
    spec = training.spec_of(config.task)
    for most, count in ((7, 7), (1000, len(replay.streams[1]))):
        found = observations.recorded(folder, spec, most)
        wanted = replay.streams[1].window(replay.streams[1].total - count, count)["proprio"]
        np.testing.assert_array_equal([seen["proprio"] for seen in found], wanted)


@pytest.mark.parametrize(
    "words",
    ["run", "run --rate 20", "eval", "live", *(f"bench {part} --run" for part in DRIVEN)],
)
def test_a_module_that_a_bundle_names_is_not_imported_unasked(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(made(TASK, *GOAL)[1], tmp_path / "bundle"))
    path = folder / manifest.NAME
    told = json.loads(path.read_text())
    told["task"]["id"] = "this:Other-v0"
    path.write_text(json.dumps(told))
    assert main([*words.split(), str(folder)]) == 2
    assert "this:Other-v0 imports a module that the bundle names; if you know it, add --env" in capsys.readouterr().err
    assert "this" not in sys.modules
    assert main([*words.split(), str(folder), "--env", "Pendulum-v1"]) == 2
    assert "this bundle drives this:Other-v0, not Pendulum-v1" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[" * 4000, "{", '1, "other": 2', "NaN"])
def test_a_configuration_that_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"task\.config\.lanes: "):
        driving.entry("lanes", text)
    assert driving.entry("lanes", "[1, {}]") == [1, {}]


def test_a_run_is_exported_with_what_made_it(run: Path) -> None:
    told = Controller.load(run / "bundle", provider="cpu", in_time=False).bundle.manifest
    assert (told.task.id, told.made_by["steps"], told.made_by["seed"]) == (TASK, "66", "0")
    assert told.task.control_period == pytest.approx(0.04)
    assert [element.unit for element in told.task.goal] == ["m", "m", "m"]


def test_a_bundle_is_held_to_what_was_recorded_and_to_random_observations(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--states", "7"]) == 0
    said = capsys.readouterr().out
    assert "a decision" in said
    assert "recorded" in said
    assert "random" in said
    assert "must be, by the policy" in said
    assert exporting.LEGEND in said
    assert f"Next: ./wm run {run}" in said


def test_a_bundle_that_does_not_compute_what_the_agent_does_is_not_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(exporting.MOST["fp32"], "recurrent", 0.0)
    before = {path: path.stat().st_ino for path in run.iterdir()}
    with pytest.raises(ValueError, match="over recorded observations, above 0; nothing was written"):
        exporting.export(run, 5)
    assert {path: path.stat().st_ino for path in run.iterdir()} == before


def test_half_precision_is_judged_by_what_its_plans_are_worth(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    assert main(["export", str(copy), "--states", "9", "--precision", "fp16", "--target", "x86"]) == 0
    said = capsys.readouterr().out
    assert "another seed" in said
    assert exporting.REGRET_LEGEND in said
    told = Controller.load(copy / "bundle", in_time=False).bundle.manifest
    assert (told.precision, told.made_by["target"]) == ("fp16", "x86")
    found = evaluate(copy, 1)
    assert (found.folder.name, found.scores[0].driver) == ("eval-fp16-1-episodes", "planner, fp16")
    monkeypatch.setattr(Regret, "accepted", False)
    made = exporting.Export(
        copy, 1, 1, {"recorded": EQUAL}, {}, Regret(9, Spread(0.5, 0.0, 1.0), Spread(0.1, 0.0, 0.2))
    )
    with pytest.raises(
        ValueError, match=r"costs a plan 0\.5 and at most 1 in 95 of 100 states, another seed at most 0\.2"
    ):
        exporting.require_alike(made, "fp16")


@pytest.mark.parametrize(
    ("precision", "reacting", "told"),
    [
        ("fp32", False, ("<= 1.0e-05", "<= 1.0e-04", "<= 1.0e-03", "", "", ">= 0.999")),
        ("fp32", True, ("<= 1.0e-05", "<= 1.0e-04", "<= 1.0e-03", "<= 1.0e-04", "", "")),
        ("fp16", False, ("", "<= 5.0e-02", "<= 1.0e-01", "", "", "")),
        ("fp16", True, ("", "<= 5.0e-02", "<= 1.0e-01", "<= 2.0e-02", "", "")),
    ],
)
def test_what_a_bundle_must_be_is_told_below_what_it_is(precision: str, reacting: bool, told: tuple[str, ...]) -> None:
    assert exporting.bounds(precision, reacting=reacting) == told
    planner, policy = ({}, {"recorded": EQUAL}) if reacting else ({"recorded": EQUAL}, {})
    equal, bound = exporting.rows(exporting.Export(Path("there"), 1, 1, planner, policy), precision)
    assert bound[2:] == told
    assert len(equal) == len(bound) == len(exporting.COLUMNS)


def test_how_far_a_gradient_may_be_is_told_beside_how_far_it_is() -> None:
    told = exporting.gradient_row(GradientParity("behavior_gradient", 7, 0, 2e-5, "actor.weight", 5e-4))
    assert dict(zip(exporting.GRADIENT_COLUMNS, told, strict=True)) == {
        "gradients": "behavior_gradient",
        "parameters": "7",
        "all zero": "0",
        "largest difference": "2.0e-05",
        "at most": "2.0e-03",
        "PyTorch's": "5.0e-04",
        "of": "actor.weight",
    }


def accepted(precision: str, planner: dict[str, Parity], policy: dict[str, Parity]) -> bool:
    """Whether a bundle that compares so with its agent is put in place."""
    return not [*exporting.faults(exporting.Export(Path("there"), 1, 1, planner, policy), precision)]


@pytest.mark.parametrize("what", ["recorded", "random"])
@pytest.mark.parametrize("wrong", [0.2, float("nan")])
@pytest.mark.parametrize("figure", ["one_step", "recurrent", "surprise", "as_good"])
def test_a_planner_is_held_to_its_agent(figure: str, wrong: float, what: str) -> None:
    assert accepted("fp32", {what: EQUAL}, {})
    other = Parity(**(asdict(EQUAL) | {figure: wrong}))
    assert not accepted("fp32", {what: other}, {})
    judged = what == "recorded" and figure in ("recurrent", "surprise")
    assert accepted("fp16", {what: other}, {}) == (not judged)


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-4), ("fp16", 0.02)])
def test_a_policy_is_held_to_its_actions(precision: str, most: float) -> None:
    for action, fits in ((most, True), (1.01 * most, False), (float("nan"), False)):
        assert accepted(precision, {}, {"recorded": replace(EQUAL, action=action)}) == fits
        assert accepted(precision, {"recorded": replace(EQUAL, action=action)}, {})


def test_a_bundle_drives_its_plant_and_is_filmed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "film.webp"
    assert main(["run", str(run), "--episodes", "2", "--seed", "5", "--film", str(film)]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("episode 0: ")
    assert "after 50 steps, return -" in first
    assert second.startswith("episode 1: ")
    assert last == f"Film of the last: {film}"
    with Image.open(film) as picture:
        assert getattr(picture, "n_frames", 1) == 51


def test_the_same_seed_drives_the_same_episode() -> None:
    driver = BundleDriver(controller(TASK, *GOAL))
    with driving.matching_task(driver.controller.bundle.manifest.task) as task:
        one, other = (drive_episode(driver, task, 3, 0) for _ in range(2))
    np.testing.assert_array_equal(one.actions, other.actions)
    assert one.outcome == other.outcome


def test_a_folder_without_a_bundle_says_how_to_write_one_where_it_is_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path} is neither a bundle (it has no manifest.json) nor a run (no run.json)" in said
    assert "export" not in said
    (tmp_path / "run.json").touch()
    assert main(["run", str(tmp_path)]) == 2
    assert f"holds no bundle yet; write it with `./wm export {tmp_path}`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("film", "said"),
    [
        ("drive.gif", "--film writes animated WebP and must end in .webp, came {}/drive.gif"),
        ("nowhere/drive.webp", "--film: there is no folder {}/nowhere; make it first"),
    ],
)
def test_a_film_that_could_not_be_kept_is_refused_before_anything_is_driven(
    film: str, said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(run), "--film", str(tmp_path / film)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"wm run: {said.format(tmp_path)}\n")
    assert list(tmp_path.iterdir()) == []


def test_where_no_policy_was_learned_its_refusal_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = made("Pendulum-v1", "agent.learn_behavior=false", "agent.proposals=0")
    assert main(["run", str(folder), "--policy"]) == 2
    said = "wm run: this bundle holds no policy; leave out --policy, or train with agent.learn_behavior=true\n"
    assert capsys.readouterr().err == said


def test_a_policy_alone_drives_where_it_was_learned(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(run), "--policy"]) == 0
    assert "episode 0: " in capsys.readouterr().out


def test_a_run_that_recorded_nothing_is_not_exported(tmp_path: Path) -> None:
    folder = training.new_run(tiny(TASK), 0, "cpu", tmp_path)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        exporting.export(folder)


def test_a_bundle_is_small() -> None:
    _, folder = made(TASK, *GOAL)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1e6


@pytest.mark.parametrize("task_id", catalogue())
def test_every_plant_is_found_again_from_what_a_manifest_tells(task_id: str) -> None:
    settings = TaskConfig(task_id)
    told = exporting.task_of(training.spec_of(settings), settings)
    read = records.read(plant.Task, json.loads(json.dumps(records.plain(told))), "task")
    with driving.matching_task(read) as task:
        assert exporting.task_of(task.task_spec, settings) == told

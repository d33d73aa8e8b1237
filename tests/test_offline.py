"""Learning from what another run recorded, without a plant."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_run import SETTINGS, tiny
from wmctrl.bench.endurance import contents, differences
from wmctrl.cli import main
from wmctrl.commands import training
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.plants import Plant
from wmctrl.learning.replay import Arrays

LEARN_ONLY = ("first_updates=4", "updates_per_step=1", "checkpoint_every=8", "evaluate_every=0")
LEARNING = ("collect.prefill=60", *(f"schedule.{one}" for one in LEARN_ONLY))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two plants that recorded 60 random steps and their two beginnings."""
    config = tiny("FetchReach-v4", *LEARNING, "schedule.steps=60", "collect.plants=2")
    folder = training.new_run(config, 0, "cpu", tmp_path_factory.mktemp("recorded"))
    training.train(folder)
    return folder


def new_run(recorded: Path, root: Path, *overrides: str) -> Path:
    config = tiny("FetchReach-v4", *LEARNING, "schedule.steps=20", "collect.plants=2", *overrides)
    return training.new_run(config, 1, "cpu", root, recorded)


def never(*args: Any, **keywords: Any) -> None:
    raise AssertionError("a plant was driven")


def test_it_learns_from_the_recording_alone(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plant, "step", never)
    monkeypatch.setattr(Plant, "begin", never)
    trainer = training.train(new_run(recorded, tmp_path))
    assert (trainer.step, trainer.updates, len(trainer.replay)) == (20, 24, 62)
    theirs, ours = contents(recorded), contents(trainer.checkpoint.folder.parent)
    steps = [name for name in theirs if name.startswith("replay")]
    assert [ours[name] for name in steps] == [theirs[name] for name in steps]


def test_it_looks_at_how_well_it_drives(recorded: Path, tmp_path: Path) -> None:
    folder = new_run(recorded, tmp_path, "schedule.evaluate_every=20")
    training.train(folder)
    assert [row["step"] for row in contents(folder)["metrics.jsonl"] if "success" in row] == [20]


@pytest.mark.parametrize("fsync", [1, 9, 14])
def test_killed_and_resumed_is_the_same_even_without_the_recording(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: int
) -> None:
    calm = new_run(recorded, tmp_path / "calm")
    training.train(calm)
    copy = tmp_path / "copy"
    shutil.copytree(recorded, copy)
    folder = new_run(copy, tmp_path / "killed")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying_at(fsync, os.fsync))
        with pytest.raises(KeyboardInterrupt):
            training.train(folder)
    if (folder / "checkpoint" / "checkpoint.json").exists():
        shutil.rmtree(copy)
    training.train(folder, resume=True)
    assert differences(calm, folder) == []


def dying_at(call: int, original: Callable[[int], None]) -> Callable[[int], None]:
    """A function whose call of this number is its process's last."""
    calls = []

    def function(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == call:
            raise KeyboardInterrupt
        original(descriptor)

    return function


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("FetchPush-v4", ("collect.plants=2",), "with task.id=FetchReach-v4, this run has FetchPush-v4; give the same"),
        ("FetchReach-v4", (), "with collect.plants=2, this run has 1; give the same"),
        (
            "FetchReach-v4",
            ("collect.plants=2", "task.observe=[proprio]"),
            "with task.observe=None, this run has .*prop",
        ),
    ],
)
def test_another_recording_is_refused_in_one_line_and_no_run_is_made(
    recorded: Path, tmp_path: Path, task: str, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^[^\n]*{message}[^\n]*$"):
        training.new_run(tiny(task, *overrides), 0, "cpu", tmp_path, recorded)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "came"),
    [
        (lambda steps: {"proprio": steps["proprio"][:, :7]}, r"\(7,\)"),
        (lambda steps: {"proprio": steps["proprio"][:, :1]}, r"\(1,\)"),  # which numpy would broadcast
        (lambda steps: {}, "nothing"),
    ],
)
def test_a_recording_of_other_sizes_is_refused_in_one_line_and_no_run_is_made(
    recorded: Path, tmp_path: Path, change: Callable[[Arrays], Arrays], came: str
) -> None:
    copy, root = tmp_path / "copy", tmp_path / "runs"
    shutil.copytree(recorded, copy)
    checkpoint = CheckpointFolder(copy / "checkpoint")
    facts = checkpoint.open()
    last = max(name for name in checkpoint.files if name.startswith("replay-"))
    steps = checkpoint.get(last)
    checkpoint.put(last, {name: column for name, column in steps.items() if name != "proprio"} | change(steps))
    checkpoint.commit(facts)
    with pytest.raises(ValueError, match=f"^proprio must be of shape \\(10,\\) .* recorded {came}; [^\n]*$"):
        new_run(copy, root)
    assert not root.exists()


def test_a_damaged_recording_is_refused_and_no_run_is_made(recorded: Path, tmp_path: Path) -> None:
    copy, root = tmp_path / "copy", tmp_path / "runs"
    shutil.copytree(recorded, copy)
    last = max((copy / "checkpoint").glob("replay-*"))
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        new_run(copy, root)
    assert not root.exists()


def test_the_command_takes_a_recording(recorded: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--env", "FetchReach-v4", "--envs", "2", "--out", str(tmp_path)]
    settings = [word for setting in (*SETTINGS, *LEARNING, "schedule.steps=5") for word in ("--set", setting)]
    assert main([*words, *settings, "--offline", str(recorded)]) == 0
    (folder,) = tmp_path.glob("*/*")
    assert training.assembled(folder).updates == 9
    assert main([*words, "--offline", str(tmp_path)]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"wm train: {tmp_path} is not a run")

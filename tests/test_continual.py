"""`wm bench continual`: tasks that differ, tests that nothing was learned from, and arms that forget less."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wmctrl.bench import classifier, continual, digits
from wmctrl.bench.continual import ARMS, JOINT, PROTOCOLS, Arm, Learner, Memory, Settings
from wmctrl.bench.digits import SIDE, Samples
from wmctrl.cli import main
from wmctrl.runtime.descent import Parameters
from wmctrl.runtime.ewc import fisher_diagonal

SETTINGS = Settings(width=31, batch=17, weighed=101, training_images=1009, test_images=297)
PERMUTED, SPLIT = (replace(protocol, steps=97) for protocol in PROTOCOLS)


def numbered(count: int, label: int) -> Samples:
    """Images of one class, of which every pixel tells their number."""
    return Samples(np.full((count, 2), np.arange(count)[:, None], np.float32), np.full(count, label))


def test_no_source_digit_is_in_both_training_and_test() -> None:
    training, test = digits.sources()
    scans = [{scan.tobytes() for scan in part.scans} for part in (training, test)]
    assert not scans[0] & scans[1]
    assert (len(training.labels), len(test.labels)) == (1500, 297)


def test_all_source_digits_are_in_turn_and_bent_otherwise_each_time() -> None:
    _, test = digits.sources()
    found = digits.bent(test, 2 * 297, np.random.default_rng(0))
    assert found.images.shape == (594, SIDE * SIDE)
    assert (found.labels[:297] == found.labels[297:]).all()
    assert (found.images[:297] != found.images[297:]).any(1).all()
    assert (found.images.min(), found.images.max()) == (0.0, 1.0)
    assert (found.images == 0.0).mean() > 0.5


def test_what_is_bent_is_still_the_same_digit() -> None:
    """The nearest of 200 digits, each bent once, to one bent otherwise says what it is."""
    training, _ = digits.sources()
    few = digits.Sources(training.scans[:200], training.labels[:200])
    once, again = (digits.bent(few, 200, np.random.default_rng(seed)).images for seed in (1, 2))
    nearest = ((once[:, None] - again[None]) ** 2).sum(-1).argmin(1)
    assert (few.labels[nearest] == few.labels).mean() > 0.95


def test_permutations_differ_between_tasks_and_are_the_seeds() -> None:
    tasks, same, others = (continual.made(PERMUTED, SETTINGS, seed) for seed in (5, 5, 6))
    for one, other in combinations(tasks, 2):
        assert (one.test.images != other.test.images).any()
        assert (np.sort(one.test.images, 1) == np.sort(other.test.images, 1)).all()
    for one, other in zip(tasks, same, strict=True):
        assert (one.test.images == other.test.images).all()
    assert (tasks[0].test.images != others[0].test.images).any()


def test_pixels_are_permuted_alike_in_training_and_test() -> None:
    """So that a task can be learned at all: what is dark in all images of one is dark in those of the other."""
    for task in continual.made(PERMUTED, SETTINGS, seed=0):
        dark = task.training.images.max(0) == 0.0
        assert dark.any()
        assert task.test.images[:, dark].mean() < 0.001


def test_a_split_task_is_two_digits_and_none_is_in_two_tasks() -> None:
    tasks = continual.made(SPLIT, SETTINGS, seed=0)
    assert sum(len(task.test.labels) for task in tasks) == 297
    assert [np.unique(task.training.labels).tolist() for task in tasks] == [[0, 1]] * 5


def test_the_memory_never_exceeds_its_size_and_holds_all_tasks_evenly() -> None:
    memory, rng = Memory(101), np.random.default_rng(0)
    for label in range(7):
        memory.add(numbered(211, label), rng)
        assert {len(part.labels) for part in memory.parts} == {101 // (label + 1)}
        assert [part.labels[0] for part in memory.parts] == list(range(label + 1))
    for part in memory.parts:
        assert len(np.unique(part.images)) == 101 // 7
        assert part.images.max() > 14  # not the first of them


@pytest.mark.parametrize(("stored", "old"), [(0, 0), (40, 8)])
def test_where_images_are_stored_half_of_a_batch_is(stored: int, old: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[Samples] = []

    def recorded(parameters: Parameters, batch: Samples) -> Parameters:
        batches.append(batch)
        return {name: np.zeros_like(value) for name, value in parameters.items()}

    monkeypatch.setattr(continual, "gradient", recorded)
    learner = Learner(PERMUTED, Arm("replay", stored=stored), replace(SETTINGS, batch=16), np.random.default_rng(0))
    for label in (0, 1):
        learner.learn(numbered(97, label), steps=3)
        learner.finish(numbered(97, label))
    assert [len(batch.labels) for batch in batches] == [16] * 6
    assert [int((batch.labels == 0).sum()) for batch in batches] == [16, 16, 16, old, old, old]


def test_gradients_of_single_images_sum_up_to_the_batchs() -> None:
    rng = np.random.default_rng(0)
    parameters = classifier.initial((SIDE * SIDE, 13, 13, 3), rng)
    images = rng.random((7, SIDE * SIDE)).astype(np.float32)
    # Sure of a class, the classifier draws no other.
    parameters["biases 2"] = np.array([0.0, 40.0, 0.0], np.float32)
    parameters["weights 2"] *= 0.1
    alone = list(classifier.single_gradients(parameters, images, rng))
    batch = classifier.gradient(parameters, Samples(images, np.ones(7, np.int64)))
    assert len(alone) == 7
    for name, value in batch.items():
        np.testing.assert_allclose(np.mean([one[name] for one in alone], 0), value, atol=1e-6)


def test_labels_that_matter_are_drawn_as_the_classifier_believes() -> None:
    """Of the last biases, whose gradient is what is believed less the label, the fisher_diagonal is p (1 - p)."""
    rng = np.random.default_rng(0)
    parameters = classifier.initial((SIDE * SIDE, 13, 13, 2), rng)
    parameters["weights 2"][:] = 0.0
    parameters["biases 2"] = np.array([np.log(4.0), 0.0], np.float32)
    images = np.zeros((4001, SIDE * SIDE), np.float32)
    found = fisher_diagonal(classifier.single_gradients(parameters, images, rng))
    np.testing.assert_allclose(found["biases 2"], 0.8 * 0.2, rtol=0.1)


def test_consolidation_and_replay_forget_the_first_task_less_than_fine_tuning() -> None:
    torch.set_num_threads(1)
    protocol = replace(PERMUTED, steps=151)
    settings = replace(SETTINGS, width=61, training_images=3001)
    tasks = continual.made(protocol, settings, seed=0)[:6]
    first = {arm.name: continual.in_turn(protocol, arm, settings, tasks, seed=0).kept[0] for arm in ARMS}
    for name in ("EWC", "online EWC", "replay", "EWC + replay"):
        assert first[name] > first["fine-tuning"] + 0.05


def test_where_images_are_stored_what_matters_is_told_by_those_of_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[NDArray[np.float32]] = []

    def recorded(parameters: Parameters, images: NDArray[np.float32], rng: np.random.Generator) -> Iterator[Parameters]:
        asked.append(images)
        return iter([parameters])

    monkeypatch.setattr(continual, "single_gradients", recorded)
    for arm, seen in ((ARMS[1], {1.0}), (ARMS[4], {0.0, 1.0})):
        learner = Learner(PERMUTED, arm, SETTINGS, np.random.default_rng(0))
        for value in (0.0, 1.0):
            images = np.full((97, 2), value, np.float32)
            learner.finish(Samples(images, np.zeros(97, np.int64)))
        assert set(asked[-1].ravel().tolist()) == seen
        assert len(learner.consolidation.anchors) == (1 if learner.memory.size else 2)


def test_tables_and_file_tell_every_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tuple(replace(protocol, steps=2) for protocol in PROTOCOLS)
    monkeypatch.setattr(continual, "PROTOCOLS", few)
    monkeypatch.setattr(continual, "Settings", lambda: SETTINGS)
    kept = tmp_path / "continual.json"
    assert main(["bench", "continual", "--seeds", "3", "4", "--json", str(kept)]) == 0
    names = [*(arm.name for arm in ARMS), JOINT]
    shown, found = capsys.readouterr().out, json.loads(kept.read_text())["findings"]
    assert all(name in shown for name in (*names, "94.31", "94.42", "95.33"))
    assert [(one["protocol"], one["seed"], one["arm"]) for one in found] == [
        (protocol.name, seed, name) for protocol in few for seed in (3, 4) for name in names
    ]
    assert [len(one["kept"]) for one in found] == [10] * 12 + [5] * 12


def test_without_scikit_learn_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["bench", "continual"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("wm bench: continual needs scikit-learn")
    assert line.count("\n") == 1
    assert "pip install scikit-learn" in line


def test_no_figure_comes_from_the_seed_that_strengths_were_chosen_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "continual", "--seeds", "0", str(continual.TUNED_ON)]) == 2
    assert "strengths were chosen on seed" in capsys.readouterr().err


def test_a_seed_that_is_told_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "continual", "--seeds", "0", "0"]) == 2
    assert capsys.readouterr().err == "wm bench: --seeds takes different seeds from 0 to 1000, came 0 0\n"

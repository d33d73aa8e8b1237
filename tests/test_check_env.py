"""What is told of a plant before it is learned: what it lacks, and what to do about that."""

import json
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tests.test_generic import Cart, Compass
from wmctrl.cli import main
from wmctrl.commands import check_env
from wmctrl.commands.doctor import Finding

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "CheckedCart-v0": (Cart, {}),
    "CheckedTold-v0": (Cart, {"meanings": {"success": "It stands.", "failure": "It fell."}}),
    "CheckedBroken-v0": (Cart, {"broken": "sensor"}),
    "CheckedCompass-v0": (Compass, {}),
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for name, (kind, keywords) in KINDS.items():
        gym.register(name, kind, kwargs=keywords, max_episode_steps=50)
    yield
    for name in KINDS:
        gym.registry.pop(name)


def found(task: str) -> dict[str, Finding]:
    return {one.subject: one for one in check_env.examine(task)}


def test_a_plant_that_says_little_is_told_what_it_could_say_and_has_nothing_to_mend() -> None:
    told = found("CheckedCart-v0")
    assert not [one for one in told.values() if one.fix]
    assert told["commands"].found == "2, from -1 to 1, 20 times a second"
    assert 'metadata, {"success": "one sentence"}' in told["success"].found
    assert 'metadata, {"failure": "one sentence"}' in told["failure"].found
    assert told["can change"].found.startswith("action_scale")
    assert told["varies"].found == "every seed begins the same"
    assert "beyond them" in told["ranges"].found, "a cart under random commands leaves the range it is said to have"
    assert "hindsight" not in told


def test_what_a_plant_says_is_repeated() -> None:
    told = found("CheckedTold-v0")
    assert (told["success"].found, told["failure"].found) == ("It stands.", "It fell.")
    assert "add `compute_reward" in found("CheckedCompass-v0")["hindsight"].found


def test_a_plant_that_breaks_down_is_to_be_mended() -> None:
    told = found("CheckedBroken-v0")
    assert "became inf at step 2" in told["drives"].fix
    assert "repeats" not in told


def test_a_plant_that_does_not_repeat_is_to_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng()
    observe = Cart._observation
    monkeypatch.setattr(Cart, "_observation", lambda cart: observe(cart) + np.float32(0.1 * generator.random()))
    assert "np_random" in found("CheckedCart-v0")["repeats"].fix


@pytest.mark.parametrize("task", ["FetchReach-v4", "parking-v0"])
def test_curated_tasks_are_sound(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-env", task, "--json"]) == 0
    told = {one["subject"]: one["found"] for one in json.loads(capsys.readouterr().out)}
    assert told["varies"] == "seeds begin differently"
    assert "action_delay" in told["can change"]
    assert told["picture"].partition("x")[0].isdigit()


def test_what_cannot_be_made_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-env", "FetchReech-v4"]) == 1
    said = capsys.readouterr().out
    assert "did you mean FetchReach-v4" in " ".join(said.split())
    assert "Next:" not in said

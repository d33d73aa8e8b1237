"""Sensors fail as they are told to, when they are told to, and the same for the same seed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs.faults import KINDS, Fault, FaultySensors, Reading
from wmctrl_envs.task import TaskSpec

PENDULUM = wmctrl_envs.make("Pendulum-v1").task_spec
"""Three readings, twenty times a second."""


def shown(step: int) -> dict[str, NDArray[Any]]:
    return {"proprio": np.array([0.1, 0.2, 0.3], np.float32) + np.float32(step)}


def arrived(fault: Fault, steps: int = 40, seed: int = 3, spec: TaskSpec = PENDULUM) -> list[Reading]:
    sensors = FaultySensors(fault, spec)
    sensors.reset(seed)
    return [sensors.arrives(shown(step)) for step in range(steps)]


def same(reading: Reading, step: int) -> bool:
    """Whether a reading shows, whole, what was there at a step."""
    seen = reading.observation["proprio"]
    return seen is not None and np.array_equal(seen, shown(step)["proprio"])


@pytest.mark.parametrize("kind", KINDS)
def test_before_it_begins_nothing_fails_and_after_that_something_does(kind: str) -> None:
    found = arrived(Fault(kind, KINDS[kind].amounts[-1], begins=7))
    assert all(same(reading, step) and reading.taken == step for step, reading in enumerate(found[:7]))
    assert not all(same(reading, step) for step, reading in enumerate(found))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_fails_the_same(kind: str) -> None:
    fault = Fault(kind, KINDS[kind].amounts[1])
    one, other, another = (arrived(fault, seed=seed) for seed in (3, 3, 4))
    assert repr(one) == repr(other)
    assert (repr(one) == repr(another)) == (kind in ("frozen", "delayed", "lost"))


def test_a_frozen_sensor_claims_to_be_new() -> None:
    found = arrived(Fault("frozen", 0.5, begins=4))
    assert all(same(reading, 4) for reading in found[4:14])
    assert [reading.taken for reading in found] == list(range(40))
    assert all(same(found[step], step) for step in range(14, 40))


def test_dropped_ones_do_not_arrive_as_often_as_told() -> None:
    found = arrived(Fault("dropped", 0.3), steps=2000)
    assert np.mean([reading.observation["proprio"] is None for reading in found]) == pytest.approx(0.3, abs=0.03)


def test_delayed_ones_say_when_they_were_taken() -> None:
    found = arrived(Fault("delayed", 3.0))
    assert [reading.taken for reading in found] == [0, 0, 0, *range(37)]
    assert all(same(reading, reading.taken) for reading in found)


def test_reordered_ones_are_older_than_what_arrived_before() -> None:
    found = arrived(Fault("reordered", 0.5), steps=400)
    taken = np.array([reading.taken for reading in found])
    assert (np.diff(taken) < 0).sum() > 50
    assert set(np.arange(400) - taken) == {0, 1, 2, 3}
    assert all(same(reading, reading.taken) for reading in found)


@pytest.mark.parametrize("kind", ["nan", "beyond"])
def test_readings_fail_one_by_one(kind: str) -> None:
    found = np.array([reading.observation["proprio"] for reading in arrived(Fault(kind, 0.3), steps=1000)])
    sound = found == np.array([shown(step)["proprio"] for step in range(1000)])
    assert 1.0 - sound.mean(0) == pytest.approx(0.3, abs=0.05)
    broken = found[~sound]
    assert np.isnan(broken).all() if kind == "nan" else (broken >= 11.0).all()


def test_noise_is_as_wide_as_a_share_of_the_range() -> None:
    found = np.array([reading.observation["proprio"] for reading in arrived(Fault("noise", 0.1), steps=4000)])
    noise = found - np.array([shown(step)["proprio"] for step in range(4000)])
    np.testing.assert_allclose(noise.std(0), [0.2, 0.2, 1.6], rtol=0.1)


def test_a_fault_shorter_than_a_slow_task_s_period_is_one_all_the_same() -> None:
    slow = replace(PENDULUM, control_period=0.5)
    frozen, lost = (arrived(Fault(kind, 0.2, begins=3), spec=slow) for kind in ("frozen", "lost"))
    assert [same(reading, step) for step, reading in enumerate(frozen[:7])] == [True] * 4 + [False] + [True] * 2
    assert [reading.observation["proprio"] is None for reading in lost[:7]] == [False] * 3 + [True] * 2 + [False] * 2
    assert all(same(reading, step) for step, reading in enumerate(arrived(Fault("frozen", 0.0, begins=3), spec=slow)))


def test_only_the_senses_that_are_told_are_lost() -> None:
    spec = wmctrl_envs.make("FetchReach-v4", observe=["proprio", "camera", "goal"]).task_spec
    seen: dict[str, NDArray[Any]] = {
        "proprio": np.zeros(10, np.float32),
        "camera": np.ones((64, 64, 3), np.uint8),
        "goal": np.ones(3),
    }
    found = FaultySensors(Fault("lost", np.inf, senses=("camera",)), spec).arrives(seen)
    assert found.observation["camera"] is None
    assert found.observation["proprio"] is seen["proprio"]
    assert found.observation["goal"] is seen["goal"]


def test_what_the_task_shows_is_left_as_it_is() -> None:
    sensors, seen = FaultySensors(Fault("nan", 1.0), PENDULUM), shown(0)
    sensors.arrives(seen)
    np.testing.assert_array_equal(seen["proprio"], shown(0)["proprio"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "frosen"}, "frozen"),
        ({"amount": 1.5}, "nan must be from 0 to 1, got 1.5"),
        ({"amount": -0.5}, "nan must be from 0 to 1, got -0.5"),
        ({"amount": np.nan}, "nan must be from 0 to 1, got nan"),
        ({"begins": -1}, "begins at step 0 or later, got -1"),
        ({"senses": ("lidar",)}, "lidar"),
    ],
)
def test_a_fault_that_is_none_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(Fault("nan", 0.5), **wrong)

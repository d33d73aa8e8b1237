"""The test for drift: how rare excesses are, how seldom it rings for nothing, and how soon for something."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wmctrl.runtime.drift import (
    ALLOWANCE,
    BETWEEN_ALARMS,
    FAINT,
    LARGEST_EXPONENT,
    LARGEST_SCORE,
    Drift,
    OrdinaryExcess,
    features,
    height,
    ordinary_excess,
)

STEPS = 3000
"""Of what is ordinary, to learn it from."""


def excesses(count: int, seed: int, clustered: float = 0.0, shift: float = 1.0) -> NDArray[np.float64]:
    """Logarithms of surprises, each like the one before to some degree."""
    rng = np.random.default_rng(seed)
    noise, value, found = rng.standard_normal(count), 0.0, np.zeros(count)
    for index in range(count):
        value = clustered * value + np.sqrt(1.0 - clustered**2) * noise[index]
        found[index] = np.exp(0.5 * value)
    return np.log(shift * found)


def rings(values: NDArray[np.float64], ordinary: OrdinaryExcess) -> list[int]:
    """Steps at which it rings; it begins again after each."""
    drift, found = Drift(), []
    for value in values:
        drift = drift.watched(float(value), ordinary)
        if drift.rings:
            found.append(drift.step - 1)
            drift = drift.restarted()
    return found


def test_a_score_is_exceeded_by_as_many_as_it_says() -> None:
    ordinary = OrdinaryExcess.of(excesses(STEPS, 0))
    scores = np.array([ordinary.score(float(value)) for value in excesses(20_000, 1)])
    assert np.mean(scores) == pytest.approx(1.0, abs=0.1)
    for level in (0.5, 1.0, 2.0, 3.0):
        assert np.mean(scores > level) == pytest.approx(np.exp(-level), rel=0.25)


def test_the_rarer_a_surprise_the_higher_its_score_up_to_the_largest() -> None:
    ordinary = OrdinaryExcess.of(excesses(STEPS, 0))
    scores = [ordinary.score(value) for value in np.linspace(-3.0, 50.0, 500)]
    assert (np.diff(scores) >= 0.0).all()
    assert scores[-1] == LARGEST_SCORE
    assert ordinary.score(np.inf) == LARGEST_SCORE


def test_the_exponent_of_scores_that_do_not_cluster_solves_its_equation() -> None:
    r = LARGEST_EXPONENT
    assert np.exp(-r * ALLOWANCE) / (1.0 - r) == pytest.approx(1.0, abs=1e-4)


def test_the_height_grows_with_the_logarithm_of_the_steps_between_alarms_and_with_clusters() -> None:
    alone = np.random.default_rng(0).exponential(size=20_000)
    assert height(alone, 1e6) / height(alone, 1e3) == pytest.approx(2.0, rel=1e-6)
    assert height(np.repeat(alone[:2000], 10), 1e4) > 2.0 * height(alone, 1e4)


@pytest.mark.parametrize("clustered", [0.0, 0.5, 0.8])
def test_what_is_ordinary_hardly_ever_rings(clustered: float) -> None:
    alarms = [
        len(rings(excesses(20_000, 100 + seed, clustered), OrdinaryExcess.of(excesses(STEPS, seed, clustered))))
        for seed in range(5)
    ]
    assert sum(alarms) <= 5 * 100_000 / BETWEEN_ALARMS, "what is learned of 3,000 steps is not exact"


@pytest.mark.parametrize(("shift", "within"), [(1.5, 100), (3.0, 15)])
def test_a_change_rings_soon_and_tells_when_it_was(shift: float, within: int) -> None:
    changed = 500
    for seed in range(5):
        ordinary = OrdinaryExcess.of(excesses(STEPS, seed))
        values = np.concatenate([excesses(changed, 50 + seed), excesses(1000, 70 + seed, shift=shift)])
        drift = Drift()
        for value in values:
            drift = drift.watched(float(value), ordinary)
            if drift.rings:
                break
        assert changed < drift.step <= changed + within
        assert abs(drift.since - changed) <= 20


def test_a_single_observation_never_rings() -> None:
    ordinary = OrdinaryExcess.of(excesses(STEPS, 0))
    assert not Drift().watched(1e9, ordinary).rings


def test_steps_without_an_observation_are_counted_and_tell_nothing() -> None:
    ordinary = OrdinaryExcess.of(excesses(STEPS, 0))
    drift = Drift().watched(1e9, ordinary)
    later = drift.watched(None, ordinary)
    assert (later.height, later.step) == (drift.height, drift.step + 1)


def test_too_little_to_tell_what_is_ordinary_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 250 ordinary steps are needed, came 10"):
        OrdinaryExcess.of(excesses(10, 0))


def drive(count: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Steps of a plant on which fast and forceful driving surprises more."""
    rng = np.random.default_rng(seed)
    proprio, action = (rng.standard_normal((count, size)).astype(np.float32) for size in (2, 1))
    is_first = (np.arange(count) % 50 == 0).astype(np.float32)
    before = np.concatenate([proprio[:1], proprio[:-1]])
    level = 0.8 * before[:, 0] + 0.3 * action[:, 0] ** 2 + 0.1 * rng.standard_normal(count)
    surprise = np.where(is_first, 0.0, np.exp(level)).astype(np.float32)
    return {"proprio": proprio, "action": action, "is_first": is_first, "surprise": surprise}


def test_what_is_expected_depends_on_where_the_plant_is_and_on_what_is_done() -> None:
    expectation, excess = ordinary_excess(drive(2000, 0))
    assert np.std(excess) < 0.3
    fresh = drive(500, 1)
    found = expectation.excess(features(fresh), fresh["surprise"][2:])[fresh["is_first"][2:] == 0.0]
    assert np.std(found) < 0.3
    assert np.mean(found) == pytest.approx(0.0, abs=0.1)


def test_steps_right_behind_a_start_tell_nothing_of_what_is_ordinary() -> None:
    steps = drive(2000, 0)
    late = np.convolve(steps["is_first"], np.ones(3))[:2000] == 0.0
    _, excess = ordinary_excess(steps)
    assert len(excess) == late[2:].sum()


def test_a_change_is_noticed_sooner_for_knowing_what_to_expect() -> None:
    expectation, excess = ordinary_excess(drive(3000, 0))
    blind = np.log(drive(3000, 0)["surprise"] + FAINT)
    changed = drive(3000, 1)
    changed["surprise"] *= 1.5
    told = expectation.excess(features(changed), changed["surprise"][2:])[changed["is_first"][2:] == 0.0]
    first = [
        rings(values, OrdinaryExcess.of(ordinary))[0]
        for values, ordinary in ((told, excess), (np.log(changed["surprise"] + FAINT), blind))
    ]
    assert first[0] < 0.5 * first[1]

"""Which readings are believed: each fault of a sensor, and nothing that is ordinary."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wmctrl.runtime.plant import Calibration, Ordinary
from wmctrl.runtime.senses import PATIENCE, STUCK, Senses

CALM = Ordinary(least=-1.0, most=1.0, error=0.1, still=1)
RESTING = Ordinary(least=0.0, most=4.0, error=0.5, still=7)
SENSES = Senses(2, Calibration(surprise=10.0, proprio=(CALM, RESTING), still_pictures=2))


def believed(
    *readings: tuple[float, float], foreseen: tuple[tuple[float, float], ...] | None = None
) -> list[list[bool]]:
    """Whether each element of every reading is believed; by default each reading was foreseen."""
    doubt, found = SENSES.start(), []
    for reading, expected in zip(readings, foreseen or readings, strict=True):
        sensed = {"proprio": np.array(reading, np.float32)}
        doubt, trusted = SENSES.judged(doubt, sensed, np.array(expected, np.float32))
        found.append((trusted["proprio"] > 0.0).tolist())
    return found


def test_what_is_ordinary_is_believed() -> None:
    ordinary = [(0.9 * np.sin(step), 2.0 + np.cos(step)) for step in range(40)]
    foreseen = [(one + 0.39, other - 1.9) for one, other in ordinary]
    assert believed(*ordinary, foreseen=tuple(foreseen)) == [[True, True]] * 40


@pytest.mark.parametrize("reading", [np.nan, np.inf, -np.inf, 3.1, -3.1])
def test_what_is_not_finite_or_far_beyond_all_that_was_recorded_is_not_believed(reading: float) -> None:
    assert believed((reading, 2.0)) == [[False, True]]


def test_a_range_is_exceeded_by_up_to_itself() -> None:
    assert believed((2.9, -3.9), (-2.9, 7.9)) == [[True, True]] * 2


def test_a_leap_is_not_believed_and_what_comes_after_it_is() -> None:
    assert believed((0.0, 2.0), (0.6, 2.0), (0.1, 2.0), foreseen=((0.0, 2.0),) * 3) == [
        [True, True],
        [False, True],
        [True, True],
    ]


def test_a_model_that_is_wrong_for_long_gives_in() -> None:
    readings = [(0.6 + 0.01 * step, 2.0) for step in range(PATIENCE + 3)]
    found = believed(*readings, foreseen=((0.0, 2.0),) * len(readings))
    assert [one for one, _ in found] == [False] * PATIENCE + [True] * 3


def test_a_sensor_that_is_stuck_where_it_should_move_is_never_believed_again() -> None:
    foreseen = [(0.15 * min(step, 2), 2.0 + 0.3 * np.sin(step)) for step in range(30)]
    readings = [(0.0, other) for _, other in foreseen]
    found = [one for one, _ in believed(*readings, foreseen=tuple(foreseen))]
    first = found.index(False)
    assert first == 2 * CALM.still + STUCK
    assert not any(found[first:])


def test_a_sensor_that_rests_as_foreseen_is_believed() -> None:
    assert believed(*[(0.25, 2.0)] * 50) == [[True, True]] * 50


def test_a_sensor_is_stuck_only_after_longer_rests_than_were_recorded() -> None:
    foreseen = tuple((0.1 * (-1) ** step, 3.0) for step in range(20))
    readings = [(one, 2.0) for one, _ in foreseen]
    found = [other for _, other in believed(*readings, foreseen=foreseen)]
    assert found.index(False) == 2 * RESTING.still + STUCK


def pictures(*values: int) -> list[NDArray[np.uint8]]:
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


def test_a_camera_that_shows_the_same_for_too_long_is_not_believed_until_it_shows_another() -> None:
    doubt, found = SENSES.start(), []
    for picture in pictures(*[9] * 9, 8):
        doubt, trusted = SENSES.judged(doubt, {"camera": picture}, None)
        found.append(bool(trusted["camera"]))
    longest = 2 * 2 + STUCK
    assert found == [True] * longest + [False] * (9 - longest) + [True]


def test_where_nothing_was_recorded_everything_finite_is_believed() -> None:
    trusting, expected = Senses(1, None), np.zeros(1, np.float32)
    doubt = trusting.start()
    for value in (1e30, 1e30, 1e30, -1e30, *[0.0] * 50):
        doubt, trusted = trusting.judged(doubt, {"proprio": np.array([value], np.float32)}, expected)
        assert trusted["proprio"].all()
    assert not trusting.judged(doubt, {"proprio": np.array([np.nan], np.float32)}, expected)[1]["proprio"].any()


def test_a_whole_reading_that_is_shown_again_is_not_believed_while_anything_should_move() -> None:
    foreseen = tuple((0.15 * step, 2.0) for step in range(4))
    assert believed(*[(0.0, 2.0)] * 4, foreseen=foreseen) == [[True, True], *[[False, False]] * 3]


def followed(readings: NDArray[np.float32], rate: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Beliefs (T,) and trust (T,) along readings (T,) of a value that is foreseen to grow at a rate."""
    senses = Senses(1, Calibration(10.0, (Ordinary(least=-50.0, most=50.0, error=0.33, still=1),), 0))
    doubt, value, beliefs, trusts = senses.start(), readings[0], [], []
    for step, reading in enumerate(readings):
        foreseen = np.array([value + rate if step else value], np.float32)
        doubt, trusted = senses.judged(doubt, {"proprio": np.array([reading], np.float32)}, foreseen)
        value = (foreseen + trusted["proprio"] * (reading - foreseen)).item()
        beliefs.append(value)
        trusts.append(trusted["proprio"].item())
    return np.array(beliefs), np.array(trusts)


def test_a_third_of_the_noise_is_gone_at_least() -> None:
    rng = np.random.default_rng(0)
    truth = np.cumsum(0.2 + 0.1 * rng.standard_normal(200))
    noise = rng.standard_normal(200)
    beliefs, trusts = followed((truth + noise).astype(np.float32), rate=0.2)
    assert np.std((beliefs - truth)[20:]) < 0.65 * np.std(noise[20:])
    assert trusts[20:].max() < 0.8


def test_readings_as_exact_as_were_recorded_are_believed_as_they_are() -> None:
    rng = np.random.default_rng(1)
    truth = np.cumsum(0.2 + 0.1 * rng.standard_normal(200)).astype(np.float32)
    _, trusts = followed(truth, rate=0.2)
    assert trusts.min() == 1.0


def test_a_plant_that_does_what_the_model_does_not_know_is_not_taken_for_noise() -> None:
    truth = np.cumsum(np.full(200, 0.6, np.float32))
    _, trusts = followed(truth, rate=0.2)
    assert trusts.min() == 1.0


def test_the_trust_comes_back_when_the_noise_is_over() -> None:
    rng = np.random.default_rng(2)
    truth = np.cumsum(0.2 + 0.1 * rng.standard_normal(200))
    noise = np.where(np.arange(200) < 100, rng.standard_normal(200), 0.0)
    _, trusts = followed((truth + noise).astype(np.float32), rate=0.2)
    assert trusts[90:100].max() < 0.8
    assert trusts[-20:].min() > 0.95

"""Intervals around rates and means."""

import numpy as np
import pytest

from wmctrl.commands.intervals import Estimate, in_digits, mean, rate, shown


def test_wilson_interval_of_nine_hits_in_ten() -> None:
    # z^2 / n = 0.38415; centre (0.9 + 0.19207) / 1.38415 = 0.78899; half 1.95996 sqrt(0.009 + 0.0096037) / 1.38415.
    assert rate(9, 10) == pytest.approx((0.9, 0.59585, 0.98212), abs=1e-4)


def test_hundred_hits_in_hundred_leave_room_for_doubt() -> None:
    # Without a miss Wilson's lower edge is n / (n + z^2) = 100 / 103.8415.
    assert rate(100, 100) == pytest.approx((1.0, 100 / 103.8415, 1.0), abs=1e-5)


def test_no_hits_mirror_all_hits() -> None:
    none, every = rate(0, 17), rate(17, 17)
    assert none == pytest.approx((0.0, 0.0, 1.0 - every.low))


def test_interval_of_a_mean_is_as_wide_as_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(5).normal(3.0, 2.0, 997)
    estimate = mean(values)
    half = 1.96 * values.std() / np.sqrt(997)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.05)


def test_interval_of_three_values_by_hand() -> None:
    # Mean 4; deviations -3, 0, 3 give a std of 3; t with 2 degrees of freedom is 4.30265 at 97.5 %.
    half = 4.30265 * 3.0 / np.sqrt(3.0)
    assert mean([1.0, 4.0, 7.0]) == pytest.approx((4.0, 4.0 - half, 4.0 + half), abs=1e-3)


@pytest.mark.parametrize("count", [3, 10])
def test_interval_holds_the_truth_as_often_as_it_says(count: int) -> None:
    samples = np.random.default_rng(0).normal(1.0, 2.0, (2000, count))
    held = [estimate.low <= 1.0 <= estimate.high for estimate in map(mean, samples)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)  # 4 sigma


def test_constant_values_leave_no_doubt() -> None:
    assert mean([50.0] * 7) == (50.0, 50.0, 50.0)


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        rate(0, 0)
    with pytest.raises(ValueError, match="at least one value"):
        mean([])


@pytest.mark.parametrize(
    ("value", "text"), [(0.98765, "0.988"), (-151.2, "-151"), (999.4, "999"), (6998.95, "6,999"), (-12345.0, "-12,345")]
)
def test_a_figure_is_told_without_an_exponent(value: float, text: str) -> None:
    assert in_digits(value) == text


@pytest.mark.parametrize(
    ("name", "figure", "text"),
    [
        ("success", Estimate(0.98, 0.93, 0.994), "0.98 (0.93 to 0.99)"),
        ("return", Estimate(-6.9, -8.456, -5.45), "-6.90 (-8.46 to -5.45)"),
        ("return", Estimate(5152.3, 4904.4, 5301.0), "5152 (4904 to 5301)"),
    ],
)
def test_figures_are_shown_with_the_digits_that_matter(name: str, figure: Estimate, text: str) -> None:
    assert shown(name, figure) == text

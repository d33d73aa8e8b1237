"""Coloured noise against the definition of its spectrum."""

import numpy as np
import pytest

from wmctrl.runtime.noise import coloured_noise

SAMPLES, SIZE = 4001, 3


@pytest.mark.parametrize("horizon", range(1, 16))
@pytest.mark.parametrize("exponent", [0.0, 0.7, 2.0, 3.0])
def test_every_step_has_zero_mean_and_unit_variance(horizon: int, exponent: float) -> None:
    noise = coloured_noise(SAMPLES, horizon, SIZE, exponent, np.random.default_rng(horizon))
    assert noise.shape == (SAMPLES, horizon, SIZE)
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.mean((0, 2)), 0.0, atol=0.046)  # 5 sigma of 12,003 draws
    np.testing.assert_allclose((noise**2).mean((0, 2)), 1.0, atol=0.065)  # 5 sigma


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_power_falls_with_frequency_by_the_exponent(exponent: float) -> None:
    noise = coloured_noise(2003, 64, 1, exponent, np.random.default_rng(0))[..., 0]
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(0)
    inner = slice(1, -1)  # the mean and the highest frequency are special
    slope, _ = np.polyfit(np.log(np.fft.rfftfreq(64)[inner]), np.log(power[inner]), 1)
    assert slope == pytest.approx(-exponent, abs=0.05)


def test_the_mean_is_as_strong_as_the_slowest_wave() -> None:
    noise = coloured_noise(20_011, 12, 1, 2.0, np.random.default_rng(0))[..., 0]
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(0)
    assert power[0] / power[1] == pytest.approx(1.0, abs=0.06)


def test_neighbouring_steps_grow_alike_with_the_exponent() -> None:
    correlations = []
    for exponent in (0.0, 1.0, 2.0, 3.0):
        noise = coloured_noise(SAMPLES, 12, 1, exponent, np.random.default_rng(0))[..., 0]
        correlations.append((noise[:, 1:] * noise[:, :-1]).mean())
    assert correlations[0] == pytest.approx(0.0, abs=0.03)
    assert correlations == sorted(correlations)
    assert correlations[-1] > 0.8


def test_elements_and_samples_are_independent() -> None:
    noise = coloured_noise(SAMPLES, 8, 2, 2.0, np.random.default_rng(0))
    assert abs((noise[..., 0] * noise[..., 1]).mean()) < 0.05
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.05


def test_the_same_generator_repeats_the_same_noise() -> None:
    first, second = (coloured_noise(5, 7, 2, 2.0, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)

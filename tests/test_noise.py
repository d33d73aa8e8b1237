"""Coloured noise against the definition of its spectrum."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wmctrl.runtime.noise import SEQUENCES, FreshNoise, NoiseBank, Randomness, coloured_noise, scrambled

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


KIND = Randomness(samples=11, horizon=5, action=3, exponent=2.0, proposals=4, particles=2, components=7, stoch=6)


def taken(bank: NoiseBank) -> list[NDArray[np.float32]]:
    """What three decisions take."""
    return [part for _ in range(3) for part in (*bank.futures(), bank.proposals(), bank.candidates())]


def test_a_bank_gives_what_a_decision_takes() -> None:
    bank = NoiseBank(NoiseBank.filled(KIND, seed=0), KIND)
    assert [part.shape for part in taken(bank)[:4]] == [(2, 5, 7), (2, 5, 6), (4, 5, 3), (11, 5, 3)]


def test_a_banks_first_proposal_is_the_policys_own() -> None:
    bank = NoiseBank(NoiseBank.filled(KIND, seed=0), KIND)
    for _ in range(5):
        noise = bank.proposals()
        assert not noise[0].any()
        assert noise[1:].any(axis=(1, 2)).all()


def test_what_is_dealt_depends_on_the_seed_alone() -> None:
    one, other = (NoiseBank(NoiseBank.filled(KIND, seed=0), KIND) for _ in range(2))
    one.reset(5)
    taken(other)
    other.reset(5)
    for mine, theirs in zip(taken(one), taken(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    other.reset(6)
    assert any((mine != theirs).any() for mine, theirs in zip(taken(one), taken(other), strict=True))


def test_every_element_of_every_candidate_is_dealt_any_sequence() -> None:
    arrays = NoiseBank.filled(KIND, seed=0)
    arrays["candidates"][:] = np.arange(SEQUENCES)[:, None]
    bank = NoiseBank(arrays, KIND)
    dealt = np.stack([bank.candidates() for _ in range(1000)])
    np.testing.assert_array_equal(dealt, dealt[:, :, :1].repeat(5, 2))  # along the horizon a sequence stays together
    places = dealt[:, :, 0].reshape(-1)
    assert len(set(places)) > SEQUENCES - 20  # of 4,096 places, about 1.3 are met by none of 33,000 even draws
    assert abs(places.mean() - (SEQUENCES - 1) / 2) < 20  # 3 sigma
    one, other = dealt[:, :, 0, 0].reshape(-1), dealt[:, :, 0, 1].reshape(-1)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03  # 3 sigma


def test_what_is_dealt_is_distributed_as_fresh_noise() -> None:
    bank, fresh = NoiseBank(NoiseBank.filled(KIND, seed=0), KIND), FreshNoise(KIND, np.random.default_rng(1))
    ours = [[*bank.futures(), bank.proposals()[1:], bank.candidates()] for _ in range(500)]
    theirs = [[*fresh.futures(), fresh.proposals()[1:], fresh.candidates()] for _ in range(500)]
    for mine, other in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        levels = [0.1, 0.5, 0.9]
        np.testing.assert_allclose(np.quantile(mine, levels), np.quantile(other, levels), atol=0.06)
        alike, alike_there = (np.mean(np.stack(n)[:, :, 1:] * np.stack(n)[:, :, :-1]) for n in (mine, other))
        assert alike == pytest.approx(alike_there, abs=0.06)


def test_splitmix_counts_as_published() -> None:
    # The first outputs of the reference implementation from state 0 (Steele et al. 2014).
    states = np.array([n * 0x9E3779B97F4A7C15 % (1 << 64) for n in range(3)], np.uint64)
    assert scrambled(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_a_bank_of_another_size_is_refused() -> None:
    arrays = NoiseBank.filled(KIND, seed=0)
    with pytest.raises(ValueError, match=r"noise: proposals must be of shape \(4096, 5\), came \(3, 5\)"):
        NoiseBank(arrays | {"proposals": arrays["proposals"][:3]}, KIND)
    del arrays["future_values"]
    with pytest.raises(ValueError, match=r"noise: future_values must be of shape .*, came nothing"):
        NoiseBank(arrays, KIND)

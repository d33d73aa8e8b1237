"""Random numbers for planning, drawn outside every graph so that plans repeat and boards agree with desktops."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Randomness:
    """How much noise a decision takes, and of what kind."""

    samples: int
    """Candidates of one iteration, N."""
    horizon: int
    """H"""
    action: int
    """A"""
    exponent: float
    """Colour of the candidates' noise along the horizon."""
    proposals: int
    """Action sequences of the policy, P; 0 where it proposes none."""
    particles: int
    """Drawn futures; 1 follows the most probable one, which takes no noise."""
    components: int
    """Gaussians in the prior, K."""
    stoch: int
    """Elements of the stochastic state, S."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of what one decision takes, by kind, where it takes any."""
        shapes: dict[str, tuple[int, ...]] = {"candidates": (self.samples, self.horizon, self.action)}
        if self.proposals:
            shapes["proposals"] = (self.proposals, self.horizon, self.action)
        if self.particles > 1:
            shapes["future_components"] = (self.particles, self.horizon, self.components)
            shapes["future_values"] = (self.particles, self.horizon, self.stoch)
        return shapes


class FreshNoise:
    """The noise of one decision, drawn from a generator as it is asked for."""

    def __init__(self, kind: Randomness, generator: np.random.Generator) -> None:
        self.kind, self.generator = kind, generator

    def futures(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gumbel (particles, H, K) and normal draws (particles, H, S) of the imagined futures."""
        k = self.kind
        component = self.generator.gumbel(size=(k.particles, k.horizon, k.components))
        value = self.generator.standard_normal((k.particles, k.horizon, k.stoch))
        return component.astype(np.float32), value.astype(np.float32)

    def proposals(self) -> NDArray[np.float32]:
        """Normal draws of the policy's actions (P, H, A); the first sequence is the policy's own, without noise."""
        noise = self.white()
        noise[0] = 0.0
        return noise

    def white(self) -> NDArray[np.float32]:
        """Normal draws (P, H, A)."""
        k = self.kind
        return self.generator.standard_normal((k.proposals, k.horizon, k.action), dtype=np.float32)

    def candidates(self) -> NDArray[np.float32]:
        """Coloured draws of one iteration's candidates (N, H, A)."""
        k = self.kind
        return coloured_noise(k.samples, k.horizon, k.action, k.exponent, self.generator)


def coloured_noise(
    samples: int, horizon: int, size: int, exponent: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Noise of unit variance whose power falls with frequency f as f^-exponent (Timmer and Koenig 1995).

    0 is white; 2 to 3 wanders slowly, which moves a plant further than white noise of the same variance.

    Returns:
        (samples, horizon, size), coloured along the horizon.
    """
    if exponent == 0.0 or horizon == 1:
        return generator.standard_normal((samples, horizon, size), dtype=np.float32)
    frequency = np.fft.rfftfreq(horizon)
    frequency[0] = frequency[1]  # the mean is as strong as the slowest wave
    amplitude = frequency ** (-exponent / 2.0)
    real, imaginary = generator.standard_normal((2, samples, size, amplitude.size)) * amplitude
    # The mean, and for an even horizon the highest frequency, have no phase: all their power is in the real part.
    phaseless = [0, -1] if horizon % 2 == 0 else [0]
    real[..., phaseless] *= np.sqrt(2.0)
    imaginary[..., phaseless] = 0.0
    power = 4.0 * np.sum(amplitude**2) - 2.0 * np.sum(amplitude[phaseless] ** 2)
    series = np.fft.irfft(real + 1j * imaginary, n=horizon, axis=-1) * (horizon / np.sqrt(power))
    return series.transpose(0, 2, 1).astype(np.float32)


SEQUENCES = 1 << 12
"""How many of every kind a bank holds."""


def scrambled(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Whole numbers that look random, from ones that count (splitmix64, Steele et al. 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)


class NoiseBank:
    """Sequences along the horizon, drawn once and dealt to decisions: nothing is drawn in the control loop.

    Which are dealt is told by a counter and a seed, in integers alone, so boards agree with desktops. Every element of
    every candidate is dealt a sequence of its own. Whole candidates would come again and again: out of 1,536 of them a
    car near its place finds nothing better after a while. (12 drives of parking-v0 with one controller: 12 parked after
    21.9 steps with fresh noise, 12 after 21.8 with sequences dealt, 7 after 57 with whole candidates.)
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]], kind: Randomness) -> None:
        """
        Args:
            arrays: Those of `filled`.

        Raises:
            ValueError: One is missing, or is of another shape.
        """
        self.shapes, wanted = kind.shapes(), (SEQUENCES, kind.horizon)
        for name in self.shapes:
            came = arrays[name].shape if name in arrays else "nothing"
            if came != wanted:
                raise ValueError(f"noise: {name} must be of shape {wanted}, came {came}")
        self.arrays = arrays
        self.reset(0)

    @staticmethod
    def filled(kind: Randomness, seed: int) -> dict[str, NDArray[np.float32]]:
        """The arrays of a bank (SEQUENCES, H), by kind of noise."""
        fresh = replace(kind, samples=SEQUENCES, action=1, proposals=SEQUENCES, particles=SEQUENCES)
        draws = FreshNoise(replace(fresh, components=1, stoch=1), np.random.default_rng(seed))
        components, values = draws.futures()
        bank = {"candidates": draws.candidates(), "proposals": draws.white()}
        bank |= {"future_components": components, "future_values": values}
        return {name: bank[name][..., 0] for name in kind.shapes()}

    def reset(self, seed: int) -> None:
        """Begin again: the same seed is dealt the same."""
        self.number = scrambled(np.array([seed % (1 << 64)], np.uint64))

    def futures(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draws (particles, H, K), (particles, H, S), as `FreshNoise.futures`."""
        return self._dealt("future_components"), self._dealt("future_values")

    def proposals(self) -> NDArray[np.float32]:
        """Draws (P, H, A), as `FreshNoise.proposals`."""
        noise = self._dealt("proposals")
        noise[0] = 0.0
        return noise

    def candidates(self) -> NDArray[np.float32]:
        """Draws (N, H, A), as `FreshNoise.candidates`."""
        return self._dealt("candidates")

    def _dealt(self, name: str) -> NDArray[np.float32]:
        """Draws of a kind (rows, H, size), every column of every row a sequence of the bank."""
        rows, _, size = self.shapes[name]
        columns: NDArray[np.uint64] = np.arange(rows * size, dtype=np.uint64)
        numbers = scrambled(scrambled(self.number) + columns)
        self.number += np.uint64(1)
        sequences = self.arrays[name][numbers % np.uint64(SEQUENCES)]
        return np.ascontiguousarray(sequences.reshape(rows, size, -1).transpose(0, 2, 1))

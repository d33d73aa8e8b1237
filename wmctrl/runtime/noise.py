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
        k = self.kind
        noise = self.generator.standard_normal((k.proposals, k.horizon, k.action), dtype=np.float32)
        noise[0] = 0.0
        return noise

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


MASK = (1 << 64) - 1


def scrambled(number: int) -> int:
    """A whole number of 64 bits that looks random, from one that counts (splitmix64, Steele et al. 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


class NoiseBank:
    """Noise drawn once and kept, from which decisions take stretches: nothing is drawn in the control loop.

    Stretches begin at places told by a counter and a seed, in integers alone, so boards agree with desktops.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]], kind: Randomness) -> None:
        """
        Args:
            arrays: Those of `filled`.

        Raises:
            ValueError: One is missing, or holds too little or other noise than a decision takes.
        """
        for name, shape in kind.shapes().items():
            came = arrays[name].shape if name in arrays else "nothing"
            if not isinstance(came, tuple) or came[1:] != shape[1:] or came[0] < shape[0]:
                raise ValueError(f"noise: {name} must hold at least {shape}, came {came}")
        if kind.particles > 1 and len(arrays["future_components"]) != len(arrays["future_values"]):
            raise ValueError("noise: future_components and future_values must hold as many draws as each other")
        self.arrays = {name: arrays[name].copy() for name in kind.shapes()}
        self.kind = kind
        self.reset(0)

    @staticmethod
    def filled(kind: Randomness, seed: int) -> dict[str, NDArray[np.float32]]:
        """The arrays of a bank, each with far more rows than one decision takes."""
        generator = np.random.default_rng(seed)
        rows = max(1024, 8 * kind.samples)
        bank = {"candidates": FreshNoise(replace(kind, samples=rows), generator).candidates()}
        if kind.proposals:
            rows = max(256, 8 * kind.proposals)
            bank["proposals"] = FreshNoise(replace(kind, proposals=rows), generator).proposals()
        if kind.particles > 1:
            rows = max(256, 16 * kind.particles)
            futures = FreshNoise(replace(kind, particles=rows), generator).futures()
            bank["future_components"], bank["future_values"] = futures
        return bank

    def reset(self, seed: int) -> None:
        """Begin again: the same seed takes the same stretches."""
        self.seed, self.count = scrambled(seed & MASK), 0

    def futures(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draws (particles, H, K), (particles, H, S), as `FreshNoise.futures`."""
        begin = self._begin(len(self.arrays["future_values"]), self.kind.particles)
        stretch = slice(begin, begin + self.kind.particles)
        return self.arrays["future_components"][stretch], self.arrays["future_values"][stretch]

    def proposals(self) -> NDArray[np.float32]:
        """Draws (P, H, A), as `FreshNoise.proposals`."""
        noise = self._stretch("proposals", self.kind.proposals).copy()
        noise[0] = 0.0
        return noise

    def candidates(self) -> NDArray[np.float32]:
        """Draws (N, H, A), as `FreshNoise.candidates`."""
        return self._stretch("candidates", self.kind.samples)

    def _stretch(self, name: str, rows: int) -> NDArray[np.float32]:
        array = self.arrays[name]
        begin = self._begin(len(array), rows)
        return array[begin : begin + rows]

    def _begin(self, held: int, rows: int) -> int:
        """Where the next stretch of so many rows begins."""
        number = scrambled((self.seed + self.count) & MASK)
        self.count += 1
        return number % (held - rows + 1)

"""Random numbers for planning, drawn outside every graph so that plans repeat and boards agree with desktops."""

import numpy as np
from numpy.typing import NDArray


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

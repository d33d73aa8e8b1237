"""Handwritten digits to learn from: scikit-learn's, which come with it, enlarged and bent a little.

A part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998). Like MNIST's, they are
bright strokes in the middle of an image that is dark for the most part: where pixels are permuted, that decides how
much tasks disturb each other.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIDE, FILLED = 24, 16
"""Of an image, and of the middle of it that a scan fills [pixels]."""
FAINT, BRIGHT = 0.35, 0.75
"""Brightness in an enlarged scan that becomes 0, and that becomes 1."""
TEACHING = 1500
"""Source digits that are learned from; the last 297, which others wrote for the most part, are for tests alone."""
TRAINING_IMAGES, TEST_IMAGES = 10_500, 2_970
"""Made of them: seven of each and ten of each."""
ROTATION, SHEAR, SCALE, SHIFT = 0.1, 0.05, 0.05, 0.5
"""How far an image is bent at most: by an angle [rad], by shares, and along each axis [pixels]."""


class Samples(NamedTuple):
    """Images and what is to be said of them."""

    images: NDArray[np.float32]
    """Brightness from 0 to 1, pixel by pixel (n, SIDE * SIDE)."""
    labels: NDArray[np.int64]
    """Class of each (n,)."""

    def some(self, rng: np.random.Generator, count: int) -> "Samples":
        """As many at random, one perhaps more than once."""
        chosen = rng.integers(len(self.labels), size=count)
        return Samples(self.images[chosen], self.labels[chosen])

    @classmethod
    def joined(cls, parts: "list[Samples]") -> "Samples":
        """One after another."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Sources(NamedTuple):
    """Digits as they were scanned."""

    scans: NDArray[np.float32]
    """Brightness from 0 to 1 (n, 8, 8)."""
    labels: NDArray[np.int64]
    """Which digits they are (n,)."""


def sources() -> tuple[Sources, Sources]:
    """Those to learn from and those to be tested with, in the order of the file, in which writers follow each other.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("continual needs scikit-learn's digits; install it: pip install scikit-learn") from error

    found = load_digits()
    scans, labels = (found.images / 16.0).astype(np.float32), found.target.astype(np.int64)
    return Sources(scans[:TEACHING], labels[:TEACHING]), Sources(scans[TEACHING:], labels[TEACHING:])


def bent(of: Sources, count: int, rng: np.random.Generator) -> Samples:
    """Images of the digits in turn, each enlarged, and bent at random."""
    turn = np.arange(count) % len(of.labels)
    images = [_bent(of.scans[number], rng).ravel() for number in turn]
    return Samples(np.stack(images), of.labels[turn])


def _bent(scan: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """One image (SIDE, SIDE): at pixel p, the scan at A (p - the image's centre) + the scan's centre + shift."""
    angle, shear = rng.uniform(-ROTATION, ROTATION), rng.uniform(-SHEAR, SHEAR)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shrunk = len(scan) / FILLED
    matrix = shrunk * rotation @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag(1.0 + rng.uniform(-SCALE, SCALE, 2))
    shift = shrunk * rng.uniform(-SHIFT, SHIFT, 2)
    offset = (len(scan) - 1) / 2 - matrix @ np.full(2, (SIDE - 1) / 2) + shift
    # Beyond its edge a scan is dark, and between its last pixel and that it fades.
    enlarged = ndimage.affine_transform(scan, matrix, offset, (SIDE, SIDE), order=1, mode="grid-constant")
    return np.clip((enlarged - FAINT) / (BRIGHT - FAINT), 0.0, 1.0)

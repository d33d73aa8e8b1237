"""Short films as animated WebP, which browsers play and one file holds."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 2_000_000
"""Bytes a film may have."""
RATE = 20.0
"""Frames per second at most; slower plants are shown at their own rate."""
LAST_FRAME = 1.0
"""Time the last frame stays before the film begins again [s]."""
ATTEMPTS = ((75, 1), (50, 1), (40, 2), (30, 4), (20, 8))
"""Quality and pictures per frame kept, tried in this order until the film is small enough."""


def film(pictures: Sequence[NDArray[np.uint8]], period: float) -> bytes:
    """Animated WebP, in real time, of pictures (h, w, 3) taken every `period` seconds.

    Raises:
        ValueError: No pictures.
    """
    if not pictures:
        raise ValueError("a film needs at least one picture; render the task while it is driven")
    stride = max(1, round(1.0 / (RATE * period)))
    encoded = b""
    for quality, further in ATTEMPTS:
        encoded = _encoded(pictures, stride * further, period, quality)
        if len(encoded) <= LARGEST:
            break
    return encoded


def _encoded(pictures: Sequence[NDArray[np.uint8]], stride: int, period: float, quality: int) -> bytes:
    """Every `stride`-th picture, and the last one whatever the stride."""
    first, *rest = [Image.fromarray(picture) for picture in [*pictures[:-1:stride], pictures[-1]]]
    milliseconds = [round(1000 * stride * period)] * len(rest) + [round(1000 * LAST_FRAME)]
    memory = io.BytesIO()
    first.save(memory, "WEBP", save_all=True, append_images=rest, duration=milliseconds, loop=0, quality=quality)
    return memory.getvalue()

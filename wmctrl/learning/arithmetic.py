"""How torch computes on this machine."""

import ctypes

import torch

PERMITTED_ERROR = 1e-5
"""Of a product of 256 terms, relative to its largest element: fp32 stays a factor of ten below, bfloat16 far above."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of mallopt(3): M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
KEPT = 1 << 30
"""Bytes that the allocator keeps for what is computed next."""
LARGEST_KEPT = 32 << 20
"""Bytes of the largest block that it keeps; more it refuses."""


def prepare(threads: int = 1) -> None:
    """Set the threads of every operator, keep memory for it, and let oneDNN multiply where it is as precise as fp32.

    torch's first choice does not use AVX-512 on AMD's processors and takes twice as long. It leaves fp32 products to
    oneDNN only if that may round to bfloat16, which oneDNN does where bfloat16 is faster: there the first choice stays.
    """
    torch.set_num_threads(threads)
    _keep_memory()
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch makes this module's names at import
    products.fp32_precision = "bf16"
    if not _exact():
        products.fp32_precision = "ieee"


def _keep_memory() -> None:
    """Have glibc use again what tensors leave behind, instead of handing it back and being given empty pages.

    A decision of parking-v0 met 18,700 of these; without them it takes 118 ms instead of 150 (the best of 12 times 12
    each, by turns on one core with AVX-512).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(TRIM_THRESHOLD, KEPT)


def _exact() -> bool:
    """Whether products come out as precise as fp32 is."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    truth = left.double() @ right.double()
    return float((left @ right - truth).abs().max() / truth.abs().max()) < PERMITTED_ERROR

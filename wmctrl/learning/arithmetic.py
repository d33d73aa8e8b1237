"""How torch multiplies on this machine."""

import torch

PERMITTED_ERROR = 1e-5
"""Of a product of 256 terms, relative to its largest element: fp32 stays a factor of ten below, bfloat16 far above."""


def prepare(threads: int = 1) -> None:
    """Set the threads of every operator, and let oneDNN multiply matrices where it does so in full precision.

    torch's first choice does not use AVX-512 on AMD's processors and takes twice as long. It leaves fp32 products to
    oneDNN only if that may round to bfloat16, which oneDNN does where bfloat16 is faster: there the first choice stays.
    """
    torch.set_num_threads(threads)
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch makes this module's names at import
    products.fp32_precision = "bf16"
    if not _exact():
        products.fp32_precision = "ieee"


def _exact() -> bool:
    """Whether products come out as precise as fp32 is."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    truth = left.double() @ right.double()
    return float((left @ right - truth).abs().max() / truth.abs().max()) < PERMITTED_ERROR

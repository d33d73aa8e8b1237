"""Products stay as precise as fp32 is, whichever library multiplies; and memory is used again."""

import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from wmctrl.learning import arithmetic

products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch makes this module's names at import


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(arithmetic, "_keep_memory", lambda: None)  # for good: there is no way back
    threads, precision = torch.get_num_threads(), products.fp32_precision
    yield
    torch.set_num_threads(threads)
    products.fp32_precision = precision


def error_of_product(size: int = 200) -> float:
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.randn(size, size, generator=generator) for _ in range(2))
    truth = left.double() @ right.double()
    return float((left @ right - truth).abs().max() / truth.abs().max())


def test_prepared_products_keep_the_precision_of_fp32() -> None:
    arithmetic.prepare()
    assert error_of_product() < 2e-6


def test_a_library_that_rounds_to_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch.Tensor.__matmul__

    def rounding(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if left.dtype == torch.float32 and products.fp32_precision == "bf16":
            return exact(left.bfloat16(), right.bfloat16()).float()
        return exact(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    arithmetic.prepare()
    assert products.fp32_precision == "ieee"


@pytest.mark.parametrize("threads", [2, 3])  # one is what every test starts from
def test_threads_are_set(threads: int) -> None:
    arithmetic.prepare(threads)
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are not told what to keep")
def test_what_tensors_leave_behind_is_used_again() -> None:
    counted = """
import resource
import torch
from wmctrl.learning import arithmetic

def pages(size: int = 1 << 20) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        kept = [torch.ones(size) + 1.0 for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
before = pages()
arithmetic.prepare()
print(before, min(pages() for _ in range(5)))
"""
    told = subprocess.run([sys.executable, "-c", counted], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())
    assert after < before / 20, "at least once it has grown as large as it is needed"

"""What planning and learning cost on this machine, against the rate at which it can multiply matrices."""

import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from wmctrl.bench.breakdown import breakdown
from wmctrl.bench.gemm import Gemm, products_of, total_flops
from wmctrl.bench.roofline import LIBRARIES, Rating, libraries, rate, replays
from wmctrl.bench.workload import Question, Workload, workloads_of
from wmctrl.commands.provenance import command_line
from wmctrl.learning import arithmetic
from wmctrl.runtime.files import write_atomic

WARM_UP = 5
"""Calls before anything is timed."""
PROFILED = 10
"""Calls that the breakdown is taken from."""
LARGE = Gemm(1, 1024, 1024, 1024)
"""A product large enough to show the machine's rate at its best."""
SHOWN_RATES = 8
"""Sizes whose rates are shown: the large one, and those with the most work."""
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Title, columns, rows."""


@dataclass(frozen=True)
class Cost:
    """What one piece of work costs."""

    name: str
    threads: int
    model_steps: int
    flops: int
    """Of its matrix products."""
    p50: float
    """[s]"""
    p99: float
    """[s]"""
    products_p50: float
    """Its matrix products alone, each by the fastest library at its size [s]."""
    shares: dict[str, float]
    """Where the time goes, by kind of work; empty where another library than PyTorch spends it."""

    @property
    def fraction(self) -> float:
        """Of the machine's rate at the sizes used."""
        return self.products_p50 / self.p50


@dataclass(frozen=True)
class Rate:
    """How fast each library computes one size of product."""

    threads: int
    gemm: Gemm
    flops_per_second: dict[str, float]
    """By library [1/s]."""


@dataclass(frozen=True)
class Answer:
    """All that was measured with one number of threads."""

    costs: tuple[Cost, ...]
    rates: tuple[Rate, ...]
    """The large product first, then those with the most work."""


def bench(question: Question, threads: Sequence[int], patience: float = 900.0) -> Iterator[Answer]:
    """Measure with each number of threads, in a process of its own, since thread pools are fixed at first use.

    Args:
        patience: Longest time for one number of threads [s]. On a machine whose cores are taken, torch's threads wait
            for one another at every operator, and two can be a thousand times slower than one.

    Raises:
        ValueError: A measurement failed or took too long.
    """
    for count in threads:
        variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(count))
        try:
            done = subprocess.run(
                [sys.executable, "-m", "wmctrl.bench.cost"],
                input=json.dumps(asdict(question) | {"threads": count}),
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            busy = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            raise ValueError(
                f"not measured with {count} threads within {patience:g} s ({busy}); stop what else is running"
            ) from error
        if done.returncode:
            raise ValueError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
        yield from_json(json.loads(done.stdout.splitlines()[-1]))


def measure(question: Question, threads: int) -> Answer:
    """Measure in this process, which must not have computed anything yet."""
    arithmetic.prepare(threads)
    workloads = list(workloads_of(question))
    for work in workloads:
        for _ in range(WARM_UP):
            work.run()
    gemms = {work.name: products_of(work.twin or work.run) for work in workloads}
    counts = sum(gemms.values(), Counter({LARGE: 1}))
    tried = libraries(threads)
    ratings = {gemm: rate(gemm, tried) for gemm in counts}
    costs = tuple(_costs(workloads, gemms, ratings, question.repetitions, threads))
    by_work = sorted(ratings, key=lambda gemm: (gemm != LARGE, -counts[gemm] * gemm.flops))
    rates = (Rate(threads, gemm, {name: ratings[gemm].rate(name) for name in LIBRARIES}) for gemm in by_work)
    return Answer(costs, tuple(rates))


def _costs(
    workloads: Sequence[Workload],
    gemms: Mapping[str, Counter[Gemm]],
    ratings: Mapping[Gemm, Rating],
    repetitions: int,
    threads: int,
) -> Iterator[Cost]:
    """Time every workload and its products in turn, so that whatever else the machine does hits both alike."""
    for work in workloads:
        calls = [work.run, *replays(gemms[work.name], ratings)]
        seconds = np.array([[settled(call) for call in calls] for _ in range(repetitions)])
        whole, products = seconds[:, 0], seconds[:, 1:].sum(1)
        yield Cost(
            name=work.name,
            threads=threads,
            model_steps=work.model_steps,
            flops=total_flops(gemms[work.name]),
            p50=float(np.median(whole)),
            p99=float(np.quantile(whole, 0.99)),
            products_p50=float(np.median(products)),
            shares={} if work.twin else breakdown(work.run, PROFILED),
        )


def settled(call: Callable[[], object]) -> float:
    """Duration of the second of two calls [s], when no other library's threads wait on the cores any more."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def from_json(answer: dict[str, Any]) -> Answer:
    """An answer as it came from another process."""
    costs = tuple(Cost(**cost) for cost in answer["costs"])
    rates = (Rate(one["threads"], Gemm(*one["gemm"]), one["flops_per_second"]) for one in answer["rates"])
    return Answer(costs, tuple(rates))


def tables(answers: Sequence[Answer]) -> Iterator[Table]:
    """What costs what, where the time goes, and how fast the libraries are."""
    costs = [cost for answer in answers for cost in answer.costs]
    yield (
        "cost (GFLOP: matrix products; limit: those products alone, each by the fastest library at its size)",
        ("what", "threads", "model steps", "GFLOP", "p50 ms", "p99 ms", "limit ms", "of the limit"),
        [_cost_row(cost) for cost in costs],
    )
    known = [cost for cost in costs if cost.shares]
    yield (
        "where the time goes, ms of p50",
        ("what", *(f"{cost.name.removeprefix('update: ')}, {cost.threads} thr." for cost in known)),
        [(kind, *(f"{1e3 * cost.shares[kind] * cost.p50:.1f}" for cost in known)) for kind in known[0].shares],
    )
    yield (
        "rates, GFLOP/s",
        ("product", "threads", *LIBRARIES),
        [_rate_row(one) for answer in answers for one in answer.rates[:SHOWN_RATES]],
    )


def _cost_row(cost: Cost) -> tuple[str, ...]:
    milliseconds = (f"{1e3 * seconds:.1f}" for seconds in (cost.p50, cost.p99, cost.products_p50))
    return (
        cost.name,
        str(cost.threads),
        f"{cost.model_steps:,}",
        f"{cost.flops / 1e9:.2f}",
        *milliseconds,
        f"{100 * cost.fraction:.0f} %",
    )


def _rate_row(one: Rate) -> tuple[str, ...]:
    g = one.gemm
    size = f"{g.rows}x{g.inner}x{g.columns}" if g.batch == 1 else f"{g.batch} x {g.rows}x{g.inner}x{g.columns}"
    return size, str(one.threads), *(f"{one.flops_per_second[library] / 1e9:.0f}" for library in LIBRARIES)


def write_json(path: Path, question: Question, answers: Sequence[Answer]) -> None:
    """Keep everything measured, with what it depends on."""
    write_atomic(path, json.dumps(to_json(question, answers), indent=1).encode())


def to_json(question: Question, answers: Sequence[Answer]) -> dict[str, Any]:
    """Everything measured, with what it depends on."""
    packages = {"torch": torch.__version__, "numpy": np.__version__, "onnxruntime": onnxruntime.__version__}
    return {
        "command": command_line(),
        "question": asdict(question),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "load": os.getloadavg(),
        },
        "versions": {"python": platform.python_version(), **packages},
        "costs": [asdict(cost) | {"fraction": cost.fraction} for answer in answers for cost in answer.costs],
        "rates": [asdict(one) for answer in answers for one in answer.rates],
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def answer_another_process() -> None:
    """Read a question from the standard input, and write the answer to the standard output."""
    asked = json.load(sys.stdin)
    threads = asked.pop("threads")
    answer = measure(Question(**asked | {"parts": tuple(asked["parts"])}), threads)
    sys.stdout.write(json.dumps(asdict(answer)) + "\n")


if __name__ == "__main__":
    answer_another_process()

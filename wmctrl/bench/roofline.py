"""How fast this machine multiplies matrices: the best of the libraries at hand, at the sizes that are used."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from wmctrl.bench.gemm import Gemm

Call = Callable[[], object]
"""Does one piece of work; a library's returns its product, in the same memory every time."""
PROBES = 9
"""Timed calls of each library at each size; the fastest counts."""


def torch_call(gemm: Gemm) -> Call:
    """One product by torch, into memory that is there already."""
    left, right = map(torch.from_numpy, operands(gemm))
    out = left @ right
    if gemm.batch == 1:
        return lambda: torch.mm(left, right, out=out)
    return lambda: torch.bmm(left, right, out=out)


def numpy_call(gemm: Gemm) -> Call:
    """One product by numpy, into memory that is there already."""
    left, right = operands(gemm)
    out = left @ right
    return lambda: np.matmul(left, right, out=out)


def onnx_call(gemm: Gemm, options: ort.SessionOptions) -> Call:
    """One product by ONNX Runtime, the right operand constant, as weights are where it is deployed."""
    left, right = operands(gemm)
    out = left @ right
    session = ort.InferenceSession(_graph(left, right), options, ["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("left", ort.OrtValue.ortvalue_from_numpy(left))
    binding.bind_ortvalue_output("out", ort.OrtValue.ortvalue_from_numpy(out))  # on a CPU it is the same memory

    def call() -> NDArray[np.float32]:
        session.run_with_iobinding(binding)
        return out

    return call


LIBRARIES = ("torch", "numpy", "onnxruntime")
"""What is tried, in the order of tables."""
Library = Callable[[Gemm], Call]


def libraries(threads: int) -> dict[str, Library]:
    """Every library; torch and numpy take their threads from the environment.

    With several threads, all sessions from now on share one pool of them, or those of one session would wait, spinning,
    on cores that the next one needs. ONNX Runtime refuses sessions with threads of their own from then on, so engines
    must have been made before; they keep theirs.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if threads > 1:
        ort.set_global_thread_pool_sizes(threads, 1)
        options.use_per_session_threads = False
    return dict(zip(LIBRARIES, (torch_call, numpy_call, partial(onnx_call, options=options)), strict=True))


@dataclass(frozen=True)
class Rating:
    """How long each library takes for one product."""

    gemm: Gemm
    seconds: Mapping[str, float]
    """By library, fastest call."""
    call: Call
    """One product by the fastest library."""

    @property
    def best(self) -> str:
        """The fastest library."""
        return min(self.seconds, key=self.seconds.__getitem__)

    def rate(self, library: str) -> float:
        """Floating-point operations per second [1/s]."""
        return self.gemm.flops / self.seconds[library]


def rate(gemm: Gemm, libraries: Mapping[str, Library]) -> Rating:
    """Try every library at one size."""
    calls = {name: make(gemm) for name, make in libraries.items()}
    seconds = {name: _fastest(call) for name, call in calls.items()}
    return Rating(gemm, seconds, calls[min(seconds, key=seconds.__getitem__)])


def replays(gemms: Mapping[Gemm, int], ratings: Mapping[Gemm, Rating]) -> list[Call]:
    """All products, each as often as counted and with the library that is fastest at its size: a call per library.

    They are calls apart because a library's idle threads wait spinning, for a while, on cores that the next one needs.
    """
    calls: dict[str, list[tuple[Call, int]]] = {}
    for gemm, count in gemms.items():
        calls.setdefault(ratings[gemm].best, []).append((ratings[gemm].call, count))
    return [partial(_repeat, group) for group in calls.values()]


def _repeat(calls: Sequence[tuple[Call, int]]) -> None:
    for call, count in calls:
        for _ in range(count):
            call()


def operands(gemm: Gemm) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two random matrices, or batches of them where there is more than one."""
    generator = np.random.default_rng(0)
    batch = (gemm.batch,) if gemm.batch > 1 else ()
    left = generator.standard_normal((*batch, gemm.rows, gemm.inner), dtype=np.float32)
    return left, generator.standard_normal((*batch, gemm.inner, gemm.columns), dtype=np.float32)


def _fastest(call: Call) -> float:
    """Duration of the fastest of some calls [s], two for warming up not counted."""
    seconds = []
    for _ in range(PROBES + 2):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])


def _graph(left: NDArray[np.float32], right: NDArray[np.float32]) -> bytes:
    """A serialised ONNX model of one product."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["out"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, left.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (left @ right).shape)],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()

"""Where the time of a piece of torch code goes, by kind of work."""

import re
import time
from collections.abc import Callable, Mapping

from torch.profiler import ProfilerActivity, profile

KINDS: Mapping[str, str] = {
    "matrix products": r"(add)?(mm|mv)|bmm|baddbmm|.*convolution.*",
    "normalisation": r"native_layer_norm.*",
    "activations": r"_?(silu|tanh|sigmoid|softplus|relu|threshold|log_softmax|softmax).*",
    "optimiser and averages": r"_fused_adam_|_foreach_.*|linalg_vector_norm|lerp_",
    "concatenation and copies": r"(cat|stack|copy_|clone|contiguous|index|gather|scatter|fill_|zero_|empty|_to_copy).*",
    "views": r"(t|view|_unsafe_view|transpose|expand|select|slice|split|narrow|unbind|squeeze|unsqueeze|as_strided|"
    r"reshape|detach|permute|unflatten|flatten|chunk|to|linear|matmul)",
    "other element-wise": r".*",
}
"""Operators that belong together, by name; the first match counts."""
OVERHEAD = "autograd and Python"
"""What is left: building and walking the graph, the interpreter, and the profiler itself."""


def breakdown(call: Callable[[], object], repetitions: int) -> dict[str, float]:
    """Share of the time that each kind of work takes; the shares sum to one.

    An operator's share includes its dispatch. The profiler slows small operators most, so overhead is overstated.
    """
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        for _ in range(repetitions):
            call()
        total = 1e6 * (time.perf_counter() - start)  # [us]
    spent = dict.fromkeys((*KINDS, OVERHEAD), 0.0)
    for event in profiler.key_averages():
        spent[kind(event.key)] += event.self_cpu_time_total / total
    spent[OVERHEAD] = 1.0 - sum(share for name, share in spent.items() if name != OVERHEAD)
    return spent


def kind(event: str) -> str:
    """The kind of work a profiler's event is."""
    operator = event.removeprefix("aten::")
    if operator == event:
        return OVERHEAD
    return next(name for name, pattern in KINDS.items() if re.fullmatch(pattern, operator))

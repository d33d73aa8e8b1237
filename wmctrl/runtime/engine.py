"""ONNX Runtime behind one small door: sessions of a bundle's graphs on the best device that really computes."""

import contextlib
import hashlib
import os.path
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from wmctrl.runtime.arguments import numbers
from wmctrl.runtime.manifest import GraphFile
from wmctrl.runtime.onnx_parameters import Parametric
from wmctrl.runtime.records import shown

Arrays = Mapping[str, NDArray[Any]]
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Short names of what can compute, fastest first."""
CACHE = Path("~/.cache/wmctrl")
"""Where engines are kept on a board: a bundle's folder may be read-only, and its manifest names all that is in it."""
WARNINGS, ERRORS_ALONE, FATAL_ALONE = 2, 3, 4
"""ONNX Runtime's logging severities."""


def present() -> list[str]:
    """Providers that this ONNX Runtime was built with, fastest first; whether they work here shows in trying."""
    built = ort.get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in built]


class Computes(Protocol):
    """Whatever computes a bundle's graphs."""

    provider: str

    def run(self, name: str, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""


class Prepared(NamedTuple):
    """What computes with some parameters, by the graphs' names."""

    sessions: dict[str, Any]
    values: dict[str, dict[str, NDArray[Any]]]
    """Of the parameters that differ from those in the files, as the graphs hold them."""


class Engine:
    """The sessions of a bundle's graphs."""

    def __init__(
        self, graphs: Mapping[str, GraphFile], contents: Mapping[str, bytes], provider: str, threads: int
    ) -> None:
        """
        Args:
            contents: Of every graph's file, checked before.
            provider: A name of PROVIDERS.

        Raises:
            ValueError: ONNX Runtime does not take a graph, was built without the provider, or does not load it.
        """
        if provider not in present():
            raise ValueError(
                f"ONNX Runtime {ort.__version__} was built without it here; choose {' or '.join(present())}, or install"
                " a build that has it"
            )
        self.graphs, self.provider, self.threads = graphs, provider, threads
        self.constant = provider == "cpu"
        """Whether sessions hold parameters as constants: faster on a CPU, where TensorRT would build for minutes."""
        self.files = {name: Parametric(contents[graph.file], graph.file) for name, graph in graphs.items()}
        sessions = {name: self._session(name, {}) for name in graphs}
        self.held = Prepared(sessions, {name: {} for name in graphs})
        """What computes now."""
        self._replaced: Prepared | None = None
        """What computed before, which takes milliseconds to be given back: whoever prepares the next has the time."""

    def run(self, name: str, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name.

        Raises:
            ValueError: ONNX Runtime gives up, at an index beyond its axis say.
        """
        held = self.held
        given = feeds if self.constant else {**feeds, **held.values[name]}
        try:
            outputs = held.sessions[name].run(None, given)
        except Exception as error:  # ONNX Runtime's own kinds, which share no ancestor
            raise ValueError(f"{name}: {' '.join(str(error).split())}") from error
        return {port.name: value for port, value in zip(self.graphs[name].outputs, outputs, strict=True)}

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the networks' parameters, as `override` takes them."""
        shapes: dict[str, tuple[int, ...]] = {}
        for file in self.files.values():
            for name, parameter in file.parameters.items():
                turned = name.endswith(TRANSPOSED)
                shapes[name.removesuffix(TRANSPOSED)] = parameter.shape[::-1] if turned else parameter.shape
        return shapes

    def override(self, values: Arrays) -> None:
        """Compute with other parameters from now on; those that are not named keep what they have.

        Where decisions must not wait, call `prepared` in another thread, and `take` between two of them.

        Args:
            values: By name, of float32; a graph in half precision rounds them.

        Raises:
            ValueError: There is no such parameter, or it is of another shape, not finite, or beyond what a graph's type
                holds; nothing has changed.
        """
        self.take(self.prepared(values))

    def prepared(self, values: Arrays) -> Prepared:
        """What computes with other parameters, for `take`; the arguments and refusals are those of `override`.

        On a CPU it takes tenths of a second, in which other threads go on computing.
        """
        self._replaced = None
        given, held = self._given(values), self.held
        sessions, changed = dict(held.sessions), dict(held.values)
        for graph, file in self.files.items():
            others = {}
            for name, parameter in file.parameters.items():
                plain = name.removesuffix(TRANSPOSED)
                if plain in given:
                    value = rounded(given[plain], parameter.dtype, plain)
                    others[name] = np.ascontiguousarray(value.T if name.endswith(TRANSPOSED) else value)
            if others:
                changed[graph] = held.values[graph] | others
                if self.constant:
                    sessions[graph] = self._session(graph, changed[graph])
                    still = {port.name: np.zeros(port.shape, port.dtype) for port in self.graphs[graph].inputs}
                    sessions[graph].run(None, still)  # the first run is slower
        return Prepared(sessions, changed)

    def take(self, prepared: Prepared) -> None:
        """Compute with prepared parameters from now on; whatever runs meanwhile ends with the old ones."""
        self._replaced, self.held = self.held, prepared

    def _given(self, values: Arrays) -> dict[str, NDArray[Any]]:
        """Parameters as arrays, where the graphs have such ones and they are finite."""
        if not isinstance(values, Mapping):
            raise ValueError(f"parameters must be a dictionary of arrays by name, came {shown(values)}")
        shapes, given = self.parameters(), {}
        for name, value in values.items():
            if name not in shapes:
                raise ValueError(f"no graph has a parameter {name}; see `parameters`")
            given[name] = numbers(name, value, shapes[name])
            if not np.isfinite(given[name]).all():
                raise ValueError(f"{name} must be finite, came {shown(value)}")
        return given

    def _session(self, name: str, values: Arrays) -> Any:
        file = self.files[name]
        content = file.fixed(values) if self.constant else file.content
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = ERRORS_ALONE
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a waiting thread leaves its core
        wanted = PROVIDERS[self.provider]
        given = {wanted: settings(self.provider, content)}
        given.setdefault(PROVIDERS["cpu"], {})  # for what a GPU's provider leaves out
        try:
            with quiet() if self.provider != "cpu" else contextlib.nullcontext():
                # Without its own fallback, which prints what went wrong and goes on with the CPU unasked.
                session = ort.InferenceSession(content, options, providers=[*given.items()], enable_fallback=0)
        except Exception as error:  # ONNX Runtime's own kinds, which share no ancestor
            raise ValueError(f"ONNX Runtime does not take it: {' '.join(str(error).split())}") from error
        if wanted not in session.get_providers():
            raise ValueError(
                "does not load here: its libraries or its device are missing, or of other versions than ONNX Runtime"
                f" {ort.__version__} asks for; see onnxruntime.ai/docs/execution-providers"
            )
        return session


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep off the terminal what ONNX Runtime logs of a provider that does not load; we say that in one line."""
    ort.set_default_logger_severity(FATAL_ALONE)
    try:
        yield
    finally:
        ort.set_default_logger_severity(WARNINGS)  # it starts with that, and does not tell what it is set to


def settings(provider: str, content: bytes) -> dict[str, str]:
    """What a provider is told beside a graph's content: TensorRT, where to keep the engines that take it minutes.

    It tells them apart by the graph's shape, not by the weights, so every content has a folder of its own.
    """
    if provider != "tensorrt":
        return {}
    home = os.path.join(os.path.expanduser(str(CACHE)), hashlib.sha256(content).hexdigest()[:16])
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": home,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": home,
    }


TRANSPOSED = ".T"
"""Ends the names of parameters that a graph holds transposed."""


def rounded(value: NDArray[Any], dtype: type[np.float32] | type[np.float16], name: str) -> NDArray[Any]:
    """A parameter as a graph holds it.

    Raises:
        ValueError: It is finite, and beyond the type.
    """
    with np.errstate(over="ignore"):
        array = value.astype(dtype)
    if np.isfinite(value).all() and not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be at most {np.finfo(dtype).max:,} in this bundle's precision, came {np.abs(value).max():,}"
        )
    return array

"""ONNX Runtime behind one small door: sessions of a bundle's graphs on the best device that really computes."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from wmctrl.runtime.manifest import GraphFile

Arrays = Mapping[str, NDArray[Any]]
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Short names of what can compute, fastest first."""
ERRORS_ALONE = 3
"""ONNX Runtime's logging severity."""


def present() -> list[str]:
    """Providers that this ONNX Runtime was built with, fastest first; whether they work here shows in trying."""
    built = ort.get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in built]


class Computes(Protocol):
    """Whatever computes a bundle's graphs."""

    provider: str

    def run(self, name: str, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""


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
            ValueError: ONNX Runtime does not take a graph, or the provider does not load.
        """
        self.graphs, self.provider = graphs, provider
        self.sessions = {name: self._session(contents[graph.file], threads) for name, graph in graphs.items()}
        self.overrides: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in graphs}

    def run(self, name: str, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name.

        Raises:
            ValueError: ONNX Runtime gives up, at an index beyond its axis say.
        """
        try:
            outputs = self.sessions[name].run(None, {**feeds, **self.overrides[name]})
        except Exception as error:  # ONNX Runtime's own kinds, which share no ancestor
            raise ValueError(f"{name}: {' '.join(str(error).split())}") from error
        return {port.name: value for port, value in zip(self.graphs[name].outputs, outputs, strict=True)}

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the networks' parameters, as `override` takes them."""
        shapes: dict[str, tuple[int, ...]] = {}
        for session in self.sessions.values():
            for value in session.get_overridable_initializers():
                name, turned = value.name.removesuffix(TRANSPOSED), value.name.endswith(TRANSPOSED)
                shapes[name] = tuple(reversed(value.shape)) if turned else tuple(value.shape)
        return shapes

    def override(self, values: Arrays) -> None:
        """Compute with other parameters from now on; those that are not named keep what they have.

        Args:
            values: By name; a graph in half precision rounds them.

        Raises:
            ValueError: There is no such parameter, or it is of another shape, or beyond half precision where a graph
                has that; nothing has changed.
        """
        shapes = self.parameters()
        for name, value in values.items():
            if name not in shapes:
                raise ValueError(f"no graph has a parameter {name}; see `parameters`")
            if value.shape != shapes[name]:
                raise ValueError(f"{name} must be of shape {shapes[name]}, came {value.shape}")
        given: dict[str, dict[str, NDArray[Any]]] = {graph: {} for graph in self.sessions}
        for graph, session in self.sessions.items():
            for port in session.get_overridable_initializers():
                name = port.name.removesuffix(TRANSPOSED)
                if name in values:
                    value = values[name].T if port.name.endswith(TRANSPOSED) else values[name]
                    given[graph][port.name] = rounded(value, name, TYPES[port.type])
        for graph, arrays in given.items():
            self.overrides[graph] |= arrays

    def _session(self, content: bytes, threads: int) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = ERRORS_ALONE
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a waiting thread leaves its core
        wanted = PROVIDERS[self.provider]
        try:
            session = ort.InferenceSession(content, options, providers=list(dict.fromkeys((wanted, PROVIDERS["cpu"]))))
        except Exception as error:  # ONNX Runtime's own kinds, which share no ancestor
            raise ValueError(f"ONNX Runtime does not take it: {' '.join(str(error).split())}") from error
        if wanted not in session.get_providers():
            raise ValueError(f"the provider {self.provider} does not load here")
        return session


TRANSPOSED = ".T"
"""Ends the names of parameters that a graph holds transposed."""
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""Of parameters, by ONNX Runtime's name."""


def rounded(value: NDArray[Any], name: str, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """A parameter as a graph takes it.

    Raises:
        ValueError: It is beyond the type.
    """
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(value, dtype)
    if not np.isfinite(array).all() and np.isfinite(value).all():
        most = np.finfo(dtype).max
        raise ValueError(f"{name} must be at most {most:,.0f} in size in this bundle, came {np.abs(value).max():.3g}")
    return array

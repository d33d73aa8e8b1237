"""A bundle's folder, read and checked before anything in it is used."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from wmctrl.runtime import ed25519, manifest, onnx_file, tensors
from wmctrl.runtime.files import read_bounded
from wmctrl.runtime.manifest import GraphFile, Manifest

SIGNATURE = "manifest.sig"
LARGEST_SIGNATURE = 64
"""Bytes of an Ed25519 signature."""
NOISE = "noise.safetensors"
GOLDEN = "golden.safetensors"
PARAMETERS, IMPORTANCE, NOMINAL = "parameters.safetensors", "importance.safetensors", "nominal.safetensors"
"""What a learner goes on from."""
LARGEST_MANIFEST = 4 << 20
REMEDY = "copy the bundle's folder again, or export the run again with `wm export RUN`"
"""Ends every refusal of what is in a folder."""


@dataclass(frozen=True)
class Bundle:
    """Everything of a bundle, checked."""

    folder: Path
    manifest: Manifest
    graphs: dict[str, bytes]
    """Contents of the graphs' files by file name."""
    noise: dict[str, NDArray[Any]]
    golden: dict[str, NDArray[Any]]
    parameters: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Of the networks, where it learns."""
    importance: dict[str, NDArray[Any]] = field(default_factory=dict)
    """How much they matter to what was learned: a diagonal of the Fisher information."""
    nominal: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Steps on the plant that was learned, in order, and their `surprise` [nats]."""


def load(folder: Path, public_key: bytes | None = None, *, learning: bool = False) -> Bundle:
    """Read a bundle and check all of it.

    Args:
        public_key: Whose signature is required, if one is (32,).
        learning: Whether the graphs of learning are wanted as well.

    Raises:
        ValueError: Says in one line what is wrong with which file, and what to do.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name a bundle's folder, which `wm export RUN` writes")
    try:
        return _checked(folder, public_key, learning)
    except ValueError as error:
        raise ValueError(f"{error}; {REMEDY}") from None


def _checked(folder: Path, public_key: bytes | None, learning: bool) -> Bundle:
    content = read_bounded(folder / manifest.NAME, LARGEST_MANIFEST)
    if public_key is not None:
        _require_signature(folder, content, public_key)
    told = manifest.parse(content)
    if public_key is not None:
        _require_nothing_else(folder, told)
    wanted = [*told.graphs.values(), *(told.learning.values() if learning else ())]
    files = {graph.file for graph in wanted}
    contents = {}
    for name in told.files:
        content = verified(folder, name, told)
        if name in files | {NOISE, GOLDEN} | ({PARAMETERS, IMPORTANCE, NOMINAL} if learning else set()):
            contents[name] = content
    work = 0
    for name, graph in told.graphs.items():
        found = _inspected(f"graphs.{name}", graph, contents)
        _hold_precision(told.precision, graph.file, found)
        work += found.work * max(1, told.calls(name))
    if learning:
        for name, graph in told.learning.items():
            _inspected(f"learning.{name}", graph, contents)
    if work > onnx_file.MOST_WORK:
        raise ValueError(
            f"{manifest.NAME}: a decision does {work:,} multiply-adds, expected at most {onnx_file.MOST_WORK:,}"
        )
    return Bundle(
        folder,
        told,
        {file: contents[file] for file in files},
        _arrays(contents, NOISE),
        _arrays(contents, GOLDEN),
        *(_arrays(contents, name) if name in contents else {} for name in (PARAMETERS, IMPORTANCE, NOMINAL)),
    )


def _require_signature(folder: Path, content: bytes, public_key: bytes) -> None:
    try:
        signature = read_bounded(folder / SIGNATURE, LARGEST_SIGNATURE)
    except ValueError as error:
        raise ValueError(f"a signature is required, which `wm export RUN --sign KEY` makes: {error}") from None
    if not ed25519.verify(public_key, content, signature):
        raise ValueError(f"{SIGNATURE}: is not this key's signature of {manifest.NAME}")


def _require_nothing_else(folder: Path, told: Manifest) -> None:
    """Refuse a signed folder with a file that nobody signed: Python would import it before any of its own."""
    known = {*told.files, manifest.NAME, SIGNATURE}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in known and (path.is_symlink() or not path.is_dir()):
            raise ValueError(f"{name}: is not in {manifest.NAME}, so nobody signed it; delete it")


def verified(folder: Path, name: str, told: Manifest) -> bytes:
    """The content of a file that the manifest names.

    Raises:
        ValueError: It is missing, or not what the manifest tells.
    """
    entry = told.files[name]
    content = read_bounded(folder / name, entry.bytes)
    if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ValueError(f"{name}: is damaged, its SHA-256 is not the one in {manifest.NAME}")
    return content


def _arrays(contents: dict[str, bytes], name: str) -> dict[str, NDArray[Any]]:
    if name not in contents:
        raise ValueError(f"{manifest.NAME}: files: {name} is missing")
    return tensors.parse(contents[name], name)


def _inspected(place: str, told: GraphFile, contents: dict[str, bytes]) -> onnx_file.Graph:
    """What is in a graph's file, held to what the manifest tells of it."""
    found = onnx_file.inspect(contents[told.file], told.file)
    _hold_ports(place, told, found)
    return found


def _hold_precision(told: str, file: str, found: onnx_file.Graph) -> None:
    """Hold a graph that drives to a precision: its networks keep theirs in their parameters."""
    came = "fp16" if any(port.dtype == "float16" for port in found.initialisers) else "fp32"
    if came != told:
        raise ValueError(f"{file}: has parameters of {came}, {manifest.NAME} tells {told}")


def _hold_ports(place: str, told: GraphFile, found: onnx_file.Graph) -> None:
    """Hold a graph to what the manifest tells of it; parameters that can be overridden come beside."""
    held = {port.name for port in found.initialisers}
    for what, ports, actual in (
        ("inputs", told.inputs, [port for port in found.inputs if port.name not in held]),
        ("outputs", told.outputs, found.outputs),
    ):
        wanted = [(port.name, port.dtype, port.shape) for port in ports]
        came = [(port.name, port.dtype, port.shape) for port in actual]
        if wanted != came:
            differing = next((pair for pair in zip(wanted, came, strict=False) if pair[0] != pair[1]), (wanted, came))
            raise ValueError(f"{told.file}: {what} differ from {place}: {differing[1]} instead of {differing[0]}")

"""Boards that a bundle is written for, and the page that leads a person from its folder to a p99 on one of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import onnxruntime

from wmctrl.runtime.engine import CACHE, settings
from wmctrl.runtime.manifest import Manifest
from wmctrl.runtime.plant import Element, Task

PAGE = "BOARD.md"
"""What the page is called in a bundle."""
HOME = f"$HOME/{CACHE.relative_to('~')}"
"""The cache of engines, as a shell names it."""


@dataclass(frozen=True)
class Target:
    """A kind of machine that drives."""

    machine: str
    python: str
    """The version it comes with."""
    tensorrt: str = ""
    """The version it comes with; empty where there is none."""


TARGETS = {
    "generic": Target("any machine", "3.10 or newer"),
    "x86": Target("a PC", "3.10 or newer"),
    "jetson-jp6": Target("a Jetson with JetPack 6", "3.10", "10.3"),
    "jetson-jp7": Target("a Jetson with JetPack 7.2", "3.12", "10.16"),
}


def page(told: Manifest, target: Target) -> str:
    """The page for a bundle on a kind of machine."""
    period = 1000.0 * told.task.control_period
    react = ", or `--policy`, which reacts without planning" if "policy" in told.graphs else ""
    text = f"""# Driving {told.task.id} on {target.machine}

A decision is due every {period:g} ms. It takes numpy, ONNX Runtime and Python {target.python}; nothing else.
It was checked with ONNX Runtime {onnxruntime.__version__}.

1. Copy this folder to the machine: `scp -r bundle USER@BOARD:bundle`, then `ssh USER@BOARD`.
2. Once: `python3 -m venv ~/wmctrl && ~/wmctrl/bin/pip install numpy onnxruntime`
3. `~/wmctrl/bin/python bundle/run.py --decisions 1000`

It checks every file, repeats the golden steps on the device that will drive, and prints how long a decision took at p50
and p99, and how many took longer than the period. Where the median does, it refuses: `--untimed` shows by how much, and
`--threads 2` may help{react}.
"""
    return text + ports(told.task) + (with_tensorrt(told, target) if target.tensorrt else "")


def ports(task: Task) -> str:
    """What goes in and out of a decision, element by element, in order."""
    observed = {"proprio": task.proprio, "goal": task.goal}
    seen = [row(f"{part}[{i}]", one) for part, elements in observed.items() for i, one in enumerate(elements)]
    if task.camera:
        seen.append(("`camera`", "uint8 pixels, {} x {} x {}".format(*task.camera), "1", "0", "255"))
    sent = [row(f"command[{i}]", one) for i, one in enumerate(task.action)]
    return f"""
## What goes in and out

`controller.act` takes sensors as they are, in these units and this order; `manifest.json` tells the same to a program.

{table(("observation", "element", "unit", "ordinarily from", "to"), seen)}

It gives a command from -1 to 1 of every element, which stands for this:

{table(("action", "element", "unit", "-1", "1"), sent)}
"""


def row(place: str, one: Element) -> tuple[str, ...]:
    """An element as a row of a table."""
    ends = ("-" if end is None else f"{end:g}" for end in (one.low, one.high))
    return (f"`{place}`", one.name, one.unit, *ends)


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    heads = [*columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def with_tensorrt(told: Manifest, target: Target) -> str:
    """How the graphs run on the board's own TensorRT."""
    commands = "\n\n".join(trtexec(graph.file, told.files[graph.file].sha256) for graph in told.graphs.values())
    told_to = settings("tensorrt", b"").items()
    kept = "\n".join(
        f"    {name} = {HOME}/HASH" if name.endswith("path") else f"    {name} = {value}" for name, value in told_to
    )
    return f"""
## With TensorRT {target.tensorrt}

These build an engine of every graph, once, and time it. Engines are kept by the graph's hash, so a bundle never meets
another one's; they hold for this board and this TensorRT alone. `percentile(99%)` under `GPU Compute Time` is the p99
of one call; {calls(told)}.

```sh
mkdir -p {HOME}
{commands}
```

Where ONNX Runtime itself was built with TensorRT, as NVIDIA's packages for JetPack are, `run.py --provider tensorrt`
drives through it, with these settings of the provider, HASH being the first 16 digits of a graph's SHA-256; the first
start builds its engines, and takes minutes:

{kept}

What is written here follows NVIDIA's and ONNX Runtime's documentation; it has not been tried on a board yet.
"""


def trtexec(file: str, sha256: str) -> str:
    """The command that builds and times a graph's engine."""
    name = file.removesuffix(".onnx")
    return (
        f"/usr/src/tensorrt/bin/trtexec --onnx=bundle/{file} --stronglyTyped \\\n"
        f"  --saveEngine={HOME}/{name}-{sha256[:16]}.engine --timingCacheFile={HOME}/timing.cache \\\n"
        "  --useCudaGraph --useSpinWait --noDataTransfers --iterations=1000 --percentile=99"
    )


def calls(told: Manifest) -> str:
    """What a decision calls, in words."""
    if told.planning is None:
        return "a decision calls observe and policy once"
    often = f"refine {told.planning.iterations} times" if told.planning.iterations > 1 else "refine once"
    return f"a decision calls observe{', propose' if 'propose' in told.graphs else ''} once and {often}"

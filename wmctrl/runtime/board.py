"""What `python3 run.py` does in a bundle's folder: the controller loaded, checked and timed."""

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import PROVIDERS


def main(folder: Path, arguments: list[str]) -> int:
    """Load the bundle in a folder, time some decisions, and say what was found; 2 with a reason where it is refused."""
    options = parser().parse_args(arguments)
    began = time.perf_counter()
    try:
        controller = Controller.load(
            folder,
            provider=options.provider,
            threads=options.threads,
            policy_only=options.policy,
            public_key_hex=options.require_signature,
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"refused: {error}\n")
        return 2
    loaded = time.perf_counter() - began
    task = controller.bundle.manifest.task
    lines = [
        f"{task.id}: loaded, checked and golden steps repeated in {loaded:.2f} s on {controller.engine.provider}",
        latency(controller, options.decisions),
        f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """What can be asked of a bundle."""
    found = argparse.ArgumentParser(prog="run.py", description="load, check and time this controller")
    found.add_argument("--self-test", action="store_true", help="what happens anyhow; for a name in scripts")
    found.add_argument("--decisions", type=int, default=100, metavar="N", help="how many to time (100)")
    found.add_argument("--provider", choices=tuple(PROVIDERS), help="what computes (the first that works)")
    found.add_argument("--threads", type=int, default=1, metavar="N", help="of ONNX Runtime (1)")
    found.add_argument("--policy", action="store_true", help="react without planning")
    found.add_argument("--require-signature", metavar="HEX", help="refuse unless signed by this Ed25519 public key")
    return found


def latency(controller: Controller, decisions: int) -> str:
    """Time of decisions on random observations, beside the control period."""
    task = controller.bundle.manifest.task
    generator = np.random.default_rng(0)
    controller.reset()
    seconds = []
    for _ in range(decisions):
        observation: dict[str, NDArray[Any]] = {
            "proprio": generator.standard_normal(len(task.proprio)),
            "goal": generator.standard_normal(len(task.goal)),
        }
        if task.camera is not None:
            observation["camera"] = generator.integers(0, 256, task.camera, dtype=np.uint8)
        seconds.append(controller.act(observation).seconds)
    p50, p99 = 1000.0 * np.quantile(seconds, [0.5, 0.99])
    period = 1000.0 * task.control_period
    verdict = "in time" if p99 <= period else "TOO LATE for this plant; try --threads, or --policy where there is one"
    return f"decision: {p50:.1f} ms p50, {p99:.1f} ms p99, a period is {period:.0f} ms: {verdict}"

"""What `python3 run.py` does in a bundle's folder: the controller loaded, checked and timed."""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import PROVIDERS
from wmctrl.runtime.latency import Latency


def main(folder: Path, arguments: list[str], importing: float) -> int:
    """Load the bundle in a folder, time some decisions, and say what was found; 2 with a reason where it is refused.

    Args:
        importing: How long it took to import this and all that it needs [s].
    """
    options = parser().parse_args(arguments)
    try:
        report(folder, options, importing)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"refused: {error}\n")
        return 2
    return 0


def report(folder: Path, options: argparse.Namespace, importing: float) -> None:
    """Say what was found of the bundle in a folder.

    Raises:
        ValueError: It is not driven, or decides too late, if that counts.
    """
    began = time.perf_counter()
    controller = Controller.load(
        folder,
        provider=options.provider,
        threads=options.threads,
        policy_only=options.policy,
        public_key_hex=options.require_signature,
        in_time=not options.untimed,
    )
    loading = time.perf_counter() - began
    few = (options.decisions + 9) // 10
    first = controller.latencies(few)
    early = resident()
    seconds = np.concatenate([first, controller.latencies(options.decisions - few)])
    task, provider = controller.bundle.manifest.task, controller.engine.provider
    lines = [
        f"{task.id}: imported in {importing:.2f} s; loaded, checked and golden steps repeated on {provider} in"
        f" {loading:.2f} s",
        punctuality(seconds, task.control_period),
        f"memory: {early:.1f} MB after {few:,} of them, {resident():.1f} MB after {options.decisions:,}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if not options.untimed:
        controller.require_in_time(seconds)


def parser() -> argparse.ArgumentParser:
    """What can be asked of a bundle."""
    found = argparse.ArgumentParser(prog="run.py", description="load, check and time this controller")
    found.add_argument("--self-test", action="store_true", help="load, check and time, as without it; for scripts")
    found.add_argument("--decisions", type=counted, default=100, metavar="N", help="how many to time (100)")
    found.add_argument("--provider", choices=tuple(PROVIDERS), help="what computes (the first that works)")
    found.add_argument("--threads", type=threads, default=1, metavar="N", help="of ONNX Runtime; auto measures (1)")
    found.add_argument("--untimed", action="store_true", help="load it also where half of its decisions are late")
    found.add_argument("--policy", action="store_true", help="react without planning, where it holds a policy")
    found.add_argument(
        "--require-signature",
        metavar="HEX",
        help="refuse unless signed by this Ed25519 public key (trust only a copy of run.py of your own with that)",
    )
    return found


def threads(text: str) -> int | None:
    """A number of threads; None is to be measured."""
    return None if text == "auto" else counted(text)


def counted(text: str) -> int:
    """A number of things, at least one, as `argparse` asks for it."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, came {number}")
    return number


def punctuality(seconds: NDArray[np.float64], period: float) -> str:
    """Times of decisions [s] beside the control period [s], and how many were late, in words."""
    found, late = Latency.of(seconds), int((seconds > period).sum())
    return (
        f"decision: {found.p50:.1f} ms p50, {found.p99:.1f} ms p99, {found.longest:.1f} ms at most; {late:,} of"
        f" {len(seconds):,} took longer than the control period of {1000.0 * period:g} ms"
    )


def resident() -> float:
    """Memory that the process holds now [MB]; the most that it ever did where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return pages * resource.getpagesize() / 1e6

"""What a training run tells: every figure kept in its folder, and a line for who watches."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from wmctrl.commands.intervals import in_digits
from wmctrl.learning.train import Progress, Trainer
from wmctrl.runtime.files import write_atomic

PACE = 30.0
"""Time between two lines where none can be live [s]."""
BAR_WIDTH = 20
"""Columns of the bar before a live line."""


class Logbook:
    """Keeps every figure in `metrics.jsonl` and TensorBoard, and shows a live line, or one now and then in a log."""

    def __init__(self, folder: Path, trainer: Trainer, *, may_end: bool = False) -> None:
        """
        Args:
            trainer: Where the run goes on from; rows after it, of a run that was killed, are forgotten.
            may_end: Whether somebody may have seen enough before the last step.
        """
        self.steps, self.prefill, self.may_end = trainer.schedule.steps, trainer.prefill, may_end
        self.first_updates = trainer.schedule.first_updates
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4)
        self.path = folder / "metrics.jsonl"
        self.spent = self._keep(trainer.told)
        """What earlier processes took [s]."""
        self.file = self.path.open("a")
        self.board = SummaryWriter(str(folder), purge_step=trainer.step + 1)
        self.began = time.monotonic()
        self.pace = self.began, Progress(trainer.step, trainer.updates, {})
        """Since when and from where rates count: random steps, and the updates on them, foretell no others."""
        self.shown = -math.inf
        """When the last line was shown where none is live [s]."""

    def __call__(self, progress: Progress, news: Mapping[str, float]) -> None:
        """Record news of a run and show how it stands."""
        if progress.step <= self.prefill:
            self.pace = time.monotonic(), progress
        if news:
            seconds = round(self.spent + time.monotonic() - self.began, 1)
            row = {"step": progress.step, "updates": progress.updates, "seconds": seconds, **news}
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())  # checkpoints count the rows, so a power cut must not take back any
            for name, value in news.items():
                self.board.add_scalar(name, value, progress.step)
        self._show(progress, looked="return" in news)

    def line(self, progress: Progress) -> str:
        """How the run stands, such as `1,200 of 2,000 steps, 9.8 steps/s, 8.1 updates/s, 1 min 22 s left`."""
        since, start = self.pace
        elapsed, done = time.monotonic() - since, progress.step - start.step
        if done:
            left = duration(elapsed * (self.steps - progress.step) / done)
            updates = (progress.updates - start.updates) / elapsed
            rates = [
                f"{done / elapsed:.1f} steps/s",
                f"{updates:.1f} updates/s",
                f"{'at most ' * self.may_end}{left} left",
            ]
        else:
            rates = [self._beginning(progress)]
        losses = ("loss/proprio", "loss/camera", "loss/reward", "loss/kl")
        shown = (*losses, "episode_return", "return", "success", "breakdowns")
        figures = [f"{name} {in_digits(progress.metrics[name])}" for name in shown if name in progress.metrics]
        return ", ".join([f"{progress.step:,} of {self.steps:,} steps", *rates, *figures])

    def _beginning(self, progress: Progress) -> str:
        """What is done while there is nothing to tell a pace by."""
        if progress.step < self.prefill:
            return "random actions at first"
        if progress.step > self.prefill:
            return f"{progress.updates:,} updates"
        if progress.updates < self.first_updates:
            return f"learns from these first, {progress.updates:,} of {self.first_updates:,} updates"
        return "looks how it drives"

    def __enter__(self) -> Self:
        if self.console.is_interactive:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()
        self.file.close()
        self.board.close()

    def _show(self, progress: Progress, looked: bool) -> None:
        """Refresh the live line; where there is none, write one at first, at every look, and every PACE."""
        if self.console.is_interactive:
            row = Table.grid(padding=(0, 1))
            row.add_row(ProgressBar(self.steps, progress.step, BAR_WIDTH), Text(self.line(progress)))
            self.live.update(row)
        elif looked or time.monotonic() - self.shown >= PACE:
            self.console.out(self.line(progress))
            self.shown = time.monotonic()

    def _keep(self, rows: int) -> float:
        """Cut the figures of earlier processes back to their first `rows`, and return the time of the last one [s]."""
        kept = logged(self.path.parent)[:rows]
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        return kept[-1]["seconds"] if kept else 0.0


def logged(folder: Path) -> list[dict[str, float]]:
    """Rows of a run's `metrics.jsonl`, up to where a kill or a power cut damaged it."""
    path = folder / "metrics.jsonl"
    rows: list[dict[str, float]] = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            rows.append(dict(json.loads(line)))
        except ValueError:
            break
    return rows


def duration(seconds: float) -> str:
    """A time a person reads at a glance, such as `4 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

"""A line for who waits: what is being done, how far it is, and how long it will still take."""

import time
from collections import deque
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from wmctrl.commands.logbook import PACE, duration


class Watch:
    """Keeps one line live on stderr, or writes one now and then in a log."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)
        self.what = ""
        self.marks: deque[tuple[float, int]] = deque(maxlen=2)
        """When it was how far, PACE apart [s]: how fast it goes is told from the older one, for it may change."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how something stands, such as `sac, seed 0, steps: 1,200 of 5,000, 1 min 22 s left`."""
        now = time.monotonic()
        if what != self.what:
            self.what = what
            self.marks.clear()
        due = not self.marks or now - self.marks[-1][0] >= PACE
        if self.console.is_interactive:
            self.live.update(Text(self.line(now, done, total)))
        elif due and self.marks:
            self.console.out(self.line(now, done, total))
        if due:
            self.marks.append((now, done))

    def line(self, now: float, done: int, total: int) -> str:
        """How it stands; how long it takes is told once that can be known."""
        since, start = self.marks[0] if self.marks else (now, done)
        left = f", {duration((now - since) * (total - done) / (done - start))} left" if done > start else ""
        return f"{self.what}: {done:,} of {total:,}{left}"

    def say(self, line: str) -> None:
        """Write a line that stays."""
        self.console.out(line)

    def __enter__(self) -> Self:
        if self.console.is_interactive:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

"""Time that passes when it is told to."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from numpy.typing import NDArray

from wmctrl.runtime.engine import Computes


class Clock:
    """Stands in for `time.monotonic` and `time.sleep`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Timed:
    """An engine whose graphs take as long as they are told to."""

    def __init__(self, engine: Computes, clock: Clock, seconds: Mapping[str, float]) -> None:
        self.engine, self.clock, self.provider = engine, clock, engine.provider
        self.seconds = dict(seconds)
        """By graph."""

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""
        self.clock.now += self.seconds.get(name, 0.0)
        return self.engine.run(name, feeds)

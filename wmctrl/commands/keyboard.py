"""Keys that change what is driven for, while it is driven: weights, limits and the goal."""

import contextlib
import os
import re
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmctrl.commands.intervals import in_digits
from wmctrl.live.goal import MovedGoal
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.limits import LARGEST_RATE
from wmctrl.runtime.plant import Element

FACTOR = 1.25
"""What a key multiplies a weight or a limit by."""
FIRST_WEIGHT = 0.01
"""What a weight of zero becomes at the first key."""
GOAL_STEP = 0.02
"""What a key moves the goal by, as a share of its element's range."""
LOOKED = 0.1
"""Time between two looks whether driving is over [s]."""
KEYS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left"} | {
    key.encode(): way for key, way in zip("kjlhwsda", 2 * ("up", "down", "right", "left"), strict=True)
}
"""Arrows, and letters for terminals without them."""
PRESSED = re.compile(rb"\x1b\[.|.", re.DOTALL)
"""A key among those that were pressed at once."""


@dataclass(frozen=True)
class Knob:
    """Something that can be changed."""

    name: str
    value: Callable[[], float]
    change: Callable[[int], None]
    """Up by 1, down by -1; it stays where it would leave its range."""
    unit: str = ""


def knobs(controller: Controller, goal: MovedGoal) -> list[Knob]:
    """All that can be changed of what a controller drives for."""
    found = [_weight(controller, name) for name in controller.weights]
    found += [
        Knob(
            "largest action",
            lambda: float(controller.limits.high.max()),
            lambda way: _reach(controller, min(1.0, float(controller.limits.high.max()) * FACTOR**way)),
        ),
        Knob(
            "largest change",
            lambda: float(controller.limits.rate.max()),
            lambda way: _rate(controller, min(LARGEST_RATE, float(controller.limits.rate.max()) * FACTOR**way)),
        ),
        Knob(
            "largest risk",
            lambda: float(controller.limits.risk),
            lambda way: controller.set_limits(risk=min(1.0, float(controller.limits.risk) * FACTOR**way)),
        ),
    ]
    elements = controller.bundle.manifest.task.goal
    return found + [_goal(goal.offset, index, element) for index, element in enumerate(elements)]


def _weight(controller: Controller, name: str) -> Knob:
    def change(way: int) -> None:
        now = controller.weights[name]
        wanted = now * FACTOR**way if now or way < 0 else FIRST_WEIGHT
        with contextlib.suppress(ValueError):  # beyond what it can be
            controller.set_weights(**{name: wanted})

    return Knob(name, lambda: controller.weights[name], change)


def _reach(controller: Controller, most: float) -> None:
    whole = np.full_like(controller.limits.high, most)
    controller.set_limits(-whole, whole)


def _rate(controller: Controller, most: float) -> None:
    controller.set_limits(rate=np.full_like(controller.limits.rate, most))


def _goal(offset: NDArray[np.float32], index: int, element: Element) -> Knob:
    width = 1.0 if element.low is None or element.high is None else element.high - element.low

    def change(way: int) -> None:
        offset[index] += np.float32(way * GOAL_STEP * width)

    return Knob(f"{element.name} moved by", lambda: float(offset[index]), change, element.unit)


class Panel:
    """The knobs, one of which is chosen."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.goal = MovedGoal(controller.bundle.manifest.task.goal)
        self.knobs = knobs(controller, self.goal)
        self.chosen = 0
        self.listens = False
        """Whether keys reach it."""

    def press(self, key: str) -> None:
        """Choose another knob by `left` or `right`, or change the chosen one by `up` or `down`."""
        if key in ("left", "right"):
            self.chosen = (self.chosen + (1 if key == "right" else -1)) % len(self.knobs)
        else:
            self.knobs[self.chosen].change(1 if key == "up" else -1)

    def line(self) -> str:
        """The chosen knob and the keys, such as `< failure 20 >, 3 of 9: ...`; nothing where no key is heard."""
        if not self.listens:
            return ""
        knob = self.knobs[self.chosen]
        number = f"{self.chosen + 1} of {len(self.knobs)}"
        value = f"{in_digits(knob.value())} {knob.unit}".strip()
        return f"\n< {knob.name} {value} >, {number}: arrows left and right choose, up and down change"

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the keys of a terminal, if there is one; Ctrl-C stays what it is."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            yield
            return
        terminal, over = sys.stdin.fileno(), threading.Event()
        before = termios.tcgetattr(terminal)
        listener = threading.Thread(target=self._listen, args=(terminal, over), name="keyboard", daemon=True)
        tty.setcbreak(terminal)
        listener.start()
        self.listens = True
        try:
            yield
        finally:
            self.listens = False
            over.set()
            listener.join()
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    def _listen(self, terminal: int, over: threading.Event) -> None:
        while not over.is_set():
            if not select.select([terminal], [], [], LOOKED)[0]:
                continue
            pressed = os.read(terminal, 64)
            if not pressed:  # whoever was there has gone
                return
            for key in PRESSED.findall(pressed):
                if key in KEYS:
                    self.press(KEYS[key])

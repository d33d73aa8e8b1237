"""A plant that is driven on the wall clock, shows what it does, and takes changes between two steps."""

import contextlib
import io
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from wmctrl_envs.faults import AMOUNTS, KINDS, Fault, FaultySensors, Reading
from wmctrl_envs.task import Task, TaskSpec

from wmctrl.live.goal import MovedGoal
from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.decision import Action
from wmctrl.runtime.experience import step_of
from wmctrl.runtime.limits import Vector
from wmctrl.runtime.records import in_a_line

FRAMES, SELDOM = 15.0, 2.0
"""Pictures a second, at most, and at least where drawing them makes the plant late."""
QUALITY = 80
"""Of a picture, as JPEG."""
EVENTS = 12
"""Of learning, the newest, that are told."""
PATH, DOT = (234, 115, 23), 2.0
"""Colour of the way that a plan takes, and half the width of its dots [pixels]."""
OUTLOOK = 4
"""Elements whose expected course is told, at most."""


@dataclass(frozen=True)
class Standing:
    """Where a session is."""

    total: int = 0
    """Steps since it began."""
    episode: int = 0
    step: int = 0
    reward: float = 0.0
    """Of the episode, so far."""
    success: bool = False
    failure: bool = False
    surprise: float | None = None
    """[nats]"""
    milliseconds: float = 0.0
    """That the decision took."""
    late: int = 0
    """Ticks that were missed since it began."""
    source: str = ""
    """What made the command."""
    reason: str = ""
    """Why it is not what was decided, where it is not."""
    iterations: int = 0
    """Of the planner."""
    risk: float | None = None
    """Probability of failing that the plan has."""
    readings: tuple[float, ...] = ()
    """Of the first elements."""
    outlook: tuple[tuple[float, ...], ...] = ()
    """What they will be, step by step, if the plan is followed."""
    parameters: dict[str, float] = field(default_factory=dict)
    fault: str = ""
    events: tuple[str, ...] = ()
    problem: str = ""
    """Why it stands still, where it does."""


class Session:
    """Drives one plant with one controller until it is closed."""

    def __init__(
        self, assured: Assured, make: Callable[[], Task], adapter: Adapter | None, budget: float, seed: int = 0
    ) -> None:
        """
        Args:
            make: Makes the plant, in the thread that drives it: pictures are drawn where it was made.
            budget: Time for a decision [s].
            seed: Of the first episode; every other one has the next.
        """
        self.assured, self.make, self.adapter, self.budget, self.seed = assured, make, adapter, budget, seed
        self.standing, self.picture, self.pictures = Standing(), b"", 0
        """What was last seen and shown; replaced as a whole by the thread that drives."""
        self.shown = threading.Condition()
        """Told of every new picture."""
        self.changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.over = threading.Event()
        self.parameters: dict[str, float] = {}
        self.goal = MovedGoal(assured.controller.bundle.manifest.task.goal)
        self.sensors: FaultySensors | None = None
        self.fault, self.mended = "", math.inf
        """What is wrong with the sensors, and the step since it began from which on nothing is."""
        self.events: deque[str] = deque(maxlen=EVENTS)
        self.told, self.late = 0, 0
        self.drawn, self.drawing = -np.inf, 0.0
        """When the last picture was, and how long it took [s]."""
        self.spec: TaskSpec | None = None
        self.place: tuple[int, ...] = ()
        """Elements that tell where the plant is, and where the plan takes it (H, 3) [m]."""
        self.path = np.zeros((0, 3))
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._live, name="driving", daemon=True)

    def start(self) -> TaskSpec:
        """Begin to drive, and tell what is driven.

        Raises:
            ValueError: The plant cannot be made; says why.
        """
        self.thread.start()
        self.ready.wait()
        if self.spec is None:
            raise ValueError(self.standing.problem)
        return self.spec

    def close(self) -> None:
        """Stop after the step that is being driven."""
        self.over.set()
        self.thread.join()

    def change_parameter(self, name: str, value: float) -> None:
        """Change the plant from its next step on, and in every episode after.

        Raises:
            ValueError: It has no such parameter, or that cannot be there.
        """
        known = {one.name: one for one in self._known().parameters}
        if name not in known:
            raise ValueError(f"there is no parameter {name}; known: {', '.join(known)}")
        known[name].require_within("live", value)
        self.changes.put(lambda: self.parameters.update({name: value}))

    def change_goal(self, index: int, offset: float) -> None:
        """Move an element of the goal away from the one that the plant asks for.

        Raises:
            ValueError: There is no such element, or that is no number.
        """
        if not (0 <= index < len(self.goal.offset) and np.isfinite(offset)):
            raise ValueError(f"the goal has {len(self.goal.offset)} elements, came {index} and {offset}")
        self.changes.put(lambda: self.goal.offset.__setitem__(index, offset))

    def fail(self, kind: str, amount: int) -> None:
        """Have the sensors fail from the next step on; no kind has them work again.

        Args:
            amount: Which of AMOUNTS.

        Raises:
            ValueError: There is no such kind or amount.
        """
        if kind and (kind not in KINDS or not 0 <= amount < len(AMOUNTS)):
            raise ValueError(f"there is no {kind!r} {amount}; known: {', '.join(KINDS)}, 0 to {len(AMOUNTS) - 1}")
        self.changes.put(lambda: self._fail(kind, amount))

    def _known(self) -> TaskSpec:
        assert self.spec is not None, "it was started"
        return self.spec

    def _fail(self, kind: str, amount: int) -> None:
        self.fault, self.sensors, self.mended = "", None, math.inf
        if not kind:
            return
        last = self.standing.step
        self.fault = f"{kind}, {AMOUNTS[amount]}"
        self.sensors = FaultySensors(Fault(kind, KINDS[kind].amounts[amount], begins=last + 1), self._known())
        self.sensors.step = last
        self.mended = self.standing.total + self.sensors.ends - self.sensors.fault.begins

    def _live(self) -> None:
        try:
            with contextlib.closing(self.make()) as task:
                self.spec, self.place = task.task_spec, place_of(task.task_spec)
                self.ready.set()
                episode = 0
                while not self.over.is_set():
                    self._episode(task, episode)
                    episode += 1
        except Exception as error:  # of whatever kind: whoever watches is told
            self.standing = replace(self.standing, problem=in_a_line(error))
            self.ready.set()

    def _episode(self, task: Task, number: int) -> None:
        spec, step, total, over = task.task_spec, 0, 0.0, False
        self._changed(None)
        self.assured.reset(self.seed + number)
        observation, info = task.reset(seed=self.seed + number, options={"parameters": self.parameters})
        if self.sensors is not None:
            self.sensors = FaultySensors(Fault(self.sensors.fault.kind, self.sensors.fault.amount), spec)
            self.sensors.reset(self.seed + number)
        cause, outcome = self.assured.controller.state.last, dict[str, Any]()
        tick = time.monotonic()
        while not self.over.is_set():
            reading = Reading(dict(observation), step) if self.sensors is None else self.sensors.arrives(observation)
            wanted, deadline = self.goal.wanted(observation), tick + self.budget
            action = self.assured.act(reading.observation, wanted, taken=reading.taken, deadline=deadline)
            self._note(reading, step, cause, outcome, action)
            self._tell(number, step, total, info, action)
            self._draw(task, tick + spec.control_period)
            if over:
                break
            self._changed(task)
            observation, reward, terminated, truncated, info = task.step(action.command)
            step, total, over = step + 1, total + float(reward), terminated or truncated
            cause = action.command
            outcome = {"reward": float(reward), "terminated": terminated, "failure": info["failure"]}
            tick = self._waited(tick, spec.control_period)

    def _note(self, reading: Reading, step: int, cause: Vector, outcome: dict[str, Any], action: Action) -> None:
        """Have what the sensors show learned from, where it is of this step."""
        if self.adapter is None:
            return
        if reading.taken == step:
            self.adapter.note(step_of(reading.observation, cause, first=not step, **outcome), action.surprise)
        else:
            self.adapter.missed()

    def _changed(self, task: Task | None) -> None:
        """Make the changes that are wanted, or due; of a plant as well, if it is in an episode."""
        before = dict(self.parameters)
        while not self.changes.empty():
            self.changes.get()()
        if self.standing.total >= self.mended:
            self._fail("", 0)
        if task is not None and self.parameters != before:
            task.set_parameters(self.parameters)

    def _waited(self, tick: float, period: float) -> float:
        """The next tick, once it is there; what is too late begins anew."""
        following = tick + period
        late = time.monotonic() - following
        if late > 0.0:
            self.late += 1
            return time.monotonic()
        self.over.wait(-late)
        return following

    def _tell(self, number: int, step: int, total: float, info: dict[str, Any], action: Action) -> None:
        """Replace what is told of the session."""
        if self.adapter is not None:
            news = self.adapter.state.events[self.told :]
            self.told += len(news)
            self.events.extend(f"{one.what}: {one.detail}" for one in news)
        proprio = self.assured.controller.state.track.proprio
        self.standing = Standing(
            total=self.standing.total + 1,
            episode=number,
            step=step,
            reward=total,
            success=bool(info["success"]),
            failure=bool(info["failure"]),
            surprise=action.surprise,
            milliseconds=1e3 * action.seconds,
            late=self.late,
            source=action.source,
            reason=action.reason,
            iterations=action.iterations,
            risk=None if action.health is None else action.health.failure,
            readings=() if proprio is None else tuple(map(float, proprio[:OUTLOOK])),
            outlook=self._outlook(),
            parameters=dict(self.parameters),
            fault=self.fault,
            events=tuple(self.events),
        )

    def _outlook(self) -> tuple[tuple[float, ...], ...]:
        """What the first elements will be, step by step; nothing where nothing was sensed yet."""
        self.path = np.zeros((0, 3))
        with contextlib.suppress(ValueError):
            rows = self.assured.controller.outlook()
            if self.place:
                self.path = np.pad(rows[:, self.place], ((0, 0), (0, 3 - len(self.place))))
            return tuple(tuple(map(float, row)) for row in rows[:, :OUTLOOK])
        return ()

    def _draw(self, task: Task, tick: float) -> None:
        """Replace the picture, where it is old and there is time before the next tick, or it is very old."""
        began = time.monotonic()
        age = began - self.drawn
        if age < 1.0 / FRAMES or (began + self.drawing > tick and age < 1.0 / SELDOM):
            return
        seen = task.render()
        if isinstance(seen, np.ndarray):
            picture = jpeg(seen, task.pixels(self.path))
            with self.shown:
                self.picture, self.pictures = picture, self.pictures + 1
                self.shown.notify_all()
        self.drawn = time.monotonic()
        self.drawing = self.drawn - began


def place_of(spec: TaskSpec) -> tuple[int, ...]:
    """Elements that tell where something is [m], across, along and, where there is such, up; nothing if none does."""
    numbers = {element.name: number for number, element in enumerate(spec.proprio) if element.unit == "m"}
    for name in numbers:
        thing, _, way = name.rpartition(" ")
        if way == "x" and f"{thing} y" in numbers:
            return tuple(numbers[f"{thing} {axis}"] for axis in "xyz" if f"{thing} {axis}" in numbers)
    return ()


def jpeg(picture: NDArray[np.uint8], path: NDArray[np.float64]) -> bytes:
    """A picture (h, w, 3) as JPEG, with a path of pixels (n, 2) drawn over it as far as it is known."""
    drawn, memory = Image.fromarray(picture), io.BytesIO()
    pen = ImageDraw.Draw(drawn)
    known = [(float(x), float(y)) for x, y in path if np.isfinite([x, y]).all()]
    if len(known) > 1:
        pen.line(known, PATH, 2)
    for x, y in known:
        pen.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), PATH)
    drawn.save(memory, "JPEG", quality=QUALITY)
    return memory.getvalue()


def told(standing: Standing) -> dict[str, Any]:
    """A standing as JSON takes it: numbers that are not finite are none."""
    return {name: _finite(value) for name, value in asdict(standing).items()}


def _finite(value: Any) -> Any:
    """A value without the numbers that JSON has no word for, however deep they lie."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

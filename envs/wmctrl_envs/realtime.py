"""A plant that does not wait: it steps on the wall clock, in a process of its own, with whatever command is there."""

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.task import Observation, PlantError, Task, TaskSpec

STARTING = 120.0
"""Longest time that a plant may take to be made, or to begin an episode [s]."""
POLLED = 0.002
"""Time between two looks for an order while there is none [s]."""
IDLE, BEGIN, READY, RUN, OVER, CLOSE, BROKEN = range(7)
"""Of a plant: at rest; told to begin an episode; ready; told to step; at an episode's end; told to close; broken."""


class Reading(NamedTuple):
    """What a plant showed last."""

    observation: Observation
    step: int
    """Control periods since the episode began."""
    over: bool
    """Whether that ended the episode."""
    reward: float
    """Sum of the rewards until then."""
    terminated: bool
    """Whether the plant ended the episode, rather than time."""
    failure: bool
    """Whether the plant has failed."""


class Result(NamedTuple):
    """How an episode goes, or went."""

    reward: float
    steps: int
    success: bool
    failure: bool
    late: int
    """Steps that the plant itself was too late for."""
    over: bool
    terminated: bool
    """Whether the plant ended the episode, rather than time."""


class Shared:
    """What both processes see. One writes, and whoever reads looks again where it was written to meanwhile."""

    def __init__(self, spec: TaskSpec) -> None:
        self.state, self.version = RawValue("i", IDLE), RawValue("q", 0)
        self.seed, self.begins = RawValue("Q", 0), RawValue("d", 0.0)
        self.command = RawArray("f", len(spec.action))
        self.proprio, self.goal = RawArray("f", len(spec.proprio)), RawArray("f", len(spec.goal))
        self.camera = RawArray("B", math.prod(spec.camera) if spec.camera else 0)
        self.result = RawArray("d", len(Result._fields))
        self.error = RawArray("c", 1024)
        self.shapes = {"proprio": (len(spec.proprio),), "goal": (len(spec.goal),), "camera": spec.camera or (0,)}

    def part(self, name: str) -> NDArray[Any]:
        """A part of the observation."""
        kind = np.uint8 if name == "camera" else np.float32
        return np.frombuffer(getattr(self, name), kind).reshape(self.shapes[name])

    def publish(self, observation: Observation, result: Result) -> None:
        """Show what a step led to."""
        self.version.value += 1
        for name, value in observation.items():
            self.part(name)[...] = value
        self.result[:] = [float(one) for one in result]
        self.version.value += 1

    def seen(self) -> tuple[Observation, Result]:
        """What was shown last, as a whole."""
        while True:
            before = self.version.value
            observation = {name: self.part(name).copy() for name, shape in self.shapes.items() if math.prod(shape)}
            reward, steps, success, failure, late, over, terminated = self.result[:]
            if before == self.version.value and not before % 2:
                ended = bool(over), bool(terminated)
                return observation, Result(reward, int(steps), bool(success), bool(failure), int(late), *ended)


class RealtimePlant:
    """A task that steps once a period of the wall clock, from the time an episode is told to run."""

    def __init__(
        self,
        make: Callable[[], Task],
        spec: TaskSpec,
        period: float,
        parameters: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            make: Makes the task, in the other process.
            period: Of the wall clock between two steps, whatever the task's own is [s].
            parameters: Physical ones, where they are not nominal.
        """
        context = multiprocessing.get_context("spawn")
        self.spec, self.period, self.shared = spec, period, Shared(spec)
        self.process = context.Process(
            target=_live, args=(make, self.shared, period, dict(parameters or {})), daemon=True
        )
        self.process.start()

    def reset(self, seed: int) -> None:
        """Begin an episode; it stands still until `run`.

        Raises:
            PlantError: The plant broke down, or is not ready in time.
        """
        self.shared.seed.value, self.shared.state.value = seed, BEGIN
        end = time.monotonic() + STARTING
        while self.shared.state.value == BEGIN and time.monotonic() < end and self.process.is_alive():
            time.sleep(POLLED)
        if self.shared.state.value != READY:
            raise PlantError(self._error() or f"{self.spec.id} is not ready after {STARTING:g} s")

    def run(self, begins: float) -> None:
        """Step from a time of `time.monotonic` on [s]: the first step is over one period later."""
        self.shared.command[:] = [0.0] * len(self.shared.command)
        self.shared.begins.value, self.shared.state.value = begins, RUN

    def read(self) -> Reading:
        """The newest observation."""
        observation, result = self.shared.seen()
        return Reading(observation, result.steps, result.over, result.reward, result.terminated, result.failure)

    def write(self, command: NDArray[np.float32]) -> None:
        """Have a command (A,) applied from the next step on."""
        np.frombuffer(self.shared.command, np.float32)[...] = command

    def result(self) -> Result:
        """How the episode goes.

        Raises:
            PlantError: The plant broke down.
        """
        if self.shared.state.value == BROKEN:
            raise PlantError(self._error())
        if not self.process.is_alive():
            raise PlantError(f"{self.spec.id} died, with exit code {self.process.exitcode}")
        return self.shared.seen()[1]

    def _error(self) -> str:
        """What the plant broke down by; its end may be cut off within a letter."""
        return self.shared.error.value.decode(errors="replace")

    def close(self) -> None:
        """End the other process."""
        self.shared.state.value = CLOSE
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()


def _live(make: Callable[[], Task], shared: Shared, period: float, parameters: dict[str, float]) -> None:
    """The other process: begins and runs episodes as it is told, and is closed by whoever made it, Ctrl-C or not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        task = make()
        while (state := shared.state.value) != CLOSE:
            if state == BEGIN:
                observation, info = task.reset(seed=shared.seed.value, options={"parameters": parameters})
                shared.publish(observation, Result(0.0, 0, info["success"], info["failure"], 0, False, False))
                shared.state.value = READY
            elif state == RUN:
                _run(task, shared, period)
            else:
                time.sleep(POLLED)
    except Exception as error:  # of a plant of somebody's: whatever it is, the loop has to hear of it
        shared.error.value = (str(error) or type(error).__name__).encode()[:1023]
        shared.state.value = BROKEN


def _run(task: Task, shared: Shared, period: float) -> None:
    """An episode, until it is over or something else is asked for."""
    command, total, late, step, over = np.frombuffer(shared.command, np.float32), 0.0, 0, 0, False
    while not over and shared.state.value == RUN:
        left = shared.begins.value + (step + 1) * period - time.monotonic()
        late += left < 0.0
        time.sleep(max(0.0, left))
        observation, reward, terminated, truncated, info = task.step(command.copy())
        step, total, over = step + 1, total + float(reward), terminated or truncated
        shared.publish(observation, Result(total, step, info["success"], info["failure"], late, over, terminated))
    if over and shared.state.value == RUN:  # or what was asked for during the last step would be lost
        shared.state.value = OVER

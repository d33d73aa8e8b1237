"""Driving without exploration, and what it is worth."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from wmctrl_envs.task import Observation, PlantError, Task

State = TypeVar("State")
"""What a driver carries from one decision to the next."""


class Driver(Protocol[State]):
    """Whatever decides: the agent, or a baseline it has to beat."""

    def start(self) -> State:
        """The state before the first observation of an episode."""

    def act(
        self, state: State, observation: Mapping[str, NDArray[Any]], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], State]:
        """Action (A,) in [-1, 1] and the state to carry on."""


@dataclass(frozen=True)
class RandomDriver:
    """Draws every action evenly from the whole range."""

    actions: int
    """Elements of an action, A."""

    def start(self) -> None:
        """Nothing is carried."""

    def act(
        self, state: None, observation: Mapping[str, NDArray[Any]], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], None]:
        """Action (A,) in [-1, 1], whatever is observed."""
        return generator.uniform(-1.0, 1.0, self.actions).astype(np.float32), None


@dataclass(frozen=True)
class Outcome:
    """How an episode went."""

    reward: float
    """Undiscounted return."""
    length: int
    success: bool
    """At the last step."""
    failure: bool
    """At the last step, or by a breakdown."""
    breakdown: str = ""
    """What went wrong with the plant itself, where something did: the episode ended before its last step was over."""


@dataclass(frozen=True)
class Episode:
    """An episode as it was driven."""

    outcome: Outcome
    observations: list[Observation]
    """From the first to the one that ended it (length + 1)."""
    actions: NDArray[np.float32]
    """(length, A)"""
    seconds: NDArray[np.float64]
    """Time every decision took (length,), and one more before a breakdown [s]."""


def drive(driver: Driver[State], task: Task, episodes: int, seed: int) -> Iterator[Outcome]:
    """Deterministic episodes with fixed seeds: number i starts from seed + i, whatever came before it."""
    for number in range(episodes):
        yield drive_episode(driver, task, seed, number).outcome


def drive_episode(
    driver: Driver[State], task: Task, seed: int, number: int, watch: Callable[[Task], None] | None = None
) -> Episode:
    """One episode of `drive`, with all that happened in it.

    Args:
        watch: Called with the task at every observation, to take its picture say.

    A controller may drive a simulation until it becomes unstable. That is how the episode went, and no error.
    """
    generator = np.random.default_rng([seed, number])
    observations, actions, seconds = [], [], []
    state, total, over, breakdown = driver.start(), 0.0, False, ""
    try:
        observation, info = task.reset(seed=seed + number)
        observations.append(observation)
        while not over:
            if watch is not None:
                watch(task)
            began = time.perf_counter()
            action, state = driver.act(state, observation, generator)
            seconds.append(time.perf_counter() - began)
            observation, reward, terminated, truncated, info = task.step(action)
            observations.append(observation)
            actions.append(action)
            total, over = total + float(reward), terminated or truncated
    except PlantError as error:
        info, breakdown = {"success": False, "failure": True}, str(error)
    if watch is not None and not breakdown:
        watch(task)
    outcome = Outcome(total, len(actions), bool(info["success"]), bool(info["failure"]), breakdown)
    return Episode(outcome, observations, np.array(actions), np.array(seconds))

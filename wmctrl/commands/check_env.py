"""What `wm check-env` does: tells whether a plant can be learned and driven, what is missing, and how to add it."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs.task import Element, Observation, Task, TaskSpec

from wmctrl.commands.doctor import Finding

STEPS = 200
"""Driven with random actions, twice from the same seed."""
TOLERANCE = 1e-6
"""Of an element's range, beyond which a reading is outside it."""
SAYING = 'say it in the environment\'s metadata, {"%s": "one sentence"}'


def examine(task: str) -> Iterator[Finding]:
    """Every finding on a task, the quick ones first."""
    try:
        plant = wmctrl_envs.make(task)
    except ValueError as error:
        yield Finding("made", "no", str(error))
        return
    with contextlib.closing(plant):
        yield Finding("made", task)
        yield from told(plant.task_spec)
        yield picture(plant)
        yield from driven(plant)


def told(spec: TaskSpec) -> Iterator[Finding]:
    """What a task says of itself."""
    yield Finding("observes", f"proprio {len(spec.proprio)}" + (f", goal {len(spec.goal)}" if spec.goal else ""))
    yield Finding("commands", f"{len(spec.action)}, from -1 to 1, {1.0 / spec.control_period:.3g} times a second")
    yield Finding("episode", f"at most {spec.max_steps:,} steps")
    yield judged("success", spec.success, "only the return tells how well it is driven")
    yield judged("failure", spec.failure, "plans avoid no failure")
    if spec.goal:
        again = "rewards of other goals can be asked, so that every episode is learned from for many goals"
        missing = "not asked: add `compute_reward(achieved, desired, info)` over many goals at once to learn faster"
        yield Finding("hindsight", again if spec.achieved else missing)
    yield Finding("can change", ", ".join(parameter.name for parameter in spec.parameters))


def judged(what: str, sentence: str, without: str) -> Finding:
    """Whether a task says what its success, or its failure, is."""
    return Finding(what, sentence or f"not told, so {without}; {SAYING % what}")


def picture(task: Task) -> Finding:
    """Whether a plant can be seen."""
    try:
        task.reset(seed=0)
        seen = task.render()
    except (ValueError, OSError) as error:
        return Finding("picture", f"none ({error}), so it is not filmed")
    if not isinstance(seen, np.ndarray):
        return Finding("picture", "none, so it is not filmed; add render mode `rgb_array`")
    return Finding("picture", f"{seen.shape[1]}x{seen.shape[0]}")


def driven(task: Task) -> Iterator[Finding]:
    """What a plant does under random actions."""
    spec = task.task_spec
    try:
        began = time.perf_counter()
        first = rollout(task, seed=0)
        rate = STEPS / (time.perf_counter() - began)
        again, other = rollout(task, seed=0), rollout(task, seed=1)
    except ValueError as error:
        yield Finding("drives", "no", str(error))
        return
    yield Finding("drives", f"{STEPS} random steps, {rate:,.0f} a second")
    repeats = np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    yield Finding(
        "repeats",
        "the same seed and actions give the same episode" if repeats else "no: the same seed and actions differ",
        "" if repeats else "draw from the environment's own np_random alone, and keep nothing over a reset",
    )
    varies = not np.array_equal(first[0][0], other[0][0])
    yield Finding("varies", "seeds begin differently" if varies else "every seed begins the same")
    yield from outside((*spec.proprio, *spec.goal), np.concatenate([first[0], other[0]]))


def rollout(task: Task, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Readings and goals (steps + 1, O + G), and rewards (steps,), of random actions, episode after episode."""
    generator = np.random.default_rng(0)
    observation, _ = task.reset(seed=seed)
    readings, rewards = [_numbers(observation)], []
    for _ in range(STEPS):
        action = generator.uniform(-1.0, 1.0, len(task.task_spec.action)).astype(np.float32)
        observation, reward, terminated, truncated, _ = task.step(action)
        readings.append(_numbers(observation))
        rewards.append(float(reward))
        if terminated or truncated:
            observation, _ = task.reset(seed=seed + len(rewards))
    return np.stack(readings), np.array(rewards)


def _numbers(observation: Observation) -> NDArray[Any]:
    return np.concatenate([observation[part] for part in ("proprio", "goal") if part in observation])


def outside(elements: tuple[Element, ...], readings: NDArray[np.float32]) -> Iterator[Finding]:
    """Elements that were read beyond the range they are said to have."""
    names = []
    for element, column in zip(elements, readings.T, strict=True):
        slack = TOLERANCE * min(element.high - element.low, 1.0 / TOLERANCE)
        if column.min() < element.low - slack or column.max() > element.high + slack:
            names.append(f"{element.name} ({column.min():.3g} to {column.max():.3g})")
    if names:
        yield Finding("ranges", f"beyond them: {', '.join(names)}; what is stuck or broken is told by them")
    else:
        yield Finding("ranges", "readings keep to them")

"""What a controller goes on learning from: the plant that it was made for, driven and recorded."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from wmctrl_envs.task import Task
from wmctrl_export.bundle import extend
from wmctrl_export.gradients import parameters

from wmctrl.commands import training
from wmctrl.config import Config
from wmctrl.learning.agent import Agent
from wmctrl.runtime import bundle
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.ewc import Consolidation
from wmctrl.runtime.experience import Layout, Memory, batch_of, step_of
from wmctrl.runtime.learner import Learner

STEPS = 2000
"""Recorded of a plant that was learned."""
CONSOLIDATING = 100
"""Sequences of them that tell which parameters matter."""


def add_memories(folder: Path, agent: Agent, config: Config, controller: Controller, steps: int = STEPS) -> None:
    """Add to a bundle what a learner goes on from: parameters, how much each matters, and recorded steps.

    Args:
        controller: That of the bundle.
        steps: To record.
    """
    with contextlib.closing(training.make_task(config.task)) as task:
        recorded = driven(controller, task, steps, seed=0)
    extend(folder, {bundle.PARAMETERS: parameters(agent), bundle.NOMINAL: recorded})
    learner = Learner(bundle.load(folder, learning=True), Consolidation(0.0), rate=0.0)
    memory = Memory.of(Layout.of(controller.bundle.manifest.task), recorded)
    learner.consolidate(batch_of(memory.drawn(CONSOLIDATING, learner.length, learner.generator)))
    extend(folder, {bundle.IMPORTANCE: learner.consolidation.anchors[0].importance})


def driven(controller: Controller, task: Task, steps: int, seed: int) -> dict[str, NDArray[Any]]:
    """Steps of a plant, in order; nothing surprises about an episode's first."""
    episodes = _episodes(controller, task, seed)
    return Layout.of(controller.bundle.manifest.task).columns([next(episodes) for _ in range(steps)])


def _episodes(controller: Controller, task: Task, number: int) -> Iterator[dict[str, Any]]:
    """Step after step, episode after episode."""
    while True:
        controller.reset(number)
        observation, _ = task.reset(seed=number)
        step, over = step_of(observation, controller.state.last, first=True), False
        while True:
            action = controller.act(observation)
            yield step | {"surprise": 0.0 if step["is_first"] else action.surprise or 0.0}
            if over:
                break
            observation, reward, terminated, truncated, info = task.step(action.command)
            outcome = {"reward": float(reward), "terminated": terminated, "failure": info["failure"]}
            step, over = step_of(observation, action.command, first=False, **outcome), terminated or truncated
        number += 1

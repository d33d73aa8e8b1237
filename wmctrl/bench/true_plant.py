"""Planning on the plant itself instead of on a model of it: what is lost beside it, a model or the learning loses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from wmctrl_envs.task import Observation, PlantError, Task

from wmctrl.planning.planner import Plan, Planner, Worth
from wmctrl.runtime.noise import coloured_noise


@dataclass(frozen=True)
class Search:
    """How plans are searched for, and what they are searched for."""

    planner: Planner = field(default_factory=lambda: Planner(horizon=15, samples=64, iterations=3, elites=8, kept=4))
    terminal: float = 1.0
    """Factor on the last step's reward, which stands in for what comes after."""
    approach: float = 0.0
    """Price of a hand that is away from what it moves, as in the objective of plans through a model."""


ARM = Search(Planner(horizon=5, samples=32, iterations=3, elites=4, kept=4), terminal=5.0)
HAND = Search(
    Planner(horizon=16, samples=64, iterations=3, elites=8, kept=4, reopening=0.3), terminal=5.0, approach=0.2
)
SEARCHES: Mapping[str, Search] = {
    "Pendulum": Search(Planner(horizon=25, samples=32, iterations=3, elites=6, kept=4, init_std=0.8)),
    "FetchReach": ARM,
    "FetchPush": HAND,
    "FetchPickAndPlace": HAND,
    "FetchSlide": HAND,
    "parking": Search(Planner(horizon=10, samples=96, iterations=3, elites=12, kept=6), terminal=5.0),
}
"""By the ids of tasks, without their version."""


def search_of(task_id: str) -> Search:
    """How a task is planned for."""
    return SEARCHES.get(task_id.rpartition("-v")[0], Search())


class TruePlanner:
    """Plans by trying every candidate on the very plant that it drives, which is then put back where it was."""

    def __init__(self, task: Task, search: Search) -> None:
        self.task, self.search = task, search

    def start(self) -> Plan:
        """A plan of nothing."""
        return self.search.planner.initial(torch.zeros(len(self.task.task_spec.action)))

    def act(
        self, plan: Plan, observation: Mapping[str, NDArray[Any]], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], Plan]:
        """Action (A,) in [-1, 1] and the plan to go on with, one step later."""
        p = self.search.planner
        for _ in range(p.iterations):
            noise = coloured_noise(p.samples, p.horizon, plan.mean.shape[1], p.noise_exponent, generator)
            plan, _ = p.refine(plan, self.worth, torch.from_numpy(noise))
        return plan.mean[0].numpy(), p.shift(plan)

    def worth(self, actions: Tensor) -> Worth:
        """What action sequences (N, H, A) earn from where the plant is, undiscounted, and whether it fails of them."""
        here = self.task.snapshot()
        found = []
        for sequence in actions.numpy():
            found.append(self._tried(sequence))
            self.task.restore(here)
        returns, failed = torch.tensor(found, dtype=actions.dtype).unbind(1)
        return Worth(returns, failed)

    def _tried(self, sequence: NDArray[np.float32]) -> tuple[float, float]:
        """What one sequence (H, A) earns, and 1 where the plant fails of it.

        A failed plant earns the task's failure reward ever after, or the last one; one that broke down is worth nothing
        that could be compared.
        """
        total = reward = 0.0
        for number, action in enumerate(sequence):
            try:
                observation, told, terminated, truncated, info = self.task.step(action)
            except PlantError:
                return np.nan, 1.0
            reward = float(told) - self._way_left(observation)
            total += reward
            if info["failure"]:
                ever_after = self.task.task_spec.failure_reward
                return total + (len(sequence) - 1 - number) * (reward if ever_after is None else ever_after), 1.0
            if terminated:
                return total, 0.0
            if truncated:
                break
        return total + (self.search.terminal - 1.0) * reward, 0.0

    def _way_left(self, observation: Observation) -> float:
        """What the way from the hand to what it moves costs."""
        price, cost = self.search.approach, self.task.task_spec.goal_cost
        return price * float(cost.apart(observation["proprio"])) if price and cost is not None else 0.0

"""What a curated task says beyond what its environment tells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from wmctrl_envs.camera import View
from wmctrl_envs.generic import find, make_env
from wmctrl_envs.mujoco_parameters import Shift
from wmctrl_envs.plant import Plant
from wmctrl_envs.plant_task import PlantTask, Reading
from wmctrl_envs.task import Element, GoalCost, Task, TaskSpec


def no_goal_cost(env: Any) -> GoalCost | None:
    """For rewards that are no distance to a goal."""
    return None


@dataclass(frozen=True)
class Recipe:
    """A curated task: names, units and ranges for everything, and the parameters that can shift."""

    description: str
    """One line for lists of tasks."""
    proprio: tuple[Element, ...]
    action: tuple[Element, ...]
    reading: Reading
    plant: Callable[[gym.Env[Any, Any]], Plant]
    goal: tuple[Element, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment that differ from its own defaults."""
    achieved: tuple[int, ...] = ()
    """Indices into `proprio` of what is compared with the goal, where the environment computes rewards of any goals."""
    goal_cost: Callable[[Any], GoalCost | None] = no_goal_cost
    """The task's reward as a cost, given the unwrapped environment as configured."""
    success: str = ""
    failure: str = ""

    def build(self, task_id: str, observe: Sequence[str] | None, camera_size: int, config: Mapping[str, Any]) -> Task:
        """The task, with `config` on top of the defaults."""
        env, max_steps = make_env(find(task_id), config, self.defaults)
        inner: Any = env.unwrapped
        try:
            cost = self.goal_cost(inner)
            spec = TaskSpec(
                id=task_id,
                proprio=self.proprio,
                goal=self.goal,
                action=self.action,
                camera=None,
                control_period=float(inner.dt),
                max_steps=max_steps,
                achieved=self.achieved if cost is None else cost.achieved,
                goal_cost=cost,
                success=self.success,
                failure=self.failure,
            )
            return PlantTask(self.plant(env), self.reading, spec, observe, camera_size)
        except ValueError:
            env.close()
            raise


def mujoco_plant(
    shifts: tuple[Shift, ...], view: View, attributes: tuple[str, ...] = ()
) -> Callable[[gym.Env[Any, Any]], Plant]:
    """Makes MuJoCo plants of one kind; mujoco itself is imported when the first is made."""

    def plant(env: gym.Env[Any, Any]) -> Plant:
        from wmctrl_envs.mujoco_plant import MujocoPlant

        return MujocoPlant(env, shifts, view, attributes)

    return plant

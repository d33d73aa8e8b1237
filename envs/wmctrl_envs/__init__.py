"""Plants for learning and control: robot arms, legged robots and vehicles behind one contract."""

from wmctrl_envs.catalogue import catalogue, make
from wmctrl_envs.task import Element, GoalCost, Observation, Parameter, PlantError, Task, TaskSpec

__all__ = [
    "Element",
    "GoalCost",
    "Observation",
    "Parameter",
    "PlantError",
    "Task",
    "TaskSpec",
    "catalogue",
    "make",
]

"""The pendulum and the two-link reacher."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.camera import View
from wmctrl_envs.elements import along, elements
from wmctrl_envs.mujoco_parameters import armature_scale, damping_scale, mass_scale, motor_gain
from wmctrl_envs.plant import PythonPlant
from wmctrl_envs.plant_task import Reading
from wmctrl_envs.recipe import Recipe, mujoco_plant
from wmctrl_envs.task import Element, GoalCost, Parameter

_ATTRIBUTES = {"mass": "m", "length": "l", "gravity": "g", "max_torque": "max_torque"}


def _pendulum_plant(env: gym.Env[Any, Any]) -> PythonPlant:
    nominal_gravity = float(env.get_wrapper_attr("g"))
    parameters = (
        Parameter("mass", "kg", 1.0, 0.3, 3.0, "Mass of the rod."),
        Parameter("length", "m", 1.0, 0.5, 2.0, "Length of the rod."),
        Parameter("gravity", "m/s^2", nominal_gravity, 3.0, 15.0, "Gravitational acceleration."),
        Parameter("max_torque", "N m", 2.0, 0.5, 2.0, "Torque at which the motor saturates."),
    )
    return PythonPlant(env, parameters, _ATTRIBUTES)


_PENDULUM = Recipe(
    description="A rod swings up and stays upright with too weak a motor.",
    proprio=(
        *elements("cos angle, sin angle", "1", -1.0, 1.0),
        Element("angular velocity", "rad/s", -8.0, 8.0),
    ),
    action=(Element("torque", "N m", -2.0, 2.0),),
    reading=Reading(np.asarray, lambda raw: raw[:0]),
    plant=_pendulum_plant,
)

_REACHED = 0.02
"""Distance at which fingertip and target, both spheres of about 0.01 m radius, touch [m]."""
_TIP = slice(8, 10)
_TARGET = slice(4, 6)


def _reacher_proprio(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joint angles and velocities and the fingertip's position, all without the target."""
    return np.concatenate([raw[:4], raw[6:8], raw[_TIP] + raw[_TARGET]])


def _reacher_success(raw: NDArray[np.float64], info: Mapping[str, Any]) -> bool:
    return bool(np.hypot(*raw[_TIP]) < _REACHED)


def _reacher_cost(env: Any) -> GoalCost | None:
    """The distance, when the environment is configured to reward nothing else."""
    if env._reward_control_weight != 0 or env._reward_dist_weight != 1:
        return None
    return GoalCost((6, 7), (1.0, 1.0), order=2.0, power=0.5, threshold=_REACHED)


_REACHER = Recipe(
    description="A two-link arm in the plane moves its fingertip to a target.",
    proprio=(
        *elements("cos shoulder, cos elbow, sin shoulder, sin elbow", "1", -1.0, 1.0),
        Element("shoulder velocity", "rad/s", -100.0, 100.0),
        Element("elbow velocity", "rad/s", -40.0, 40.0),
        *along("xy", "fingertip", "m", -0.21, 0.21),
    ),
    goal=along("xy", "target", "m", -0.2, 0.2),
    action=elements("shoulder torque, elbow torque", "N m", -200.0, 200.0),
    reading=Reading(_reacher_proprio, lambda raw: raw[_TARGET], _reacher_success),
    plant=mujoco_plant(
        (motor_gain(), damping_scale(), armature_scale(), mass_scale()),
        View(0.6, 90.0, -90.0, (0.0, 0.0, 0.0)),
        attributes=("goal",),
    ),
    goal_cost=_reacher_cost,
    success="The fingertip is within 0.02 m of the target.",
)

RECIPES = {"Pendulum-v1": _PENDULUM, "Reacher-v5": _REACHER}

"""HalfCheetah and Hopper: run forward."""

import numpy as np

from wmctrl_envs.camera import View
from wmctrl_envs.elements import elements
from wmctrl_envs.mujoco_parameters import (
    Shift,
    armature_scale,
    body_mass,
    damping_scale,
    gravity,
    ground_friction,
    mass_scale,
    motor_gain,
)
from wmctrl_envs.plant_task import Reading
from wmctrl_envs.recipe import Recipe, mujoco_plant
from wmctrl_envs.task import Element

_LEGS = "back thigh, back shin, back foot, front thigh, front shin, front foot"
_VELOCITIES = ", ".join(f"{name} velocity" for name in _LEGS.split(", "))


def _shifts(friction: float, torso: float) -> tuple[Shift, ...]:
    return (
        ground_friction(friction),
        body_mass("torso_mass", "torso", torso),
        mass_scale(),
        motor_gain(),
        damping_scale(),
        armature_scale(),
        gravity(),
    )


_CHEETAH = Recipe(
    description="A planar cheetah with six motors runs as fast as it can.",
    proprio=(
        Element("torso height from start", "m", -0.6, 0.6),
        Element("torso pitch", "rad", -np.pi, np.pi),
        *elements(_LEGS, "rad", -1.2, 1.05),
        Element("torso forward velocity", "m/s", -10.0, 10.0),
        Element("torso upward velocity", "m/s", -5.0, 5.0),
        Element("torso pitch velocity", "rad/s", -10.0, 10.0),
        *elements(_VELOCITIES, "rad/s", -25.0, 25.0),
    ),
    action=tuple(
        Element(f"{name} torque", "N m", -torque, torque)
        for name, torque in zip(_LEGS.split(", "), (120.0, 90.0, 60.0, 120.0, 60.0, 30.0), strict=True)
    ),
    reading=Reading(np.asarray, lambda raw: raw[:0]),
    plant=mujoco_plant(_shifts(0.4, 6.2502), View(2.4, 90.0, -12.0, (0.0, 0.0, 0.45), follow="torso")),
)

_HOPPER = Recipe(
    description="A planar one-legged robot with three motors hops forward without falling.",
    proprio=(
        Element("torso height", "m", 0.7, 1.6),
        Element("torso pitch", "rad", -0.2, 0.2),
        *elements("thigh, leg", "rad", -2.6, 0.0),
        Element("foot", "rad", -0.8, 0.8),
        Element("torso forward velocity", "m/s", -3.0, 5.0),
        Element("torso upward velocity", "m/s", -4.0, 4.0),
        Element("torso pitch velocity", "rad/s", -10.0, 10.0),
        *elements("thigh velocity, leg velocity, foot velocity", "rad/s", -10.0, 10.0),
    ),
    action=elements("thigh torque, leg torque, foot torque", "N m", -200.0, 200.0),
    reading=Reading(np.asarray, lambda raw: raw[:0]),
    plant=mujoco_plant(_shifts(2.0, 3.6652), View(2.4, 90.0, -8.0, (0.0, 0.0, 0.75), follow="torso")),
    failure="The torso is below 0.7 m or tilted by more than 0.2 rad: it has fallen.",
)

RECIPES = {"HalfCheetah-v5": _CHEETAH, "Hopper-v5": _HOPPER}

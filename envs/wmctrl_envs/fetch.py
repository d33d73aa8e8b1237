"""The Fetch arm: reach, push, pick and place, slide.

The arm is pulled along by a mocap body, so motor gains, damping and gravity hardly matter; friction, mass and the
signal path do.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.camera import View
from wmctrl_envs.elements import along, elements
from wmctrl_envs.mujoco_parameters import Shift, body_mass, object_friction, pair_friction
from wmctrl_envs.plant_task import Reading
from wmctrl_envs.recipe import Recipe, mujoco_plant
from wmctrl_envs.task import Element, GoalCost

_PERIOD = 0.04
"""Control period of all Fetch tasks [s]."""
REWARDS = ("dense", "sparse")
"""As gymnasium-robotics has them."""
_FINGERS = ("robot0:l_gripper_finger_link", "robot0:r_gripper_finger_link")


def _place(name: str, x: tuple[float, float]) -> tuple[Element, ...]:
    return Element(f"{name} x", "m", *x), Element(f"{name} y", "m", 0.45, 1.05), Element(f"{name} z", "m", 0.4, 0.9)


def _proprio(reach: tuple[float, float], field: tuple[float, float] | None, fingers_move: bool) -> tuple[Element, ...]:
    """Elements in the environment's order.

    Args:
        reach: Range of the gripper's x [m].
        field: Range of the object's x [m]; None when there is no object.
    """
    grip_speed = 0.6 if fingers_move else 0.2
    gripper = _place("gripper", reach)
    fingers = elements("right finger, left finger", "m", 0.0, 0.05)
    speed = along("xyz", "gripper velocity", "m/s", -0.6, 0.6)
    finger_speed = elements("right finger velocity, left finger velocity", "m/s", -grip_speed, grip_speed)
    if field is None:
        return gripper + fingers + speed + finger_speed
    relative = along("xyz", "object from gripper", "m", -0.4, 0.4)
    rotation = elements("object roll, object pitch, object yaw", "rad", -np.pi, np.pi)
    object_speed = along("xyz", "object velocity from gripper", "m/s", -1.0, 1.0)
    spin = along("xyz", "object angular velocity", "rad/s", -5.0, 5.0)
    thing = _place("object", field) + relative + fingers + rotation + object_speed + spin
    return gripper + thing + speed + finger_speed


def _reading(proprio: tuple[Element, ...]) -> Reading:
    """Reads SI units: the environment tells velocities as the way made in one control period."""
    scale = np.array([1.0 / _PERIOD if element.unit in ("m/s", "rad/s") else 1.0 for element in proprio])

    def read(raw: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.asarray(raw["observation"] * scale)

    return Reading(read, lambda raw: raw["desired_goal"])


def _goal_cost(achieved: tuple[int, int, int], env: Any) -> GoalCost | None:
    if env.reward_type not in REWARDS:
        raise ValueError(f"config reward_type must be {' or '.join(REWARDS)}, got {env.reward_type!r}")
    if env.reward_type == "sparse":
        return None
    moved: dict[str, Any] = {"way": (6, 7, 8), "reach": _REACH} if env.has_object else {}
    return GoalCost(achieved, (1.0, 1.0, 1.0), order=2.0, power=0.5, threshold=env.distance_threshold, **moved)


def _recipe(
    description: str,
    view: View,
    proprio: tuple[Element, ...],
    goal_x: tuple[float, float],
    shifts: tuple[Shift, ...] = (),
    fingers_move: bool = False,
) -> Recipe:
    achieved = (3, 4, 5) if shifts else (0, 1, 2)
    grip = (
        Element("finger target", "m", -1.0, 1.0) if fingers_move else Element("finger target (locked)", "m", 0.0, 0.0)
    )
    return Recipe(
        description=description,
        proprio=proprio,
        goal=_place("goal", goal_x),
        action=(*along("xyz", "gripper step", "m", -0.05, 0.05), grip),
        reading=_reading(proprio),
        plant=mujoco_plant(shifts, view, attributes=("goal",)),
        defaults={"reward_type": "dense"},
        achieved=achieved,
        goal_cost=lambda env: _goal_cost(achieved, env),
        success=f"The {proprio[achieved[0]].name.split()[0]} is within 0.05 m of the goal.",
    )


def _object_shifts(friction: float) -> tuple[Shift, ...]:
    return (
        pair_friction("table_friction", "table", ("table0",), friction),
        pair_friction("finger_friction", "fingers", _FINGERS, 1.0),
        object_friction(("table0", *_FINGERS)),
        body_mass("object_mass", "object0", 2.0),
    )


_REACH = 0.08
"""Between the middle of the hand and that of an object, which touch at half of it: the hand may go around [m]."""
_VIEW = View(1.0, 165.0, -40.0, (1.31, 0.75, 0.52), goal_site="target0")
_FAR_VIEW = View(1.35, 165.0, -45.0, (1.35, 0.75, 0.42), goal_site="target0")

_NEAR = (1.05, 1.55)
"""x of what lies in the gripper's reach [m]."""
_FAR = (0.8, 1.7)
"""x of the puck and its goals on the long table [m]."""

RECIPES = {
    "FetchReach-v4": _recipe(
        "A Fetch arm moves its gripper to a point in the air.", _VIEW, _proprio(_NEAR, None, False), _NEAR
    ),
    "FetchPush-v4": _recipe(
        "A Fetch arm pushes a block to a point on the table.",
        _VIEW,
        _proprio(_NEAR, _NEAR, False),
        _NEAR,
        _object_shifts(1.0),
    ),
    "FetchPickAndPlace-v4": _recipe(
        "A Fetch arm carries a block to a point on or above the table.",
        _VIEW,
        _proprio(_NEAR, _NEAR, True),
        _NEAR,
        _object_shifts(1.0),
        fingers_move=True,
    ),
    "FetchSlide-v4": _recipe(
        "A Fetch arm hits a puck so that it slides to a far point.",
        _FAR_VIEW,
        _proprio((0.65, 1.25), _FAR, False),
        _FAR,
        _object_shifts(0.1),
    ),
}

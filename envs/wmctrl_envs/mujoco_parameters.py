"""Physical parameters of MuJoCo models that can be shifted while they run.

Every effect is written for a model that is nominal but for the effects before it in a task's list.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wmctrl_envs.task import Parameter

SHIFTED_FIELDS = (
    "geom_friction",
    "body_mass",
    "body_inertia",
    "actuator_gear",
    "dof_damping",
    "dof_armature",
)
"""Fields of MjModel that effects write."""

DERIVED_FIELDS = (
    "body_subtreemass",
    "body_invweight0",
    "dof_invweight0",
    "dof_M0",
    "actuator_acc0",
    "eq_data",
)
"""Fields of MjModel that `mj_setConst` computes from masses and inertias."""


OBJECT = "object0"
"""Body that an arm moves."""
SLIPPERY = 1e-5
"""Sliding friction of what has none; MuJoCo's least."""


@dataclass(frozen=True)
class Shift:
    """A physical parameter together with its effect on a model."""

    parameter: Parameter
    apply: Callable[[Any, float], None]
    """Writes a value of the parameter into an MjModel."""
    moves_mass: bool = False
    """Whether quantities derived from masses must be computed anew."""


def ground_friction(nominal: float) -> Shift:
    """Sliding friction of every surface, and so of each contact with the ground, in proportion.

    Args:
        nominal: That of the contact that matters, where surfaces differ: a hopper's foot, say.
    """

    def apply(model: Any, value: float) -> None:
        model.geom_friction[:, 0] *= value / nominal

    meaning = "Sliding friction coefficient between foot and ground; that of other parts follows."
    return Shift(Parameter("ground_friction", "1", nominal, 0.1 * nominal, 3.0 * nominal, meaning), apply)


def mass_scale() -> Shift:
    """Mass and inertia of all bodies together."""

    def apply(model: Any, value: float) -> None:
        model.body_mass[:] *= value
        model.body_inertia[:] *= value

    meaning = "Factor on mass and inertia of every body."
    return Shift(Parameter("mass_scale", "1", 1.0, 0.5, 2.0, meaning), apply, moves_mass=True)


def body_mass(name: str, body: str, nominal: float) -> Shift:
    """Mass of one body, its inertia following as if its density changed."""

    def apply(model: Any, value: float) -> None:
        index = model.body(body).id
        model.body_inertia[index] *= value / model.body_mass[index]
        model.body_mass[index] = value

    meaning = f"Mass of the {name.removesuffix('_mass')}; its inertia follows."
    return Shift(Parameter(name, "kg", nominal, 0.1 * nominal, 4.0 * nominal, meaning), apply, moves_mass=True)


def motor_gain() -> Shift:
    """Force or torque of every motor at a given command."""

    def apply(model: Any, value: float) -> None:
        model.actuator_gear[:] *= value

    return Shift(Parameter("motor_gain", "1", 1.0, 0.3, 1.5, "Factor on every motor's torque."), apply)


def damping_scale() -> Shift:
    """Viscous damping of all joints."""

    def apply(model: Any, value: float) -> None:
        model.dof_damping[:] *= value

    return Shift(Parameter("damping_scale", "1", 1.0, 0.2, 5.0, "Factor on every joint's viscous damping."), apply)


def armature_scale() -> Shift:
    """Rotor inertia reflected to all joints."""

    def apply(model: Any, value: float) -> None:
        model.dof_armature[:] *= value

    meaning = "Factor on every joint's reflected rotor inertia."
    return Shift(Parameter("armature_scale", "1", 1.0, 0.3, 3.0, meaning), apply, moves_mass=True)


def gravity() -> Shift:
    """Gravitational acceleration, straight down."""

    def apply(model: Any, value: float) -> None:
        model.opt.gravity[2] = -value

    return Shift(Parameter("gravity", "m/s^2", 9.81, 3.0, 15.0, "Gravitational acceleration."), apply)


def pair_friction(name: str, other: str, bodies: Sequence[str], nominal: float) -> Shift:
    """Sliding friction between the object and other bodies."""

    def apply(model: Any, value: float) -> None:
        _leave_friction_to_others(model)
        for geom in _geoms(model, bodies):
            model.geom_friction[geom, 0] = value

    meaning = f"Sliding friction coefficient between object and {other}."
    return Shift(Parameter(name, "1", nominal, 0.1 * nominal, 3.0 * nominal, meaning), apply)


def object_friction(bodies: Sequence[str]) -> Shift:
    """Slipperiness of the object itself: a factor on its friction with each of the bodies it can touch."""

    def apply(model: Any, value: float) -> None:
        _leave_friction_to_others(model)
        for geom in _geoms(model, bodies):
            model.geom_friction[geom, 0] *= value

    meaning = "Factor on the object's sliding friction with table and fingers alike."
    return Shift(Parameter("object_friction", "1", 1.0, 0.1, 3.0, meaning), apply)


def _leave_friction_to_others(model: Any) -> None:
    """Make the object so slippery that whatever it touches decides: MuJoCo takes the larger friction of two surfaces.

    Priority would decide as well, but of two contacts' stiffness too, and fingers that grip by it drop what they held.
    """
    for geom in _geoms(model, (OBJECT,)):
        model.geom_friction[geom, 0] = SLIPPERY


def _geoms(model: Any, bodies: Sequence[str]) -> list[int]:
    starts = ((model.body(name).geomadr[0], model.body(name).geomnum[0]) for name in bodies)
    return [geom for start, count in starts for geom in range(start, start + count)]

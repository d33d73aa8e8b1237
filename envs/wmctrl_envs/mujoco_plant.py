"""MuJoCo environments as plants: shifts of the model, exact snapshots, pictures and signs of instability."""

import copy
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import NDArray

from wmctrl_envs.camera import MujocoCamera, View
from wmctrl_envs.mujoco_parameters import DERIVED_FIELDS, SHIFTED_FIELDS, Shift
from wmctrl_envs.plant import Picture

_LOGGER = logging.getLogger("mujoco")
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION.value
_INSTABILITIES = {
    mujoco.mjtWarning.mjWARN_BADQPOS: "position",
    mujoco.mjtWarning.mjWARN_BADQVEL: "velocity",
    mujoco.mjtWarning.mjWARN_BADQACC: "acceleration",
}
_POSES = (
    "xpos",
    "xquat",
    "xmat",
    "xipos",
    "ximat",
    "geom_xpos",
    "geom_xmat",
    "site_xpos",
    "site_xmat",
    "cam_xpos",
    "cam_xmat",
    "light_xpos",
    "light_xdir",
    "subtree_com",
)
"""Poses lag behind the state by one simulation step; environments and pictures read them before they are made anew."""


class MujocoMemory(NamedTuple):
    """Everything the rest of an episode depends on."""

    state: NDArray[np.float64]
    poses: tuple[NDArray[np.float64], ...]
    attributes: tuple[Any, ...]
    rng: dict[str, Any]
    values: dict[str, float]
    warnings: NDArray[np.int32]
    """How often each sign of instability was seen."""


class MujocoPlant:
    """A Gymnasium environment with an MjModel and MjData of its own.

    Args:
        shifts: Parameters that can be shifted, in the order in which their effects are applied.
        view: Where its camera stands; None for MuJoCo's default.
        attributes: Names of the environment's own attributes that change within or between episodes.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        shifts: tuple[Shift, ...] = (),
        view: View | None = None,
        attributes: tuple[str, ...] = (),
    ) -> None:
        self.env = env
        self.parameters = tuple(shift.parameter for shift in shifts)
        self._shifts, self._view, self._attributes = shifts, view, attributes
        _keep_warnings_out_of_files()
        environment: Any = env.unwrapped
        self._env, self._model, self._data = environment, environment.model, environment.data
        self._nominal = {name: getattr(self._model, name).copy() for name in SHIFTED_FIELDS + DERIVED_FIELDS}
        self._nominal_gravity = self._model.opt.gravity.copy()
        self._nominal_inertia = self._model.stat.meaninertia
        self._draws_goal = view is not None and bool(view.goal_site)
        if view is not None and view.goal_site:
            # Moving the site would need a forward pass, which alters the warm start: the camera draws the goal instead.
            self._model.site(view.goal_site).rgba[:] = 0.0
        self._values: dict[str, float] = {}
        self._cameras: dict[tuple[int, int, bool], MujocoCamera] = {}

    def set_parameters(self, values: Mapping[str, float]) -> None:
        """Make the model nominal except for these values, from the next simulation step on."""
        moved = (shift.parameter.name for shift in self._shifts if _is_moved(shift, values))
        shifted = {name: values[name] for name in moved}
        if shifted == self._values:
            return
        self._restore_nominal()
        for shift in self._shifts:
            if shift.parameter.name in shifted:
                shift.apply(self._model, shifted[shift.parameter.name])
        if any(shift.moves_mass for shift in self._shifts if shift.parameter.name in shifted):
            self._derive_constants()
        self._values = shifted

    def snapshot(self) -> MujocoMemory:
        """State of simulation, environment and random numbers."""
        state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._data, state, _STATE)
        poses = tuple(getattr(self._data, name).copy() for name in _POSES)
        attributes = tuple(copy.copy(getattr(self._env, name)) for name in self._attributes)
        rng, warnings = self._env.np_random.bit_generator.state, self._data.warning.number.copy()
        return MujocoMemory(state, poses, attributes, rng, dict(self._values), warnings)

    def restore(self, snapshot: MujocoMemory) -> None:
        """Return to a snapshot; the parameters are those it was taken with."""
        self.set_parameters(snapshot.values)
        mujoco.mj_setState(self._model, self._data, snapshot.state, _STATE)
        for name, value in zip(_POSES, snapshot.poses, strict=True):
            getattr(self._data, name)[:] = value
        for name, value in zip(self._attributes, snapshot.attributes, strict=True):
            setattr(self._env, name, copy.copy(value))
        self._env.np_random.bit_generator.state = snapshot.rng
        self._data.warning.number[:] = snapshot.warnings

    def fault(self) -> str:
        """Say so when MuJoCo found a state that is not finite or huge, after which it silently starts over."""
        counts = self._data.warning.number
        for warning, quantity in _INSTABILITIES.items():
            if counts[warning]:
                return f"the simulation became unstable (bad {quantity})"
        return ""

    def picture(self, height: int, width: int, fast: bool) -> Picture:
        """The plant seen by its camera; each size and quality has a rendering context of its own."""
        key = (height, width, fast)
        if key not in self._cameras:
            self._cameras[key] = MujocoCamera(self._model, height, width, self._view, fast)
        return self._cameras[key].picture(self._data, self._env.goal if self._draws_goal else None)

    def pixels(self, places: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
        """Where places (n, 3) [m] are in the last fine picture of a size (n, 2); nan before there is one."""
        camera = self._cameras.get((height, width, False))
        return np.full((len(places), 2), np.nan) if camera is None else camera.pixels(places)

    def close(self) -> None:
        """Release the environment and its rendering contexts."""
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()
        self.env.close()

    def _restore_nominal(self) -> None:
        for name, value in self._nominal.items():
            getattr(self._model, name)[:] = value
        self._model.opt.gravity[:] = self._nominal_gravity
        self._model.stat.meaninertia = self._nominal_inertia

    def _derive_constants(self) -> None:
        # mj_setConst overwrites the state it is given, and some releases also move welds; neither may reach the plant.
        mujoco.mj_setConst(self._model, mujoco.MjData(self._model))
        self._model.eq_data[:] = self._nominal["eq_data"]


def _keep_warnings_out_of_files() -> None:
    """Log MuJoCo's warnings; left to itself it writes MUJOCO_LOG.TXT into the working directory."""
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_LOGGER.warning)


def _is_moved(shift: Shift, values: Mapping[str, float]) -> bool:
    return values.get(shift.parameter.name, shift.parameter.nominal) != shift.parameter.nominal

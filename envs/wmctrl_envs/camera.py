"""Pictures of MuJoCo plants without a display."""

import atexit
import ctypes
import os
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOAL_NEARNESS = 0.2
_GOAL_COLOUR = np.array([1.0, 0.0, 0.0, 0.6], np.float32)
_LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}
_PACKAGES = {"egl": "libegl1 libgl1", "osmesa": "libosmesa6"}
_WITHOUT = (
    "glfw", "glx", "enable", "enabled", "on", "true", "1", "disable", "disabled", "off", "false", "0",
)  # fmt: skip
"""What MuJoCo takes for MUJOCO_GL beside these on Linux: by a display, or not at all."""
_NO_GL = (
    f"pictures need OpenGL without a display: install it with `apt-get install -y {_PACKAGES['egl']}` "
    f"(or {_PACKAGES['osmesa']} with MUJOCO_GL=osmesa), or leave the camera out"
)


@dataclass(frozen=True)
class View:
    """Where the camera stands; angles in degrees as MuJoCo's free camera has them."""

    distance: float
    """From the point looked at [m]."""
    azimuth: float
    elevation: float
    lookat: tuple[float, float, float]
    """Point looked at [m]."""
    follow: str = ""
    """Body whose x the camera follows; empty to stand still."""
    goal_site: str = ""
    """Site that the model has for the environment's goal; empty when the goal is a body of its own."""
    goal_radius: float = 0.05
    """Radius of the ball at the goal [m]; one as large as the tolerance shows depth by its size, even in 64 pixels."""


def draw_off_screen() -> None:
    """Have MuJoCo draw by EGL where it loads, else by OSMesa, and SDL without a display. Must precede importing them.

    Choices already made in the environment are left alone, and so are systems that need none.

    Raises:
        ValueError: MUJOCO_GL asks for what MuJoCo does not know or what does not load: it could not even be imported.
    """
    if not sys.platform.startswith("linux"):
        return
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")
    if chosen := os.environ.get("MUJOCO_GL", "").lower().strip():
        _check_choice(chosen)
        return
    for backend, library in _LIBRARIES.items():
        if _loads(library):
            os.environ["MUJOCO_GL"] = backend
            return


def _check_choice(chosen: str) -> None:
    if chosen not in (*_LIBRARIES, *_WITHOUT):
        raise ValueError(f"MUJOCO_GL must be egl, osmesa, glfw or disable, got {chosen}; change or unset it")
    if chosen in _LIBRARIES and not _loads(_LIBRARIES[chosen]):
        raise ValueError(
            f"MUJOCO_GL={chosen} needs {_LIBRARIES[chosen]}, which does not load; install it with"
            f" `apt-get install -y {_PACKAGES[chosen]}`, or unset MUJOCO_GL"
        )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class MujocoCamera:
    """One off-screen camera with its own rendering context.

    Args:
        view: None for MuJoCo's default view of the whole model.
        fast: Leave out multisampling, shadows and reflections; pictures then cost about a fifth.

    Raises:
        ValueError: No OpenGL without a display is installed.
    """

    def __init__(self, model: Any, height: int, width: int, view: View | None, fast: bool) -> None:
        import mujoco

        self._view = view
        self._camera = mujoco.MjvCamera()
        if view is None:
            mujoco.mjv_defaultFreeCamera(model, self._camera)
        else:
            self._camera.distance, self._camera.azimuth, self._camera.elevation = (
                view.distance,
                view.azimuth,
                view.elevation,
            )
            self._camera.lookat[:] = view.lookat
        self._renderer = _renderer(model, height, width, fast)
        # A context that outlives MuJoCo's own clean-up at exit complains on stderr, and this one's runs before that.
        atexit.register(_close, weakref.ref(self))
        if fast:
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False

    def picture(self, data: Any, goal: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
        """The scene (h, w, 3) RGB in the poses that `data` holds, with a ball at the goal [m] where there is one."""
        if self._view is not None and self._view.follow:
            self._camera.lookat[0] = self._view.lookat[0] + data.body(self._view.follow).xpos[0]
        self._renderer.update_scene(data, self._camera)
        if goal is not None and self._view is not None:
            _draw_goal(self._renderer.scene, goal, self._view.goal_radius)
        picture: NDArray[np.uint8] = self._renderer.render()
        return picture

    def pixels(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """Where places (n, 3) [m] are in the last picture (n, 2), right and down; nan for what is behind the camera."""
        eyes = self._renderer.scene.camera
        position, forward, up = (
            np.mean([getattr(eye, name) for eye in eyes], 0, np.float64) for name in ("pos", "forward", "up")
        )
        height, width = self._renderer.height, self._renderer.width
        seen = np.asarray(places, np.float64) - position
        depth = seen @ forward
        scale = np.where(depth > 0.0, eyes[0].frustum_near / np.where(depth > 0.0, depth, 1.0), np.nan)
        half, middle = 0.5 * (eyes[0].frustum_top - eyes[0].frustum_bottom), 0.5 * height
        across, above = (scale * (seen @ way) / half for way in (np.cross(forward, up), up))
        return np.stack([0.5 * width + middle * across, middle - middle * above], 1)

    def close(self) -> None:
        """Release the rendering context."""
        self._renderer.close()


def _close(camera: "weakref.ref[MujocoCamera]") -> None:
    if (alive := camera()) is not None:
        alive.close()


def _draw_goal(scene: Any, goal: NDArray[np.float64], radius: float) -> None:
    """Add the ball so that nothing hides it: shrunk towards the eye, it covers the same pixels but is nearest."""
    import mujoco

    eye = (scene.camera[0].pos + scene.camera[1].pos) / 2
    position = eye + _GOAL_NEARNESS * (goal - eye)
    size, orientation = np.full(3, _GOAL_NEARNESS * radius), np.eye(3).ravel()
    ball = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(ball, mujoco.mjtGeom.mjGEOM_SPHERE, size, position, orientation, _GOAL_COLOUR)
    scene.ngeom += 1


def _renderer(model: Any, height: int, width: int, fast: bool) -> Any:
    """A renderer whose context is made with the wanted quality, which is fixed from then on."""
    import mujoco

    quality, screen = model.vis.quality, model.vis.global_
    before = quality.offsamples, quality.shadowsize
    screen.offwidth, screen.offheight = max(screen.offwidth, width), max(screen.offheight, height)
    if fast:
        quality.offsamples, quality.shadowsize = 0, 0
    try:
        return mujoco.Renderer(model, height, width)
    except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
        raise ValueError(f"{_NO_GL} ({error})") from error
    finally:
        quality.offsamples, quality.shadowsize = before

"""Pictures: what they must show, that they repeat, and what happens without OpenGL."""

import os
import subprocess
import sys

import numpy as np
import pytest
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs import camera, robotics
from wmctrl_envs.plant import Picture

FETCH = ("FetchReach-v4", "FetchPush-v4", "FetchPickAndPlace-v4", "FetchSlide-v4")


def red_pixels(picture: Picture) -> NDArray[np.int64]:
    """Rows and columns (n, 2) of the goal's pixels."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return np.argwhere((red > green + 50) & (red > blue + 50))


@pytest.mark.parametrize("task_id", robotics.IDS)
def test_camera_alone_shows_a_changing_plant_and_repeats(task_id: str) -> None:
    task = wmctrl_envs.make(task_id, observe=("camera",))
    assert (task.task_spec.proprio, task.task_spec.goal) == ((), ())
    start = task.reset(seed=0)[0]["camera"]
    assert start.shape == (64, 64, 3)
    assert start.dtype == np.uint8
    assert start.std() > 10
    for _ in range(10):
        observation, *_ = task.step(np.ones(len(task.task_spec.action), np.float32))
    assert (observation["camera"] != start).any(axis=-1).sum() > 15
    np.testing.assert_array_equal(task.reset(seed=0)[0]["camera"], start)
    task.close()


@pytest.mark.parametrize("task_id", FETCH)
def test_goal_is_in_every_picture_and_hidden_by_nothing(task_id: str) -> None:
    task = wmctrl_envs.make(task_id, observe=("proprio", "camera"))
    sizes = [len(red_pixels(task.reset(seed=seed)[0]["camera"])) for seed in range(30)]
    assert min(sizes) >= 15
    assert max(sizes) <= 110
    task.close()


def test_goal_moves_in_the_picture_as_it_does_in_the_world() -> None:
    task = wmctrl_envs.make("FetchReach-v4", observe=("proprio", "goal", "camera"))
    starts = [task.reset(seed=seed)[0] for seed in range(25)]
    goals = np.array([start["goal"] for start in starts])
    centers = np.array([red_pixels(start["camera"]).mean(axis=0) for start in starts])
    areas = np.array([len(red_pixels(start["camera"])) for start in starts])
    # Seen from the front, y runs to the right and height up; a goal nearer the camera looks larger.
    assert np.corrcoef(goals[:, 1], centers[:, 1])[0, 1] > 0.8
    assert np.corrcoef(goals[:, 0] + goals[:, 2], areas)[0, 1] > 0.7
    task.close()


def test_drawing_leaves_the_trajectory_alone() -> None:
    seen, unseen = (wmctrl_envs.make("FetchPush-v4", observe=parts) for parts in (("proprio", "camera"), ("proprio",)))
    seen.reset(seed=1)
    unseen.reset(seed=1)
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 4)).astype(np.float32):
        seen.render()
        np.testing.assert_array_equal(seen.step(action)[0]["proprio"], unseen.step(action)[0]["proprio"])
    seen.close()
    unseen.close()


def test_restored_task_looks_the_same() -> None:
    task = wmctrl_envs.make("FetchPickAndPlace-v4", observe=("camera",))
    task.reset(seed=0)
    picture = task.step(np.ones(4, np.float32))[0]["camera"]
    snapshot = task.snapshot()
    still = np.zeros(4, np.float32)
    expected = task.step(still)[0]["camera"]
    task.reset(seed=1)
    for _ in range(2):
        task.restore(snapshot)
        np.testing.assert_array_equal(task.step(still)[0]["camera"], expected)
    assert (picture != expected).any()
    task.close()


@pytest.mark.parametrize("task_id", ["FetchReach-v4", "HalfCheetah-v5", "Pendulum-v1"])
def test_video_frames_are_larger_and_need_no_camera(task_id: str) -> None:
    task = wmctrl_envs.make(task_id)
    task.reset(seed=0)
    frame = task.render()
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (240, 320, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 5
    task.close()


def test_task_left_open_at_exit_says_nothing() -> None:
    code = (
        "import wmctrl_envs; task = wmctrl_envs.make('Reacher-v5', observe=('camera',));"
        "task.reset(); task.render(); wmctrl_envs.make('Pendulum-v1', observe=('camera',)).reset()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert ended.stderr == ""


def test_camera_size_is_the_askers_choice() -> None:
    task = wmctrl_envs.make("HalfCheetah-v5", observe=("proprio", "camera"), camera_size=48)
    assert task.reset(seed=0)[0]["camera"].shape == task.task_spec.camera == (48, 48, 3)
    task.close()


@pytest.mark.parametrize("fast", [True, False])
def test_fast_camera_leaves_out_what_costs_time_and_the_models_quality_as_it_was(fast: bool) -> None:
    camera.draw_off_screen()
    import mujoco  # not before the way of drawing is chosen

    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    before = model.vis.quality.offsamples, model.vis.quality.shadowsize
    lens = camera.MujocoCamera(model, 32, 32, None, fast)
    context, flags = lens._renderer._mjr_context, lens._renderer.scene.flags
    fine = context.offSamples, flags[mujoco.mjtRndFlag.mjRND_SHADOW], flags[mujoco.mjtRndFlag.mjRND_REFLECTION]
    assert [bool(each) for each in fine] == [not fast] * 3
    assert (context.shadowSize > 0) == (not fast)
    lens.close()
    assert (model.vis.quality.offsamples, model.vis.quality.shadowsize) == before > (0, 0)


def test_missing_opengl_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImportError("Cannot initialize a EGL device display")

    task = wmctrl_envs.make("HalfCheetah-v5", observe=("camera",))
    monkeypatch.setattr("mujoco.Renderer", fail)
    with pytest.raises(ValueError, match="apt-get install -y libegl1 libgl1") as caught:
        task.reset(seed=0)
    assert "\n" not in str(caught.value)
    task.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems need no choice")
@pytest.mark.parametrize(
    ("present", "given", "chosen"),
    [
        ("libEGL.so.1", "", "egl"),
        ("libEGL.so.1", " ", "egl"),
        ("libOSMesa.so.8", "", "osmesa"),
        ("libOSMesa.so.8", "OSMesa", "OSMesa"),
        ("", "", ""),
        ("libEGL.so.1", "glfw", "glfw"),
        ("", "disable", "disable"),
        ("", "0", "0"),
    ],
)
def test_opengl_is_chosen_by_what_loads(monkeypatch: pytest.MonkeyPatch, present: str, given: str, chosen: str) -> None:
    monkeypatch.setattr(camera, "_loads", lambda library: library == present)
    monkeypatch.setenv("MUJOCO_GL", given)
    camera.draw_off_screen()
    assert os.environ["MUJOCO_GL"] == chosen


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems need no choice")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nonsense", "MUJOCO_GL must be egl, osmesa, glfw or disable, got nonsense; change or unset it"),
        (
            "EGL",
            "MUJOCO_GL=egl needs libEGL.so.1, which does not load; install it with `apt-get install -y libegl1 libgl1",
        ),
        ("osmesa", "MUJOCO_GL=osmesa needs libOSMesa.so.8, which does not load; .* -y libosmesa6`, or unset MUJOCO_GL"),
    ],
)
def test_a_way_of_drawing_that_mujoco_could_not_import_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    monkeypatch.setattr(camera, "_loads", lambda library: False)
    monkeypatch.setenv("MUJOCO_GL", given)
    with pytest.raises(ValueError, match=message) as caught:
        wmctrl_envs.make("HalfCheetah-v5")
    assert "\n" not in str(caught.value)

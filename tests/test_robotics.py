"""Curated robotics tasks: exact rewards, physical parameters that act and are restored, episodes that repeat."""

import contextlib
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs import Observation, PlantError, Task, robotics
from wmctrl_envs.plant_task import PlantTask

FETCH = ("FetchReach-v4", "FetchPush-v4", "FetchPickAndPlace-v4", "FetchSlide-v4")
MUJOCO = (*FETCH, "HalfCheetah-v5", "Hopper-v5", "Reacher-v5")
REPEATED = ("FetchReach-v4", "FetchPush-v4", "FetchPickAndPlace-v4", "HalfCheetah-v5", "Hopper-v5", "Pendulum-v1")


def actions(task: Task, count: int, seed: int = 7) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (count, len(task.task_spec.action))).astype(np.float32)


def drive(task: Task, commands: NDArray[np.float32]) -> list[Observation]:
    return [task.step(command)[0] for command in commands]


def same(left: list[Observation], right: list[Observation]) -> bool:
    return all(
        a.keys() == b.keys() and all(np.array_equal(a[part], b[part]) for part in a)
        for a, b in zip(left, right, strict=True)
    )


def model_of(task: Task) -> Any:
    """The MuJoCo model beneath a task, to see what a parameter did to it."""
    return environment_of(task).model


def environment_of(task: Task) -> Any:
    """The Gymnasium environment beneath a task, to look behind its observations."""
    assert isinstance(task, PlantTask)
    return task._plant.env.unwrapped


@pytest.mark.parametrize("task_id", robotics.IDS)
def test_every_element_has_a_name_a_unit_and_a_finite_range(task_id: str) -> None:
    task = wmctrl_envs.make(task_id)
    observation, _ = task.reset(seed=0)
    spec = task.task_spec
    everything = spec.proprio + spec.goal + spec.action
    assert len(spec.proprio) == observation["proprio"].size
    assert len(spec.goal) == observation.get("goal", np.zeros(0)).size
    assert len({element.name for element in spec.proprio}) == len(spec.proprio)
    assert all(
        element.name and element.unit and np.isfinite([element.low, element.high]).all() for element in everything
    )
    task.close()


@pytest.mark.parametrize("task_id", robotics.IDS)
def test_step_obeys_the_contract(task_id: str) -> None:
    task = wmctrl_envs.make(task_id)
    observation, info = task.reset(seed=0)
    assert task.observation_space.contains(observation)
    assert (info["success"], info["failure"], info["cost"]) == (False, False, 0.0)
    for command in actions(task, 3):
        observation, reward, terminated, truncated, info = task.step(command)
        assert task.observation_space.contains(observation)
        assert isinstance(reward, float)
        assert (type(info["success"]), type(info["failure"]), type(info["cost"])) == (bool, bool, float)
        assert (terminated, truncated) == (False, False)
    task.close()


@pytest.mark.parametrize("task_id", FETCH)
def test_goal_cost_is_the_environments_own_reward_and_success(task_id: str) -> None:
    task = wmctrl_envs.make(task_id)
    observation, _ = task.reset(seed=3)
    cost = task.task_spec.goal_cost
    assert cost is not None
    for command in actions(task, 20):
        observation, given, _, _, info = task.step(command)
        reward = float(given)
        achieved = observation["proprio"][list(cost.achieved)]
        assert cost(achieved, observation["goal"]) == pytest.approx(-reward, abs=1e-6)
        assert info["success"] == (-reward < cost.threshold)
    environment = environment_of(task)
    achieved, goals = np.random.default_rng(0).uniform(0.4, 1.5, (2, 11, 3))
    np.testing.assert_allclose(cost(achieved, goals), -environment.compute_reward(achieved, goals, {}), rtol=1e-15)
    task.close()


def test_fetch_velocities_are_in_si_units() -> None:
    task = wmctrl_envs.make("FetchReach-v4")
    before, _ = task.reset(seed=0)
    for _ in range(3):
        before, *_ = task.step(np.array([1, 0, 0, 0], np.float32))
    after, *_ = task.step(np.array([1, 0, 0, 0], np.float32))
    names = [element.name for element in task.task_spec.proprio]
    velocity = after["proprio"][names.index("gripper velocity x")]
    assert velocity == pytest.approx((after["proprio"][0] - before["proprio"][0]) / 0.04, rel=0.3)
    task.close()


def test_sparse_fetch_reward_is_no_goal_cost_but_judges_any_goal() -> None:
    task = wmctrl_envs.make("FetchReach-v4", config={"reward_type": "sparse"})
    assert task.task_spec.goal_cost is None
    observation, _ = task.reset(seed=3)
    observation, given, *_ = task.step(np.zeros(4, np.float32))
    reached = observation["proprio"][list(task.task_spec.achieved)]
    goals = np.stack([observation["goal"], reached, reached + np.float32(0.028), reached + np.float32(0.03)])
    judged = task.goal_reward(np.broadcast_to(reached, goals.shape), goals)
    assert judged.tolist() == [given, 0.0, 0.0, -1.0], "success is within 0.05 m, which is 0.0289 m along each axis"
    task.close()
    hidden = wmctrl_envs.make("FetchReach-v4", ["proprio", "camera"], config={"reward_type": "sparse"})
    assert hidden.task_spec.achieved == (), "a goal that is only seen cannot be changed"
    hidden.close()


def test_reacher_keeps_the_target_out_of_proprioception() -> None:
    task = wmctrl_envs.make("Reacher-v5", config={"reward_control_weight": 0.0})
    observation, _ = task.reset(seed=5)
    environment = environment_of(task)
    np.testing.assert_allclose(observation["goal"], environment.get_body_com("target")[:2], atol=1e-6)
    np.testing.assert_allclose(observation["proprio"][6:], environment.get_body_com("fingertip")[:2], atol=1e-6)
    observation, given, *_ = task.step(np.array([0.3, -0.2], np.float32))
    cost = task.task_spec.goal_cost
    assert cost is not None
    assert cost(observation["proprio"][[6, 7]], observation["goal"]) == pytest.approx(-float(given), abs=1e-6)
    task.close()


def test_reacher_with_its_torque_penalty_has_no_goal_cost() -> None:
    task = wmctrl_envs.make("Reacher-v5")
    assert task.task_spec.goal_cost is None
    task.close()


def test_a_fallen_hopper_failed_and_a_cheetah_never_fails() -> None:
    hopper, cheetah = wmctrl_envs.make("Hopper-v5"), wmctrl_envs.make("HalfCheetah-v5")
    hopper.reset(seed=0)
    cheetah.reset(seed=0)
    terminated, steps, info = False, 0, {"failure": False}
    while not terminated:
        assert not info["failure"]
        _, _, terminated, _, info = hopper.step(np.ones(3, np.float32))
        steps += 1
    assert info["failure"]
    assert 1 < steps < 200
    for command in actions(cheetah, 50):
        _, _, terminated, _, info = cheetah.step(command)
        assert not terminated
        assert not info["failure"]
    hopper.close()
    cheetah.close()


@pytest.mark.parametrize("task_id", REPEATED)
def test_second_episode_equals_the_first_of_a_fresh_instance(task_id: str) -> None:
    used, fresh = wmctrl_envs.make(task_id), wmctrl_envs.make(task_id)
    commands = actions(used, 25)
    used.reset(seed=1)
    drive(used, commands[::-1])
    starts = [task.reset(seed=2)[0] for task in (used, fresh)]
    assert same(starts[:1], starts[1:])
    assert same(drive(used, commands), drive(fresh, commands))
    used.close()
    fresh.close()


@pytest.mark.parametrize("task_id", REPEATED)
def test_restored_snapshot_replays_bit_for_bit(task_id: str) -> None:
    task = wmctrl_envs.make(task_id)
    commands = actions(task, 12)
    noisy = {"observation_noise": 0.01, "action_noise": 0.1, "action_delay": 2.0}
    task.reset(seed=4, options={"parameters": noisy})
    drive(task, commands[::-1])
    snapshot = task.snapshot()
    first = drive(task, commands)
    task.set_parameters({"action_scale": 0.5})
    for _ in range(2):
        task.restore(snapshot)
        assert same(first, drive(task, commands))
    task.restore(snapshot)
    after_restore = task.reset()[0]
    task.restore(snapshot)
    assert same([after_restore], [task.reset()[0]])
    task.close()


def test_snapshot_remembers_the_step_count_and_the_parameters() -> None:
    task = wmctrl_envs.make("HalfCheetah-v5", config={"max_steps": 5})
    task.reset(seed=0, options={"parameters": {"gravity": 5.0}})
    command = np.zeros(6, np.float32)
    drive(task, np.zeros((2, 6), np.float32))
    snapshot = task.snapshot()
    task.reset()
    assert model_of(task).opt.gravity[2] == pytest.approx(-9.81)
    task.restore(snapshot)
    assert model_of(task).opt.gravity[2] == pytest.approx(-5.0)
    assert [task.step(command)[3] for _ in range(3)] == [False, False, True]
    task.close()


def ready_to_be_disturbed(task: Task) -> None:
    """Start an episode in which everything moves: the object slides in the closing hand, the hopper lands."""
    task.reset(seed=0)
    environment = environment_of(task)
    if "object x" in [element.name for element in task.task_spec.proprio]:
        joint = environment.data.joint("object0:joint")
        joint.qpos[:3], joint.qvel[0] = environment.data.site("robot0:grip").xpos, 0.3
    if task.task_spec.id == "Hopper-v5":
        environment.data.joint("rootz").qpos -= 0.1


@pytest.mark.parametrize("task_id", robotics.IDS)
def test_every_parameter_alone_changes_the_motion(task_id: str) -> None:
    task = wmctrl_envs.make(task_id)
    ready_to_be_disturbed(task)
    before, commands = task.snapshot(), actions(task, 10)
    nominal = drive(task, commands)
    for parameter in task.task_spec.parameters:
        moved = [nominal]
        for value in {parameter.low, parameter.high} - {parameter.nominal}:
            task.restore(before)
            task.set_parameters({parameter.name: value})
            moved.append(drive(task, commands))
        assert not any(same(*pair) for pair in combinations(moved, 2)), parameter.name
    task.restore(before)
    assert same(nominal, drive(task, commands))
    task.close()


@pytest.mark.parametrize("task_id", [*MUJOCO, "Pendulum-v1"])
def test_reset_restores_every_parameter_to_nominal(task_id: str) -> None:
    task, fresh = wmctrl_envs.make(task_id), wmctrl_envs.make(task_id)
    lowest = {p.name: p.low if p.low != p.nominal else p.high for p in task.task_spec.parameters}
    commands = actions(task, 10)
    task.reset(seed=0)
    fresh.reset(seed=0)
    task.set_parameters(lowest)
    shifted = drive(task, commands)
    assert not same(shifted, drive(fresh, commands))
    starts = [t.reset(seed=1)[0] for t in (task, fresh)]
    assert same(starts[:1], starts[1:])
    assert same(drive(task, commands), drive(fresh, commands))
    task.close()
    fresh.close()


@pytest.mark.parametrize("task_id", [*MUJOCO, "Pendulum-v1"])
def test_nominal_values_change_nothing(task_id: str) -> None:
    task, fresh = wmctrl_envs.make(task_id), wmctrl_envs.make(task_id)
    nominal = {parameter.name: parameter.nominal for parameter in task.task_spec.parameters}
    commands = actions(task, 8)
    task.reset(seed=0, options={"parameters": nominal})
    fresh.reset(seed=0)
    assert same(drive(task, commands), drive(fresh, commands))
    task.close()
    fresh.close()


CHEETAH = {
    "torso height from start": "rootz", "torso pitch": "rooty", "back thigh": "bthigh", "back shin": "bshin",
    "back foot": "bfoot", "front thigh": "fthigh", "front shin": "fshin", "front foot": "ffoot",
}  # fmt: skip
HOPPER = {
    "torso height": "rootz", "torso pitch": "rooty", "thigh": "thigh_joint", "leg": "leg_joint", "foot": "foot_joint",
}  # fmt: skip
TORSO = {"torso forward velocity": "rootx", "torso upward velocity": "rootz", "torso pitch velocity": "rooty"}
"""Elements and the joints they measure."""


def velocities(positions: Mapping[str, str]) -> dict[str, str]:
    """Elements of velocity, and the joints they measure, of a walker with these elements of position."""
    return TORSO | {f"{name} velocity": joint for name, joint in positions.items() if "torso" not in name}


def told(task: Task, element: str) -> float:
    """What an element says in the environment's present state."""
    assert isinstance(task, PlantTask)
    names = [each.name for each in task.task_spec.proprio]
    return float(task._reading.proprio(environment_of(task)._get_obs())[names.index(element)])


@pytest.mark.parametrize(("task_id", "joints"), [("HalfCheetah-v5", CHEETAH), ("Hopper-v5", HOPPER)])
def test_a_walkers_elements_are_named_after_the_joints_they_measure(task_id: str, joints: Mapping[str, str]) -> None:
    task = wmctrl_envs.make(task_id)
    task.reset(seed=0)
    data = environment_of(task).data
    assert {*joints, *velocities(joints)} == {element.name for element in task.task_spec.proprio}
    for element, joint in joints.items():
        data.joint(joint).qpos = 0.123
        assert told(task, element) == 0.123, element
        data.joint(joint).qpos = 0.0
    for element, joint in velocities(joints).items():
        data.joint(joint).qvel = 0.456
        assert told(task, element) == 0.456, element
        data.joint(joint).qvel = 0.0
    task.close()


def test_a_reachers_elements_are_named_after_the_joints_they_measure() -> None:
    task = wmctrl_envs.make("Reacher-v5")
    task.reset(seed=0)
    data = environment_of(task).data
    data.qpos[:2], data.qvel[:2] = (0.3, -0.7), (5.0, 7.0)  # of the joint at the base and of the one between the links
    expected = {
        "cos shoulder": np.cos(0.3), "sin shoulder": np.sin(0.3), "shoulder velocity": 5.0,
        "cos elbow": np.cos(-0.7), "sin elbow": np.sin(-0.7), "elbow velocity": 7.0,
    }  # fmt: skip
    assert {name: told(task, name) for name in expected} == pytest.approx(expected)
    task.close()


@pytest.mark.parametrize(
    ("task_id", "joints"),
    [("HalfCheetah-v5", CHEETAH), ("Hopper-v5", HOPPER), ("Reacher-v5", {"shoulder": "joint0", "elbow": "joint1"})],
)
def test_commands_are_named_after_the_joints_they_drive_and_range_over_the_torques(
    task_id: str, joints: Mapping[str, str]
) -> None:
    task = wmctrl_envs.make(task_id)
    task.reset(seed=0)
    data = environment_of(task).data
    commands = np.eye(len(task.task_spec.action), dtype=np.float32)
    for element, command in zip(task.task_spec.action, commands, strict=True):
        task.step(command)
        assert data.joint(joints[element.name.removesuffix(" torque")]).qfrc_actuator == element.high, element.name
        assert np.count_nonzero(data.qfrc_actuator) == 1
    task.close()


@pytest.mark.parametrize(
    ("task_id", "body", "name"),
    [
        ("HalfCheetah-v5", "torso", "torso_mass"),
        ("Hopper-v5", "torso", "torso_mass"),
        ("FetchPush-v4", "object0", "object_mass"),
    ],
)
def test_a_bodys_mass_is_the_models_and_its_inertia_follows(task_id: str, body: str, name: str) -> None:
    task = wmctrl_envs.make(task_id)
    task.reset(seed=0)
    model = model_of(task)
    mass, inertia = float(model.body(body).mass[0]), model.body(body).inertia.copy()
    nominal = {parameter.name: parameter.nominal for parameter in task.task_spec.parameters}
    assert nominal[name] == pytest.approx(mass, abs=1e-4)
    task.set_parameters({name: 2 * mass})
    assert model.body(body).mass[0] == 2 * mass
    np.testing.assert_allclose(model.body(body).inertia, 2 * inertia)
    task.close()


def test_mass_scales_inertia_and_what_derives_from_it_but_leaves_the_state_alone() -> None:
    task = wmctrl_envs.make("HalfCheetah-v5")
    task.reset(seed=0)
    drive(task, actions(task, 3))
    model, data = model_of(task), environment_of(task).data
    mass, inertia, subtree = model.body_mass.copy(), model.body_inertia.copy(), model.body_subtreemass.copy()
    position = data.qpos.copy()
    task.set_parameters({"mass_scale": 2.0})
    np.testing.assert_allclose(model.body_mass, 2 * mass)
    np.testing.assert_allclose(model.body_inertia, 2 * inertia)
    np.testing.assert_allclose(model.body_subtreemass, 2 * subtree)
    np.testing.assert_array_equal(data.qpos, position)
    task.reset()
    np.testing.assert_array_equal(model.body_subtreemass, subtree)
    task.close()


def test_parameters_set_one_after_another_add_up() -> None:
    task = wmctrl_envs.make("HalfCheetah-v5")
    task.reset(seed=0)
    gear = model_of(task).actuator_gear.copy()
    task.set_parameters({"motor_gain": 0.5})
    task.set_parameters({"ground_friction": 0.1})
    task.set_parameters({"motor_gain": 0.8})
    np.testing.assert_allclose(model_of(task).actuator_gear, 0.8 * gear)
    np.testing.assert_array_equal(model_of(task).geom_friction[:, 0], 0.1)
    task.close()


def slid(friction: float) -> float:
    """How far a puck given 1 m/s slides in 0.8 s on a table of this friction [m]."""
    task = wmctrl_envs.make("FetchSlide-v4")
    task.reset(seed=0, options={"parameters": {"table_friction": friction}})
    joint = environment_of(task).data.joint("object0:joint")
    start = joint.qpos[:3].copy()
    joint.qvel[0] = 1.0
    for _ in range(20):
        task.step(np.array([0, 0, 1, 0], np.float32))
    distance = float(np.linalg.norm(joint.qpos[:2] - start[:2]))
    task.close()
    return distance


def test_a_puck_slides_as_far_as_coulomb_friction_lets_it() -> None:
    # v t - mu g t^2 / 2 while it slides, v^2 / (2 mu g) once it rests.
    assert slid(0.05) == pytest.approx(0.8 - 0.05 * 9.81 * 0.8**2 / 2, rel=0.05)
    assert slid(0.3) == pytest.approx(1 / (2 * 0.3 * 9.81), rel=0.1)


def test_object_friction_acts_on_table_and_fingers() -> None:
    task = wmctrl_envs.make("FetchPickAndPlace-v4")
    task.reset(seed=0, options={"parameters": {"table_friction": 0.5, "object_friction": 0.2}})
    model = model_of(task)
    table, finger = model.body("table0").geomadr[0], model.geom("robot0:l_gripper_finger_link").id
    assert model.geom_friction[table, 0] == pytest.approx(0.1)
    assert model.geom_friction[finger, 0] == pytest.approx(0.2)
    assert model.geom_friction[model.geom("object0").id, 0] < 1e-4, "the larger friction of two surfaces counts"
    task.close()


def held_at(**values: float) -> float:
    """Height of a block after a hand closed around it and kept still for 15 steps [m]; it begins at 0.6 m."""
    task = wmctrl_envs.make("FetchPickAndPlace-v4")
    observation, _ = task.reset(seed=0, options={"parameters": values})
    joint = environment_of(task).data.joint("object0:joint")
    joint.qpos[:3], joint.qvel[:] = observation["proprio"][:3], 0.0
    for _ in range(15):
        observation, *_ = task.step(np.array([0, 0, 0, -1], np.float32))
    task.close()
    return float(observation["proprio"][5])


def test_fingers_hold_by_their_friction_and_a_hair_of_it_changes_nothing() -> None:
    held = held_at()
    assert held > 0.5
    for name in ("finger_friction", "object_friction", "table_friction"):
        assert held_at(**{name: 1.0001}) == pytest.approx(held, abs=1e-3), name
    assert held_at(finger_friction=2.0) > 0.5
    assert held_at(finger_friction=0.1) < 0.5 > held_at(object_friction=0.1)


def pendulum_acceleration(**values: float) -> float:
    """Angular acceleration of a pendulum at rest, a quarter turn from upright, at full torque [rad/s^2]."""
    task = wmctrl_envs.make("Pendulum-v1")
    task.reset(seed=0, options={"parameters": values})
    environment_of(task).state = np.array([np.pi / 2, 0.0])
    observation, *_ = task.step(np.ones(1, np.float32))
    task.close()
    return float(observation["proprio"][2] / 0.05)


def test_pendulum_parameters_follow_the_equation_of_motion() -> None:
    # 3 g / (2 l) sin(angle) + 3 / (m l^2) torque
    assert pendulum_acceleration() == pytest.approx(15.0 + 6.0, rel=1e-6)
    assert pendulum_acceleration(mass=2.0) == pytest.approx(15.0 + 3.0, rel=1e-6)
    assert pendulum_acceleration(length=2.0) == pytest.approx(7.5 + 1.5, rel=1e-6)
    assert pendulum_acceleration(gravity=4.0) == pytest.approx(6.0 + 6.0, rel=1e-6)
    assert pendulum_acceleration(max_torque=1.0) == pytest.approx(15.0 + 3.0, rel=1e-6)
    assert pendulum_acceleration(action_scale=0.5) == pytest.approx(15.0 + 3.0, rel=1e-6)
    assert pendulum_acceleration(action_delay=1.0) == pytest.approx(15.0, rel=1e-6)


def test_unstable_simulation_is_reported_not_silently_reset(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = wmctrl_envs.make("HalfCheetah-v5")
    task.reset(seed=0)
    environment_of(task).data.qvel[3] = 1e9
    with pytest.raises(PlantError, match=r"HalfCheetah-v5: the simulation became unstable .* at step 1"):
        task.step(np.zeros(6, np.float32))
    assert not list(tmp_path.iterdir())
    task.reset(seed=0)
    task.step(np.zeros(6, np.float32))
    task.close()


def test_a_snapshot_of_a_sound_plant_is_sound_after_a_breakdown(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = wmctrl_envs.make("HalfCheetah-v5")
    task.reset(seed=0)
    commands = actions(task, 5)
    snapshot = task.snapshot()
    expected = drive(task, commands)
    environment_of(task).data.qvel[3] = 1e9
    with pytest.raises(PlantError, match="unstable"):
        task.step(commands[0])
    task.restore(snapshot)
    assert same(expected, drive(task, commands))
    task.close()


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ValueError, match="FetchReach-v4"):
        wmctrl_envs.make("FetchReech-v4")
    with pytest.raises(ValueError, match="did you mean max_steps"):
        wmctrl_envs.make("HalfCheetah-v5", config={"max_step": 5})
    with pytest.raises(ValueError, match="did you mean reward_type"):
        wmctrl_envs.make("FetchReach-v4", config={"rewardtype": "dense"})
    with pytest.raises(ValueError, match="config reward_type must be dense or sparse, got 'Dense'"):
        wmctrl_envs.make("FetchReach-v4", config={"reward_type": "Dense"})
    with pytest.raises(ValueError, match="did you mean proprio"):
        wmctrl_envs.make("Pendulum-v1", observe=("propio",))
    task = wmctrl_envs.make("FetchPush-v4")
    task.reset(seed=0)
    with pytest.raises(ValueError, match="did you mean object_friction"):
        task.set_parameters({"objct_friction": 0.5})
    with pytest.raises(ValueError, match=r"object_mass must be from 0\.2 to 8 kg, came 9"):
        task.set_parameters({"object_mass": 9})
    with pytest.raises(ValueError, match="did you mean parameters"):
        task.reset(options={"parameter": {}})
    task.close()


@pytest.mark.parametrize("task_id", FETCH)
def test_the_way_from_hand_to_object_is_sensed(task_id: str) -> None:
    with contextlib.closing(wmctrl_envs.make(task_id)) as task:
        cost = task.task_spec.goal_cost
        assert cost is not None
        seen = task.reset(seed=3)[0]["proprio"]
        assert bool(cost.way) == (task_id != "FetchReach-v4")
        if cost.way:
            np.testing.assert_allclose(seen[list(cost.way)], seen[list(cost.achieved)] - seen[:3], atol=1e-6)

"""The contract of plants, and the door to them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import wmctrl_envs
from wmctrl_envs import Element, GoalCost
from wmctrl_envs.contract import checked_parameters
from wmctrl_envs.signals import PARAMETERS, SignalPath
from wmctrl_envs.suggestion import refusal


def test_goal_cost_of_order_two_is_the_euclidean_distance() -> None:
    cost = GoalCost((0, 1), (1.0, 1.0), order=2.0, power=0.5, threshold=0.05)
    np.testing.assert_allclose(cost(np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 4.0], [1.0, 1.0]])), [5.0, 0.0])


def test_goal_cost_of_order_one_weighs_absolute_differences() -> None:
    cost = GoalCost((0, 1, 2), (1.0, 0.5, 0.0), order=1.0, power=0.5, threshold=0.1)
    # sqrt(1 * |2 - 0| + 0.5 * |-4 - 0| + 0 * |9 - 0|)
    assert cost(np.array([2.0, -4.0, 9.0]), np.zeros(3)) == pytest.approx(2.0)


def test_signal_path_is_nominally_transparent() -> None:
    path, rng = SignalPath((Element("a", "m", 0.0, 2.0),), 3), np.random.default_rng(0)
    before = rng.bit_generator.state
    command, measured = np.array([0.1, -0.7, 1.0], np.float32), np.array([5.0], np.float32)
    np.testing.assert_array_equal(path.command(command, rng), command)
    np.testing.assert_array_equal(path.measurement(measured, rng), measured)
    assert rng.bit_generator.state == before


def test_delayed_commands_arrive_in_order_after_rest() -> None:
    path, rng = SignalPath((), 1), np.random.default_rng(0)
    path.set_parameters({"action_delay": 2.0})
    sent = [np.array([value], np.float32) for value in (0.1, 0.2, 0.3, 0.4)]
    assert [round(float(path.command(command, rng)[0]), 6) for command in sent] == [0.0, 0.0, 0.1, 0.2]


def test_while_a_delay_grows_the_last_command_goes_on() -> None:
    path, rng, arrived = SignalPath((), 1), np.random.default_rng(0), list[float]()
    for number, delay in enumerate((0, 0, 2, 2, 2, 2, 1, 1)):
        path.set_parameters({"action_delay": float(delay)})
        arrived.append(round(10.0 * float(path.command(np.array([number / 10.0], np.float32), rng)[0])))
    assert arrived == [0, 1, 1, 1, 2, 3, 5, 6]


def test_scaled_commands_saturate() -> None:
    path = SignalPath((), 2)
    path.set_parameters({"action_scale": 1.5})
    arrived = path.command(np.array([0.4, -0.9], np.float32), np.random.default_rng(0))
    np.testing.assert_allclose(arrived, [0.6, -1.0], rtol=1e-6)


def test_measurement_noise_has_the_asked_share_of_each_range() -> None:
    path, rng = SignalPath((Element("a", "m", -1.0, 3.0), Element("b", "m")), 1), np.random.default_rng(0)
    path.set_parameters({"observation_noise": 0.1})
    measured = np.array([path.measurement(np.array([7.0, 0.0], np.float32), rng) for _ in range(4000)])
    np.testing.assert_allclose(measured.std(axis=0), [0.4, 0.1], rtol=0.05)
    np.testing.assert_allclose(measured.mean(axis=0), [7.0, 0.0], atol=0.02)


@pytest.mark.parametrize("bound", [float(np.finfo(np.float32).max), 2e6, np.inf])
def test_an_element_with_the_bounds_of_its_type_has_range_one(bound: float) -> None:
    elements = (Element("a", "m", -bound, bound), Element("b", "m", 0.0, bound), Element("c", "m", -bound, 0.0))
    path, rng = SignalPath(elements, 1), np.random.default_rng(0)
    path.set_parameters({"observation_noise": 0.1})
    measured = np.array([path.measurement(np.zeros(3, np.float32), rng) for _ in range(4000)])
    np.testing.assert_allclose(measured.std(axis=0), [0.1, 0.1, 0.1], rtol=0.05)


def test_parameter_outside_its_range_or_not_a_number_is_refused() -> None:
    for value in (-0.1, 0.6, float("nan")):
        with pytest.raises(ValueError, match=r"action_noise must be from 0 to 0\.5, came"):
            checked_parameters({"action_noise": value}, PARAMETERS)


def test_refusal_names_the_nearest_or_everything() -> None:
    assert str(refusal("id", "Pendullum", ("Pendulum", "Reacher"))) == "unknown id 'Pendullum'; did you mean Pendulum?"
    assert str(refusal("id", "qqq", ("b", "a"))) == "unknown id 'qqq'; known: a, b"


def test_catalogue_describes_robots_and_vehicles_without_simulators() -> None:
    code = (
        "import sys, wmctrl_envs; names = wmctrl_envs.catalogue();"
        "assert {'FetchReach-v4', 'parking-v0'} <= names.keys() and all(names.values());"
        "simulators = {'mujoco', 'highway_env', 'gymnasium_robotics', 'pygame'};"
        "assert not simulators & sys.modules.keys()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_choosing_parts_empties_the_others() -> None:
    task = wmctrl_envs.make("FetchReach-v4", observe=("proprio",))
    observation, _ = task.reset(seed=0)
    assert observation.keys() == {"proprio"}
    assert (task.task_spec.goal, task.task_spec.goal_cost, task.task_spec.camera) == ((), None, None)
    task.close()


def test_a_goal_alone_is_no_observation() -> None:
    with pytest.raises(ValueError, match="must be observed by proprio, camera or both"):
        wmctrl_envs.make("FetchReach-v4", observe=("goal",))

"""Any Gymnasium environment as a task: made to measure, or refused in one clear line."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import wmctrl_envs
from gymnasium import spaces
from numpy.typing import NDArray
from wmctrl_envs import PlantError


class Cart(gym.Env[Any, NDArray[np.float32]]):
    """A cart pushed along a line; it remembers its last command and can be told to misbehave."""

    def __init__(
        self,
        start: float = 0.0,
        edge: float = np.inf,
        broken: str = "",
        unbounded: bool = False,
        meanings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.metadata = {"render_modes": [], "render_fps": 20, **meanings}
        self.action_space = spaces.Box(np.array([-1, 2], np.float32), np.array([3, 7], np.float32))
        if unbounded:
            self.action_space = spaces.Box(-np.inf, np.inf, (2,))
        self.observation_space = spaces.Box(-9.0, 9.0, (3,))
        self.start, self.edge, self.broken = start, edge, broken
        self.trace: list[float] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self.broken == "cable":
            raise OSError("no answer")
        super().reset(seed=seed)
        self.trace = [self.start]
        self.last = np.zeros(2, np.float32)
        return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.broken == "motor" and len(self.trace) > 1:
            raise RuntimeError("the motor\nis hot")
        if self.broken == "interrupted":
            raise KeyboardInterrupt
        self.last = action
        self.trace.append(self.trace[-1] + float(action[0]))
        reward = np.nan if self.broken == "reward" else -1.0
        return self._observation(), reward, abs(self.trace[-1]) > self.edge, False, {"cost": 0.5}

    def _observation(self) -> NDArray[np.float32]:
        nothing = np.inf if self.broken == "sensor" and len(self.trace) > 2 else self.trace[-1]
        return np.array([nothing, *self.last], np.float32)


class Compass(Cart):
    """A cart with a goal and a success of its own."""

    def __init__(self) -> None:
        super().__init__(edge=1.5)
        places = spaces.Box(-9.0, 9.0, (1,))
        carriage = spaces.Box(-9.0, 9.0, (3,))
        self.observation_space = spaces.Dict({"observation": carriage, "achieved_goal": places, "desired_goal": places})

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        raw, reward, terminated, truncated, info = super().step(action)
        return raw, reward, terminated, truncated, info | {"is_success": bool(self.trace[-1] > 2.5)}

    def _observation(self) -> Any:
        here = np.array(self.trace[-1:], np.float32)
        return {"observation": super()._observation(), "achieved_goal": here, "desired_goal": here + 1}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gym.register("Cart-v0", entry_point=f"{__name__}:Cart")
    gym.register("Compass-v0", entry_point=f"{__name__}:Compass", max_episode_steps=3)
    yield
    del gym.registry["Cart-v0"], gym.registry["Compass-v0"]


def command(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_commands_of_one_reach_the_limits_of_the_box() -> None:
    task = wmctrl_envs.make("Cart-v0")
    task.reset(seed=0)
    for sent, arrived in (((-1, -1), (-1, 2)), ((1, 1), (3, 7)), ((0, 0.5), (1, 5.75)), ((5, -5), (3, 2))):
        observation, *_ = task.step(command(*sent))
        np.testing.assert_allclose(observation["proprio"][1:], arrived, rtol=1e-6)
    assert [(element.low, element.high) for element in task.task_spec.action] == [(-1, 3), (2, 7)]
    assert task.task_spec.control_period == pytest.approx(0.05)


def test_an_unknown_environments_ending_is_no_failure_and_cost_is_the_environments() -> None:
    task = wmctrl_envs.make("Cart-v0", config={"edge": 2.0, "start": 0.5})
    task.reset(seed=0)
    _, _, terminated, _, info = task.step(command(0, 0))
    assert (terminated, info["success"], info["failure"], info["cost"]) == (False, False, False, 0.5)
    _, _, terminated, _, info = task.step(command(0, 0))
    assert (terminated, info["success"], info["failure"]) == (True, False, False)
    assert task.task_spec.failure == ""


def test_goal_environment_gives_goal_success_and_its_own_time_limit() -> None:
    task = wmctrl_envs.make("Compass-v0")
    observation, _ = task.reset(seed=0)
    np.testing.assert_array_equal(observation["proprio"], [0, 0, 0, 0])
    np.testing.assert_array_equal(observation["goal"], [1])
    assert task.task_spec.proprio[3].name == "achieved goal 0"
    observation, _, terminated, truncated, info = task.step(command(1, 0))
    assert (terminated, truncated, info["success"], info["failure"]) == (True, False, True, False)
    assert [task.step(command(0, 0))[3] for _ in range(2)] == [False, True]


def test_success_and_failure_are_judged_where_the_environment_says_what_they_are() -> None:
    assert wmctrl_envs.make("Cart-v0").task_spec.success == ""
    assert wmctrl_envs.make("Compass-v0").task_spec.success
    task = wmctrl_envs.make("Cart-v0", config={"edge": 1.5, "meanings": {"success": "There.", "failure": "Lost."}})
    assert (task.task_spec.success, task.task_spec.failure) == ("There.", "Lost.")
    task.reset(seed=0)
    assert [task.step(command(0, 0))[4]["failure"] for _ in range(2)] == [False, True]


def test_what_an_environment_raises_is_a_breakdown_of_the_plant() -> None:
    task = wmctrl_envs.make("Cart-v0", config={"broken": "motor"})
    task.reset(seed=0)
    task.step(command(0, 0))
    message = "Cart-v0: RuntimeError: the motor is hot after 1 steps; reset the task"
    with pytest.raises(PlantError, match=message) as told:
        task.step(command(0, 0))
    assert isinstance(told.value.__cause__, RuntimeError)
    with pytest.raises(PlantError, match="Cart-v0: OSError: no answer after 0 steps"):
        wmctrl_envs.make("Cart-v0", config={"broken": "cable"}).reset(seed=0)


def test_an_interruption_is_no_breakdown() -> None:
    task = wmctrl_envs.make("Cart-v0", config={"broken": "interrupted"})
    task.reset(seed=0)
    with pytest.raises(KeyboardInterrupt):
        task.step(command(0, 0))


def test_limitless_environment_gets_a_limit() -> None:
    task = wmctrl_envs.make("Cart-v0", config={"max_steps": 2})
    task.reset(seed=0)
    assert [task.step(command(0, 0))[3] for _ in range(2)] == [False, True]
    assert wmctrl_envs.make("Cart-v0").task_spec.max_steps == 1000


def test_snapshot_of_a_python_environment_is_untouched_by_what_follows() -> None:
    task = wmctrl_envs.make("Cart-v0")
    task.reset(seed=0)
    task.step(command(0.5, 0))
    snapshot = task.snapshot()
    expected = [task.step(command(0.2, 0))[0]["proprio"] for _ in range(3)]
    for _ in range(2):
        task.restore(snapshot)
        np.testing.assert_array_equal(expected, [task.step(command(0.2, 0))[0]["proprio"] for _ in range(3)])


@pytest.mark.parametrize("task_id", ["Ant-v5", "Swimmer-v5", "MountainCarContinuous-v0"])
def test_uncurated_environment_drives_repeats_and_restores(task_id: str) -> None:
    task = wmctrl_envs.make(task_id)
    task.reset(seed=0)
    actions = np.random.default_rng(1).uniform(-1, 1, (8, len(task.task_spec.action))).astype(np.float32)
    first = [task.step(action)[0]["proprio"] for action in actions]
    snapshot = task.snapshot()
    onward = [task.step(action)[0]["proprio"] for action in actions]
    task.restore(snapshot)
    np.testing.assert_array_equal(onward, [task.step(action)[0]["proprio"] for action in actions])
    task.reset(seed=0)
    np.testing.assert_array_equal(first, [task.step(action)[0]["proprio"] for action in actions])
    task.close()


def test_id_with_its_module_needs_no_import_before() -> None:
    task = wmctrl_envs.make("gymnasium.envs.classic_control:Pendulum-v1")
    assert task.reset(seed=0)[0]["proprio"].shape == (3,)
    task.close()


def test_values_that_are_not_finite_are_named_with_their_step() -> None:
    task = wmctrl_envs.make("Cart-v0", config={"broken": "sensor"})
    task.reset(seed=0)
    task.step(command(0, 0))
    with pytest.raises(PlantError, match="Cart-v0: `proprio 0` became inf at step 2; reset the task"):
        task.step(command(0, 0))
    task = wmctrl_envs.make("Cart-v0", config={"broken": "reward"})
    task.reset(seed=0)
    with pytest.raises(PlantError, match="the reward became nan at step 1"):
        task.step(command(0, 0))


@pytest.mark.parametrize("action", [command(0), command(0, np.nan), command(0, 0, 0)])
def test_malformed_action_is_refused(action: NDArray[np.float32]) -> None:
    task = wmctrl_envs.make("Cart-v0")
    task.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action must be \(2,\) finite values in \[-1, 1\]"):
        task.step(action)


def test_plants_that_cannot_be_driven_are_refused_in_one_line() -> None:
    refusals = {
        "CartPole-v1": "CartPole-v1 must have a vector of continuous actions, got Discrete",
        "no_such_module:Env-v0": "needs the module no_such_module",
        "Pendulum-v7": "did you mean Pendulum-v1",
        "parkin-v0": "did you mean parking-v0",
    }
    for task_id, message in refusals.items():
        with pytest.raises(ValueError, match=message) as caught:
            wmctrl_envs.make(task_id)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="must have bounded actions"):
        wmctrl_envs.make("Cart-v0", config={"unbounded": True})
    with pytest.raises(ValueError, match="did you mean edge"):
        wmctrl_envs.make("Cart-v0", config={"edgy": 2.0})
    with pytest.raises(ValueError, match="Cart-v0 draws no pictures"):
        wmctrl_envs.make("Cart-v0", observe=("camera",)).reset()

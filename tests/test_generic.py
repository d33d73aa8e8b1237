"""Any Gymnasium environment as a task: made to measure, or refused in one clear line."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import wmctrl_envs
from gymnasium import spaces
from numpy.typing import NDArray
from wmctrl_envs import PlantError
from wmctrl_envs.plant import PythonPlant
from wmctrl_envs.plant_task import PlantTask, Reading


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
        rewards: dict[str, Any] = {"reward": np.nan, "payment": None}
        reward = rewards.get(self.broken, -1.0)
        return self._observation(), reward, abs(self.trace[-1]) > self.edge, False, {"cost": 0.5}

    def _observation(self) -> NDArray[np.float32]:
        nothing = np.inf if self.broken == "sensor" and len(self.trace) > 2 else self.trace[-1]
        lost = self.broken == "cut" and len(self.trace) > 1
        return np.array([nothing, *self.last][lost:], np.float32)


class Compass(Cart):
    """A cart with a goal and a success of its own."""

    def __init__(self, start: float = 0.0, broken: str = "") -> None:
        super().__init__(start, edge=1.5, broken=broken)
        places = spaces.Box(-9.0, 9.0, (1,))
        carriage = spaces.Box(-9.0, 9.0, (3,))
        self.observation_space = spaces.Dict({"observation": carriage, "achieved_goal": places, "desired_goal": places})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        raw, info = super().reset(seed=seed, options=options)
        return raw, info | self._success()

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        raw, reward, terminated, truncated, info = super().step(action)
        return raw, reward, terminated, truncated, info | self._success()

    def _success(self) -> dict[str, Any]:
        return {"is_success": bool(self.trace[-1] > 2.5)}

    def _observation(self) -> Any:
        here = np.array(self.trace[-1:], np.float32)
        goal = here + (np.nan if self.broken == "goal" else 1)
        return {"observation": super()._observation(), "achieved_goal": here, "desired_goal": goal}


class Judge(Compass):
    """A cart whose goals can be judged anew, many at once."""

    def compute_reward(
        self, achieved_goal: NDArray[Any], desired_goal: NDArray[Any], info: dict[str, Any]
    ) -> NDArray[Any]:
        return -np.abs(achieved_goal - desired_goal)[..., 0]


class Grudge(Compass):
    """A cart that judges one goal at a time."""

    def compute_reward(self, achieved_goal: NDArray[Any], desired_goal: NDArray[Any], info: dict[str, Any]) -> float:
        return -float(np.abs(achieved_goal - desired_goal).item())


class Loom(gym.Env[Any, NDArray[np.float32]]):
    """Four motors in two rows that are told back within dictionaries, and seen in a picture of its own."""

    def __init__(self, render_mode: str = "rgb_array", shows: str = "motors") -> None:
        self.render_mode = render_mode
        most = np.array([[1, 2], [3, 5]], np.float32)
        self.action_space = spaces.Box(-most, most)
        picture = spaces.Box(0, 255, (4, 6, 3), np.uint8)
        motors = spaces.Dict({"row": spaces.Box(-5.0, 5.0, (2,)), "all": spaces.Box(-5.0, 5.0, (2, 2))})
        kinds = {
            "motors": spaces.Dict({"motor": motors, "gear": spaces.Discrete(3), "lamps": spaces.MultiBinary(2)}),
            "picture": picture,
            "both": spaces.Dict({"eye": picture, "row": spaces.Box(-5.0, 5.0, (2,))}),
            "words": spaces.Dict({"label": spaces.Text(3), "row": spaces.Box(-5.0, 5.0, (2,))}),
        }
        self.observation_space = kinds[shows]
        self.shows, self.wound = shows, np.zeros((2, 2))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.wound = np.zeros((2, 2))
        return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.wound = self.wound + action
        return self._observation(), 0.0, False, False, {}

    def render(self) -> Any:
        return np.full((4, 6, 3), 10 * self.wound[0, 0], np.uint8)

    def _observation(self) -> Any:
        motors = {"row": self.wound[0], "all": self.wound}
        shown = {"motor": motors, "gear": 1, "lamps": np.array([0, 1], np.int8), "row": self.wound[0]}
        eye = np.zeros((4, 6, 3), np.uint8)
        return eye if self.shows == "picture" else shown | {"eye": eye}


Loom.metadata = {"render_modes": ["rgb_array"], "render_fps": 10}


class Ledger(Cart):
    """A cart that writes everything it tells into the same place again."""

    def __init__(self) -> None:
        super().__init__()
        self.page = dict.fromkeys(("observation", "achieved_goal", "desired_goal"), np.zeros(3, np.float32))
        self.observation_space = spaces.Dict(dict.fromkeys(self.page, spaces.Box(-9.0, 9.0, (3,))))

    def _observation(self) -> Any:
        self.page["observation"][:] = super()._observation()
        return self.page


class Statue(Cart):
    """A cart that does not tell how often it is commanded."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata = {"render_modes": []}


def broke(**_: Any) -> Any:
    raise ImportError("run `pip install\nsomething`")


def unfinished(**_: Any) -> Any:
    raise gym.error.DependencyNotInstalled("run `pip install something`")


OWN: dict[str, Any] = {
    "Cart-v0": f"{__name__}:Cart",
    "Judge-v0": f"{__name__}:Judge",
    "Grudge-v0": f"{__name__}:Grudge",
    "Loom-v0": f"{__name__}:Loom",
    "Ledger-v0": f"{__name__}:Ledger",
    "Statue-v0": f"{__name__}:Statue",
    "Importless-v0": broke,
    "Dependent-v0": unfinished,
    "Homeless-v0": "no_such_module.deep:Env",
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for name, entry in OWN.items():
        gym.register(name, entry_point=entry)
    gym.register("Compass-v0", entry_point=f"{__name__}:Compass", max_episode_steps=3)
    yield
    for name in (*OWN, "Compass-v0"):
        del gym.registry[name]


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


def test_any_goal_is_judged_where_the_environment_judges_many_at_once() -> None:
    task = wmctrl_envs.make("Judge-v0")
    observation, _ = task.reset(seed=0)
    assert [task.task_spec.proprio[index].name for index in task.task_spec.achieved] == ["achieved goal 0"]
    reached = observation["proprio"][list(task.task_spec.achieved)]
    assert task.goal_reward(np.array([reached, reached]), np.array([[0.0], [4.0]])).tolist() == [0.0, -4.0]
    for other in ("Compass-v0", "Grudge-v0", "Cart-v0"):
        assert wmctrl_envs.make(other).task_spec.achieved == ()


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


@pytest.mark.parametrize(("start", "success"), [(0.0, False), (3.0, True)])
def test_the_first_info_tells_what_every_later_one_does(start: float, success: bool) -> None:
    _, info = wmctrl_envs.make("Compass-v0", config={"start": start}).reset(seed=0)
    assert (info["success"], info["failure"], info["cost"]) == (success, False, 0.0)


def test_commands_of_a_matrix_are_sent_row_by_row() -> None:
    task = wmctrl_envs.make("Loom-v0")
    task.reset(seed=0)
    observation, *_ = task.step(command(1, -1, 0.5, 0.2))
    names = [element.name for element in task.task_spec.proprio]
    first = names.index("motor/all 0")
    np.testing.assert_allclose(observation["proprio"][first : first + 4], [1, -2, 1.5, 1])
    assert [(element.low, element.high) for element in task.task_spec.action] == [(-1, 1), (-2, 2), (-3, 3), (-5, 5)]
    with pytest.raises(ValueError, match=r"must be \(4,\) finite values"):
        task.step(np.zeros((2, 2), np.float32))


def test_what_lies_in_nested_dictionaries_is_named_by_its_path() -> None:
    task = wmctrl_envs.make("Loom-v0")
    task.reset(seed=0)
    observation, *_ = task.step(command(1, 0.5, 0, 0))
    names = [element.name for element in task.task_spec.proprio]
    assert dict(zip(names, observation["proprio"].tolist(), strict=True)) == {
        **{"motor/row 0": 1, "motor/row 1": 1},
        **{"motor/all 0": 1, "motor/all 1": 1, "motor/all 2": 0, "motor/all 3": 0},
        **{"gear 0": 0, "gear 1": 1, "gear 2": 0, "lamps 0": 0, "lamps 1": 1},
    }
    ranges = {element.name: (element.low, element.high) for element in task.task_spec.proprio}
    assert (ranges["motor/row 1"], ranges["gear 2"], ranges["lamps 0"]) == ((-5, 5), (0, 1), (0, 1))


@pytest.mark.parametrize(("shows", "numbers"), [("picture", 0), ("both", 2)])
def test_what_is_shown_in_a_picture_is_seen_by_the_camera(shows: str, numbers: int) -> None:
    config = {"shows": shows}
    task = wmctrl_envs.make("Loom-v0", observe=("camera",), camera_size=12, config=config)
    task.reset(seed=0)
    observation = task.step(command(1, 0, 0, 0))[0]
    assert observation.keys() == {"camera"}
    assert (observation["camera"][6] == 10).all()  # rows beyond the wide picture are white
    snapshot = task.snapshot()
    task.step(command(1, 0, 0, 0))
    task.restore(snapshot)
    assert (task.step(command(0, 0, 0, 0))[0]["camera"][6] == 10).all()
    with pytest.raises(ValueError, match=r"is a picture \(4, 6, 3\); ask for it with observe=\[camera\]$"):
        wmctrl_envs.make("Loom-v0", config=config)
    if numbers:
        task = wmctrl_envs.make("Loom-v0", observe=("proprio", "camera"), config=config)
        assert [element.name for element in task.task_spec.proprio] == ["row 0", "row 1"]
    else:
        with pytest.raises(ValueError, match="part of Loom-v0's observation 'proprio'; known: camera"):
            wmctrl_envs.make("Loom-v0", observe=("proprio", "camera"), config=config)


def test_what_is_no_number_is_refused_by_its_path() -> None:
    with pytest.raises(ValueError, match="must be observed by boxes of numbers, but `label` is Text"):
        wmctrl_envs.make("Loom-v0", config={"shows": "words"})


def test_an_observation_stays_as_it_was_given() -> None:
    env, spec = gym.make("Ledger-v0", disable_env_checker=True), wmctrl_envs.make("Ledger-v0").task_spec
    whole = Reading(itemgetter("observation"), itemgetter("desired_goal"))
    task = PlantTask(PythonPlant(env), whole, replace(spec, proprio=spec.proprio[:3]), None, 64)
    first, _ = task.reset(seed=0)
    task.step(command(1, 1))
    np.testing.assert_array_equal(first["proprio"], [0, 0, 0])
    np.testing.assert_array_equal(first["goal"], [0, 0, 0])


def test_a_control_period_that_is_not_told_can_be_given() -> None:
    assert wmctrl_envs.make("Statue-v0", config={"control_period": 0.25}).task_spec.control_period == 0.25
    with pytest.raises(ValueError, match=r"has neither; give it by config control_period \[s\]$"):
        wmctrl_envs.make("Statue-v0")
    for period in (0, -0.1, np.inf, "0.1", True):
        with pytest.raises(ValueError, match=r"control_period must be a number above 0 \[s\], got "):
            wmctrl_envs.make("Statue-v0", config={"control_period": period})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dt", -0.2, r"dt of Cart-v0 must be a number above 0 \[s\], got -0.2"),
        ("dt", np.ones(2), r"dt of Cart-v0 must be a number above 0 \[s\], got array"),
        ("tau", lambda: 0.1, r"tau of Cart-v0 must be a number above 0 \[s\], got <function"),
        ("metadata", {"render_fps": -5}, r"render_fps of Cart-v0 must be a number above 0 \[1/s\], got -5"),
        ("metadata", {"render_fps": 5, "success": True}, "metadata success must be one sentence .* got True"),
    ],
)
def test_what_an_environment_says_of_itself_is_held_to_sense(
    name: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Cart.__init__

    def strange(self: Cart, **config: Any) -> None:
        begin(self, **config)
        setattr(self, name, value)

    monkeypatch.setattr(Cart, "__init__", strange)
    with pytest.raises(ValueError, match=message):
        wmctrl_envs.make("Cart-v0")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_steps": "abc"}, "max_steps must be a whole number of at least 1, got 'abc'"),
        ({"max_steps": -3}, "max_steps must be a whole number of at least 1, got -3"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1, got 0"),
        ({"max_steps": 2.5}, "max_steps must be a whole number of at least 1, got 2.5"),
        ({"max_steps": None}, "max_steps must be a whole number of at least 1, got None"),
        ({"start": "left"}, "start must be a number, such as 0, got 'left'"),
        ({"start": True}, "start must be a number, such as 0, got True"),
        ({"unbounded": 1}, "unbounded must be true or false, got 1"),
    ],
)
def test_config_value_of_another_kind_is_refused_by_its_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^config {message}$"):
        wmctrl_envs.make("Cart-v0", config=config)


def test_what_a_constructor_raises_is_told_with_the_config() -> None:
    with pytest.raises(ValueError, match=r"^Loom-v0 could not be made with config \{'shows': 'x'\}: KeyError: 'x'$"):
        wmctrl_envs.make("Loom-v0", config={"shows": "x"})


@pytest.mark.parametrize(
    ("task_id", "message"),
    [
        ("Importless-v0", "ImportError: run `pip install something`"),
        ("Dependent-v0", "DependencyNotInstalled: run `pip install something`"),
        ("Homeless-v0", "ModuleNotFoundError: No module named 'no_such_module'; install no_such_module"),
    ],
)
def test_what_an_environment_needs_and_lacks_is_told(task_id: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{task_id} could not be made: {message}$"):
        wmctrl_envs.make(task_id)


def test_a_module_that_breaks_when_it_is_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaking_module.py").write_text("raise RuntimeError('not\\nhere')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"needs the module breaking_module, .*: RuntimeError: not here$"):
        wmctrl_envs.make("breaking_module:Env-v0")


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
    task = wmctrl_envs.make("Cart-v0", config={"broken": "payment"})
    task.reset(seed=0)
    with pytest.raises(PlantError, match="Cart-v0: TypeError: float"):
        task.step(command(0, 0))


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


def test_values_that_are_not_finite_or_of_another_number_are_named_with_their_step() -> None:
    task = wmctrl_envs.make("Cart-v0", config={"broken": "sensor"})
    task.reset(seed=0)
    task.step(command(0, 0))
    with pytest.raises(PlantError, match="Cart-v0: `proprio 0` became inf at step 2; reset the task"):
        task.step(command(0, 0))
    task = wmctrl_envs.make("Cart-v0", config={"broken": "reward"})
    task.reset(seed=0)
    with pytest.raises(PlantError, match="the reward became nan at step 1"):
        task.step(command(0, 0))
    task = wmctrl_envs.make("Cart-v0", config={"broken": "cut"})
    task.reset(seed=0)
    with pytest.raises(PlantError, match=r"Cart-v0: values of shape \(2,\) of 3 elements came at step 1"):
        task.step(command(0, 0))
    with pytest.raises(PlantError, match="Compass-v0: `goal 0` became nan at step 0"):
        wmctrl_envs.make("Compass-v0", config={"broken": "goal"}).reset(seed=0)


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

"""Other methods on our tasks: they see and earn what the task tells, are judged alike, and nothing finished is lost."""

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs.task import GoalCost, PlantError, Task

from wmctrl.bench import peer_learners, peers, trials, true_plant
from wmctrl.bench.peer_learners import GoalPlant, LearnedDriver, Library, made_with
from wmctrl.bench.true_plant import Search, TruePlanner
from wmctrl.bench.zoo import SPARSE, Recipe, recipe_of
from wmctrl.cli import main
from wmctrl.commands import watch
from wmctrl.learning.evaluate import Outcome, RandomDriver, drive
from wmctrl.planning.planner import Planner

KEPT = sorted((Path(__file__).parents[1] / "configs" / "results" / "peers").glob("*.json"))
PENDULUM = ["bench", "peers", "--env", "Pendulum-v1", "--steps", "200", "--episodes", "2"]


class FakeLearner:
    """Steps its plant as often as it is told, and then does nothing."""

    made: ClassVar[list["FakeLearner"]] = []
    ends_at = -1
    """Step at which Ctrl-C comes."""

    def __init__(self, policy: str, plants: Any, seed: int, device: str, **keywords: Any) -> None:
        self.plant, self.seed, self.keywords, self.num_timesteps = plants, seed, keywords, 0
        self.made.append(self)
        self.rewards: list[float] = []

    def learn(self, steps: int, callback: Callable[[dict[str, Any], dict[str, Any]], bool]) -> None:
        self.plant.reset(seed=self.seed)
        self.actions = len(self.plant.action_space.low)
        for _ in range(steps):
            _, reward, terminated, truncated, _ = self.plant.step(np.zeros(self.actions, np.float32))
            self.rewards.append(reward)
            self.num_timesteps += 1
            if self.num_timesteps == self.ends_at:
                raise KeyboardInterrupt
            assert callback({"self": self}, {})
            if terminated or truncated:
                self.plant.reset()

    def predict(self, observation: Mapping[str, Any], deterministic: bool) -> tuple[NDArray[np.float32], None]:
        assert deterministic
        return np.zeros(self.actions, np.float32), None


def normalised(plant: Any, gamma: float) -> Any:
    plant.normalize_obs = dict
    return plant


@pytest.fixture
def learners(monkeypatch: pytest.MonkeyPatch) -> list[FakeLearner]:
    """Every learner that is made, none of which learns anything."""
    fakes = Library({"sac": FakeLearner, "tqc": FakeLearner}, list, lambda makers: makers[0](), normalised)
    monkeypatch.setattr(peer_learners, "library", lambda: fakes)
    monkeypatch.setattr(peers, "version", lambda name: f"{name} of today")
    monkeypatch.setattr(FakeLearner, "made", [])
    return FakeLearner.made


def made(task_id: str, **config: Any) -> Task:
    return wmctrl_envs.make(task_id, config=config)


@pytest.mark.parametrize(
    ("task_id", "config"), [("FetchReach-v4", {}), ("FetchReach-v4", SPARSE), ("parking-v0", {})], ids=str
)
def test_hindsight_is_told_what_the_task_tells(task_id: str, config: dict[str, Any]) -> None:
    task, twin = made(task_id, **config), made(task_id, **config)
    plant, rng = GoalPlant(task), np.random.default_rng(0)
    with closing(task), closing(twin):
        seen, told = plant.reset(seed=3)[0], twin.reset(seed=3)[0]
        achieved, desired, rewards = [], [], []
        for _ in range(12):
            action = rng.uniform(-1.0, 1.0, len(task.task_spec.action)).astype(np.float32)
            seen, reward, *_ = plant.step(action)
            told, own, *_ = twin.step(action)
            assert plant.observation_space.contains(seen)
            np.testing.assert_array_equal(seen["observation"], told["proprio"])
            np.testing.assert_array_equal(seen["achieved_goal"], told["proprio"][list(task.task_spec.achieved)])
            np.testing.assert_array_equal(seen["desired_goal"], told["goal"])
            assert reward == own
            achieved.append(seen["achieved_goal"])
            desired.append(seen["desired_goal"])
            rewards.append(reward)
        asked, reached = np.array(desired), np.array(achieved)
        np.testing.assert_allclose(plant.compute_reward(reached, asked, [{}] * 12), rewards, atol=1e-5)
        others = plant.compute_reward(reached, reached[::-1], [{}] * 12)
        np.testing.assert_allclose(others, task.goal_reward(reached, reached[::-1]), atol=1e-6)
        assert (others.dtype.name, others.shape) == ("float32", (12,))
        np.testing.assert_allclose(plant.compute_reward(reached, reached, [{}] * 12), 0.0, atol=1e-6)


def test_fetch_pays_hindsight_as_published_and_all_others_by_distance(learners: list[FakeLearner]) -> None:
    words = ["bench", "peers", "--env", "FetchPush-v4", "--steps", "101", "--episodes", "1", "--seeds", "5"]
    assert main([*words, "--methods", "tqc", "tqc+her"]) == 0
    plain, hindsight = learners
    assert set(hindsight.rewards) <= {-1.0, 0.0}
    assert not set(plain.rewards) & {-1.0, 0.0}
    assert hindsight.keywords["replay_buffer_class"] is list
    assert hindsight.keywords["replay_buffer_kwargs"] == {"n_sampled_goal": 4, "goal_selection_strategy": "future"}
    assert "replay_buffer_class" not in plain.keywords
    assert (plain.seed, plain.num_timesteps) == (5, 101)


@pytest.mark.parametrize(
    ("task_id", "wanted"),
    [
        ("Pendulum-v1", {"learning_rate": 1e-3}),
        ("HalfCheetah-v5", {"learning_starts": 10_000}),
        ("Hopper-v5", {"learning_starts": 10_000, "top_quantiles_to_drop_per_net": 5}),
        ("racetrack-v1", {}),
        ("my_package.plants:Own-v0", {}),
    ],
)
def test_what_is_published_for_a_family_is_taken_and_else_the_libraries_defaults(
    task_id: str, wanted: dict[str, Any]
) -> None:
    assert recipe_of(task_id).keywords("tqc") == wanted
    assert "top_quantiles_to_drop_per_net" not in recipe_of(task_id).keywords("sac")


def test_learning_starts_as_published_but_hindsight_not_before_an_episode_is_over() -> None:
    with closing(made("FetchReach-v4", max_steps=70)) as task:
        short, spec = Recipe({"learning_starts": 30}), task.task_spec
        assert made_with(spec, "tqc", short, 90, hindsight=False)["learning_starts"] == 30
        assert made_with(spec, "tqc", short, 90, hindsight=True) == {"learning_starts": 70, "buffer_size": 90}
        assert made_with(spec, "tqc", short, 2_000_000, hindsight=True)["buffer_size"] == 1_000_000
        with pytest.raises(ValueError, match="--steps must be more than 70: so many actions are random before tqc"):
            made_with(spec, "tqc", short, 70, hindsight=True)


def test_what_was_learned_sees_what_it_learned_from() -> None:
    asked: list[Any] = []

    def predict(observation: Any, deterministic: bool) -> tuple[NDArray[np.float64], None]:
        asked.append((observation, deterministic))
        return np.array([0.25, -0.5]), None

    learner = SimpleNamespace(predict=predict)
    driver = LearnedDriver(learner, (2, 0), lambda seen: {name: 2 * part for name, part in seen.items()})
    action, _ = driver.act(None, {"proprio": np.arange(3.0), "goal": np.array([7.0, 5.0])}, np.random.default_rng(0))
    ((seen, deterministic),) = asked
    assert {name: part.tolist() for name, part in seen.items()} == {
        "observation": [0.0, 2.0, 4.0],
        "achieved_goal": [4.0, 0.0],
        "desired_goal": [14.0, 10.0],
    }
    assert deterministic
    assert (action.dtype.name, action.tolist()) == ("float32", [0.25, -0.5])


class Line:
    """A plant at a place that is moved: at most 1 fails, at least 5 succeeds, beyond 9 it breaks down."""

    def __init__(self, failure_reward: float | None) -> None:
        self.place = 3.0
        self.task_spec = SimpleNamespace(failure_reward=failure_reward, goal_cost=None)

    def snapshot(self) -> float:
        return self.place

    def restore(self, snapshot: float) -> None:
        self.place = snapshot

    def step(self, action: NDArray[np.float32]) -> tuple[None, float, bool, bool, dict[str, bool]]:
        self.place += float(action[0])
        if self.place > 9.0:
            raise PlantError("it broke")
        failure, success = self.place <= 1.0, self.place >= 5.0
        return None, -self.place, failure or success, False, {"failure": failure, "success": success}


def test_failing_is_paid_for_ever_after_and_arriving_ends_what_is_paid() -> None:
    sequences = torch.tensor([[0.0, 0.5, 0.5], [-2.0, 0.0, 0.0], [1.0, 1.0, -5.0], [7.0, 0.0, 0.0]])[..., None]
    plant = Line(failure_reward=-10.0)
    returns, failed = TruePlanner(cast("Task", plant), Search(terminal=2.0)).worth(sequences)
    # -3 - 3.5 - 2 x 4; a failure pays -1 and then twice -10; an arrival pays -4 - 5 and no more.
    assert returns[:3].tolist() == [-14.5, -21.0, -9.0]
    assert torch.isnan(returns[3]), "no number that could be compared with others"
    assert failed.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert plant.place == 3.0
    returns, _ = TruePlanner(cast("Task", Line(failure_reward=None)), Search()).worth(sequences[1:2])
    assert returns.tolist() == [-3.0], "the last reward, where the task tells none"


class Grasp(Line):
    """It tells how far its hand is from what that moves, as far as its place."""

    def __init__(self) -> None:
        super().__init__(failure_reward=None)
        cost = GoalCost((0,), weights=(1.0,), order=2.0, power=0.5, threshold=0.1, way=(1, 2), reach=0.5)
        self.task_spec = SimpleNamespace(failure_reward=None, goal_cost=cost)

    def step(self, action: NDArray[np.float32]) -> Any:
        _, *told = super().step(action)
        return {"proprio": self.place * np.array([9.0, 0.6, 0.8])}, *told


def test_a_hand_that_is_away_from_what_it_moves_pays_for_that() -> None:
    sequence = torch.tensor([[0.0, 0.5]])[..., None]
    returns, _ = TruePlanner(cast("Task", Grasp()), Search(terminal=2.0, approach=10.0)).worth(sequence)
    assert returns.tolist() == pytest.approx([-3.0 - 25.0 - 2 * (3.5 + 30.0)])


@pytest.mark.parametrize(("task_id", "steps", "horizon"), [("FetchReach-v4", 5, 3), ("Pendulum-v1", 20, 15)])
def test_planning_on_the_plant_itself_beats_chance_in_every_episode(task_id: str, steps: int, horizon: int) -> None:
    search = Search(Planner(horizon=horizon, samples=12, iterations=2, elites=3, kept=2, init_std=0.8))
    with closing(made(task_id, max_steps=steps)) as task:
        random = drive(RandomDriver(len(task.task_spec.action)), task, 2, seed=3)
        by_chance = [outcome.reward for outcome in random]
        planned = [outcome.reward for outcome in drive(TruePlanner(task, search), task, 2, seed=3)]
    assert all(np.array(planned) > by_chance)


@pytest.mark.parametrize("task_id", ["FetchReach-v4", "Pendulum-v1", "parking-v0"])
def test_trying_candidates_leaves_the_plant_as_it_was(task_id: str) -> None:
    with closing(made(task_id)) as task, closing(made(task_id)) as twin:
        driver = TruePlanner(task, Search(Planner(horizon=3, samples=5, iterations=1, elites=2, kept=1)))
        (observation, _), plan = task.reset(seed=1), driver.start()
        twin.reset(seed=1)
        for _ in range(4):
            action, plan = driver.act(plan, observation, np.random.default_rng(0))
            observation, reward, *_ = task.step(action)
            undisturbed, same, *_ = twin.step(action)
            assert reward == same
            for name, part in undisturbed.items():
                np.testing.assert_array_equal(observation[name], part)


def test_all_are_driven_in_the_episodes_that_trials_are_judged_in(tmp_path: Path) -> None:
    kept = tmp_path / "peers.json"
    assert main([*PENDULUM, "--seeds", "4", "--methods", "random", "--json", str(kept)]) == 0
    content = json.loads(kept.read_text())
    with closing(made("Pendulum-v1")) as task:
        wanted = [outcome.reward for outcome in drive(RandomDriver(1), task, 2, trials.first_episode(4))]
    assert [outcome["reward"] for outcome in content["parts"][0]["outcomes"]] == wanted
    assert content["methods"]["random"]["summary"]["return"]["by_seed"] == pytest.approx([np.mean(wanted)])


def test_what_is_finished_is_not_done_again(
    learners: list[FakeLearner], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "peers.json"
    words = [*PENDULUM, "--json", str(kept), "--methods", "sac", "tqc", "--seeds"]
    assert main([*words, "0"]) == 0
    before = json.loads(kept.read_text())["parts"]
    assert main([*words, "1", "0"]) == 0
    assert [learner.seed for learner in learners] == [0, 0, 1, 1]
    parts = json.loads(kept.read_text())["parts"]
    assert [(part["method"], part["seed"]) for part in parts] == [("sac", 0), ("sac", 1), ("tqc", 0), ("tqc", 1)]
    assert [part for part in parts if part["seed"] == 0] == before
    assert parts[0]["libraries"]["sb3-contrib"] == "sb3-contrib of today"
    assert "sac, seed 1: learned for" in capsys.readouterr().err


def test_ctrl_c_loses_nothing_that_is_finished(
    learners: list[FakeLearner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*PENDULUM, "--json", str(tmp_path / "peers.json"), "--methods", "random", "sac", "--seeds", "0"]
    monkeypatch.setattr(FakeLearner, "ends_at", 120)
    assert main(words) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("wm bench: stopped in sac, seed 0; ")
    monkeypatch.setattr(FakeLearner, "ends_at", -1)
    monkeypatch.setattr(peers, "RandomDriver", None)
    assert main(words) == 0
    assert [learner.num_timesteps for learner in learners] == [120, 200], "a learner that was stopped starts anew"


def test_figures_of_another_question_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "peers.json"
    words = [*PENDULUM, "--seeds", "0", "--methods", "random", "--json", str(kept)]
    assert main(words) == 0
    before = kept.read_bytes()
    capsys.readouterr()
    assert main([*words, "--episodes", "3"]) == 2
    assert capsys.readouterr().err == (
        f"wm bench: {kept} has another episodes; name another file, or ask for the same\n"
    )
    assert kept.read_bytes() == before


def test_parts_by_another_way_to_make_a_driver_are_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*PENDULUM, "--seeds", "0", "--methods", "random", "--json", str(tmp_path / "peers.json")]
    assert main(words) == 0
    home, read = Path(peers.__file__), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path == home else b""))
    assert main(words) == 2
    assert "peers.json has another code" in capsys.readouterr().err


def test_without_the_libraries_one_line_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    kept = tmp_path / "peers.json"
    assert main([*PENDULUM, "--json", str(kept)]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("wm bench: peers learn with stable-baselines3 and sb3-contrib; install them: ")
    assert output.err.endswith("constraints.txt stable-baselines3 sb3-contrib\n")
    assert output.err.count("\n") == 1
    assert not kept.exists(), "before anything else is measured"
    assert main([*PENDULUM, "--seeds", "0", "--methods", "random"]) == 0, "which needs none of them"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "tqc+hre"], "--methods: tqc+hre is none; did you mean tqc+her?"),
        (["--methods", "tqc+her"], "--methods: tqc+her needs a task that tells what reaches its goal, Pendulum-v1"),
        (["--methods", "random", "--seeds", "1", "1"], "--seeds takes different seeds from 0 to 1000, came 1 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PENDULUM, *words]) == 2
    assert capsys.readouterr().err.startswith(f"wm bench: {message}")


def test_a_task_is_driven_by_every_method_that_it_allows(learners: list[FakeLearner]) -> None:
    for task_id, wanted in (
        ("Pendulum-v1", ["random", "sac", "tqc", "simulator"]),
        ("FetchReach-v4", ["random", "sac", "tqc", "tqc+her", "simulator"]),
    ):
        with closing(made(task_id)) as task:
            assert peers.chosen(None, task.task_spec) == wanted


def test_a_row_tells_intervals_over_all_episodes_and_every_seed() -> None:
    def part(seed: int, *rewards: float) -> peers.Part:
        outcomes = [Outcome(reward, 7, success=False, failure=False) for reward in rewards]
        return peers.Part("sac", seed, 2000, 90.0 + 60.0 * seed, 0.5, outcomes, {})

    with closing(made("Pendulum-v1")) as task:
        (row,) = peers.rows([part(1, 5.0, 5.0, 5.0, 9.0), part(0, 1.0, 1.0, 1.0, 5.0)], task.task_spec)
    told = dict(zip(peers.COLUMNS, row, strict=True))
    # Eight returns of mean 4 whose squared deviations sum to 56: 4 +- 2.3646 (t of 7 degrees) x sqrt(56 / 7 / 8).
    assert told["return"] == "4 (1.64 to 6.36)"
    assert (told["by seed"], told["first returns"]) == ("2 / 6", "3")
    assert (told["steps"], told["minutes"], told["success"], told["ms a decision"]) == ("2,000", "2.0", "-", "0.5")


def test_planning_on_the_plant_is_asked_for_few_episodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    search = Search(Planner(horizon=2, samples=3, iterations=1, elites=1, kept=1))
    monkeypatch.setattr(true_plant, "search_of", lambda task_id: search)
    monkeypatch.setattr(peers, "PLANNED_EPISODES", 1)
    kept = tmp_path / "peers.json"
    assert main([*PENDULUM, "--seeds", "0", "--methods", "simulator", "--json", str(kept)]) == 0
    content = json.loads(kept.read_text())
    assert len(content["parts"][0]["outcomes"]) == 1
    assert content["methods"]["simulator"]["settings"]["planner"]["samples"] == 3


def test_time_left_is_told_from_how_fast_it_goes_lately(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("wmctrl.commands.watch.time.monotonic", lambda: clock.now)
    with watch.Watch() as told:
        # A thousand random steps at once, then one step a second.
        for clock.now, done in ((0.0, 1), (1.0, 1000), (31.0, 1030), (62.0, 1061), (93.0, 1092)):
            told("sac, seed 0, steps", done, 2000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "sac, seed 0, steps: 1,030 of 2,000, 29 s left",
        "sac, seed 0, steps: 1,061 of 2,000, 55 s left",
        "sac, seed 0, steps: 1,092 of 2,000, 15 min 08 s left",
    ]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_summaries_are_those_of_the_kept_episodes(path: Path) -> None:
    content = json.loads(path.read_text())
    with closing(made(content["task"]["id"])) as task:
        spec = task.task_spec
    parts = [
        peers.Part(**one | {"outcomes": [Outcome(**each) for each in one["outcomes"]]}) for one in content["parts"]
    ]
    for name, some in peers.by_method(parts).items():
        assert len(some) == 3
        for figure, wanted in trials.summary_json(some, spec).items():
            written = content["methods"][name]["summary"][figure]
            assert written.pop("by_seed") == pytest.approx(wanted.pop("by_seed"))
            assert written == pytest.approx(wanted)


REAL = all(importlib.util.find_spec(name) for name in ("stable_baselines3", "sb3_contrib"))


@pytest.mark.skipif(not REAL, reason="stable-baselines3 and sb3-contrib are not installed")
def test_the_libraries_learn_in_hindsight_what_the_task_pays() -> None:
    recipe = Recipe(
        {"learning_starts": 50, "gamma": 0.95, "batch_size": 16, "policy_kwargs": {"net_arch": [8], "n_critics": 1}},
        normalised=True,
    )
    drivers: list[LearnedDriver] = []
    heard: list[int] = []
    for _ in range(2):
        with closing(made("FetchReach-v4", **SPARSE)) as task:
            drivers.append(peer_learners.learn(task, "tqc", recipe, 120, 0, heard.append, hindsight=True))
            sample = drivers[-1].learner.replay_buffer.sample(40)  # 32 of them with another goal
            reached, asked = (sample.next_observations[f"{name}_goal"].numpy() for name in ("achieved", "desired"))
            np.testing.assert_array_equal(sample.rewards[:, 0], task.goal_reward(reached, asked))
            assert 0 < (sample.rewards == 0.0).sum() < 40
            observation = task.reset(seed=1)[0]
    assert heard == [*range(1, 121)] * 2
    (one, _), (other, _) = (driver.act(None, observation, np.random.default_rng(0)) for driver in drivers)
    np.testing.assert_array_equal(one, other, "the same seed learns the same")
    assert one.shape == (4,)
    assert np.abs(one).max() <= 1.0


@pytest.mark.skipif(not REAL, reason="stable-baselines3 and sb3-contrib are not installed")
def test_the_libraries_learn_a_task_as_it_is(tmp_path: Path) -> None:
    kept = tmp_path / "peers.json"
    words = [*PENDULUM, "--steps", "120", "--seeds", "0", "--methods", "sac", "tqc"]
    assert main([*words, "--json", str(kept)]) == 0
    parts = json.loads(kept.read_text())["parts"]
    assert [(part["method"], part["steps"], len(part["outcomes"])) for part in parts] == [
        ("sac", 120, 2),
        ("tqc", 120, 2),
    ]
    assert parts[0]["outcomes"] != parts[1]["outcomes"]

"""What an evaluation finds out, on a run that learned for a moment only."""

import errno
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from PIL import Image
from wmctrl_envs import PlantError

from tests.tiny_run import EPISODE_AND_A_HALF, tiny
from wmctrl import cli
from wmctrl.cli import main
from wmctrl.commands import evaluation, run_folder, training, variant
from wmctrl.commands.bundle_driver import BundleDriver
from wmctrl.commands.evaluation import Evaluation, evaluate, merit
from wmctrl.commands.video import film
from wmctrl.config import Config, TaskConfig
from wmctrl.config_files import with_overrides
from wmctrl.learning.agent import Agent, AgentConfig
from wmctrl.learning.evaluate import Episode, Outcome, RandomDriver, drive, drive_episode
from wmctrl.learning.foresight import OBSERVED, Foresight, foresee, look_ahead
from wmctrl.model.world_model import Sizes
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import write_atomic

EPISODES = 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has seen one and a half episodes."""
    torch.set_num_threads(1)
    config = with_overrides(Config(TaskConfig("FetchReach-v4")), EPISODE_AND_A_HALF)
    folder = training.new_run(config, 3, "cpu", tmp_path_factory.mktemp("runs"))
    training.train(folder)
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> Evaluation:
    return evaluate(run, EPISODES, 0)


def outcome(reward: float, success: bool = False, failure: bool = False) -> Outcome:
    return Outcome(reward, 10, success, failure)


def test_an_evaluation_repeats(run: Path, found: Evaluation) -> None:
    again = evaluate(run, EPISODES, 0)
    assert again.scores[0].outcomes == found.scores[0].outcomes
    assert again.foresight is not None
    assert found.foresight is not None
    np.testing.assert_array_equal(again.foresight.low, found.foresight.low)


def test_an_episode_does_not_depend_on_those_before_it(run: Path, found: Evaluation) -> None:
    task = training.make_task(run_folder.open_run(run)[0].task)
    driver = BundleDriver(Controller.load(run / "bundle", in_time=False))
    assert drive_episode(driver, task, 0, 1).outcome == found.scores[0].outcomes[1]
    assert list(drive(driver, task, 2, 0)) == found.scores[0].outcomes


def test_in_pytorch_the_same_episodes_go_the_same_way(run: Path, found: Evaluation) -> None:
    ours, torchs, random = evaluate(run, 1, 0, policy_only=True, beside_torch=True).scores
    assert (ours.driver, torchs.driver, random.driver) == ("policy", "policy in PyTorch", "random actions")
    assert (run / "eval-policy-torch-1-episodes" / "eval.json").exists()
    assert ours.outcomes[0].reward == pytest.approx(torchs.outcomes[0].reward, abs=1e-4)
    assert ours.outcomes[0].reward != pytest.approx(random.outcomes[0].reward, abs=1e-1)


def test_what_is_kept_says_how_to_repeat_it(run: Path) -> None:
    kept = json.loads((evaluate(run, EPISODES, 7).folder / "eval.json").read_text())
    assert kept["seeds"] == [7, 8]
    assert kept["trained_steps"] == 75
    assert set(kept["drivers"]) == {"planner", "random actions"}
    assert kept["versions"]["torch"] == torch.__version__
    assert len(kept["drivers"]["planner"]["episodes"]) == EPISODES


def test_the_command_prints_a_table_or_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--episodes", "1"]) == 0
    assert "random actions" in capsys.readouterr().out
    assert main(["eval", str(run), "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "FetchReach-v4"
    assert (run / "report-1-episodes.html").exists()


def test_the_command_refuses_what_is_no_run_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_best_and_worst_are_filmed_in_whole(run: Path, found: Evaluation) -> None:
    outcomes = found.scores[0].outcomes
    best, worst = found.films
    assert best.outcome == outcomes[best.number] == max(outcomes, key=merit)
    assert worst.outcome == outcomes[worst.number] == min(outcomes, key=merit)
    with Image.open(io.BytesIO((found.folder / "best.webp").read_bytes())) as image:
        assert image.n_frames > 1  # type: ignore[attr-defined]


def test_the_policy_alone_is_kept_apart(run: Path, found: Evaluation) -> None:
    before = (found.folder / "eval.json").read_bytes()
    alone = evaluate(run, EPISODES, policy_only=True)
    assert (alone.scores[0].driver, alone.folder) == ("policy", run / "eval-policy-2-episodes")
    assert (alone.folder / "eval.json").exists()
    assert (found.folder / "eval.json").read_bytes() == before


def test_only_the_same_evaluation_has_the_same_place() -> None:
    places = [evaluation.named(Path("run"), *otherwise) for otherwise in ((), ("policy",), ("planner.samples=7",))]
    places += [evaluation.named(Path("run"), episodes=episodes, seed=seed) for episodes, seed in ((20, 0), (100, 7))]
    names = ["eval", "eval-policy", "eval-planner.samples=7", "eval-20-episodes", "eval-seed-7"]
    assert places == [Path("run") / name for name in names]


def test_settings_that_differ_are_told_by_name_and_value(run: Path) -> None:
    learned, _ = run_folder.open_run(run)
    same = f"agent.planner.samples={learned.agent.planner.samples}"
    for overrides, told in (
        (["agent.objective.action_rate=0.5", "agent.proposals=3"], ["objective.action_rate=0.5", "proposals=3"]),
        (["agent.objective.action_rate=0.25", same], ["objective.action_rate=0.25"]),
        ([same], []),
    ):
        assert variant.differences(learned, variant.planning_otherwise(learned, overrides)) == told


def test_the_command_alone_asks_for_what_is_kept_without_a_further_name() -> None:
    call = cli.parsed("eval", ["eval", "runs/some/run"])
    assert isinstance(call, partial)
    assert (call.keywords["episodes"], call.keywords["seed"]) == (None, 0)  # then evaluation.EPISODES, or a card's


def test_success_counts_more_than_return_and_failure_less() -> None:
    ranked = [outcome(9.0, failure=True), outcome(-5.0), outcome(1.0), outcome(-7.0, success=True)]
    assert sorted(ranked[::-1], key=merit) == ranked


def test_a_task_without_pictures_is_evaluated_all_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(*_: Any) -> NDArray[np.uint8]:
        raise ValueError("pictures need OpenGL")

    monkeypatch.setattr(evaluation, "picture", blind)
    found = evaluate(run, 1, 0)
    assert not found.films
    assert "pictures need OpenGL" in found.note


class Restless(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A plant that draws from numpy's own random numbers, which no seed of a reset reaches."""

    def __init__(self) -> None:
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
        self.render_mode = "rgb_array"
        self.observation_space = spaces.Box(-9.0, 9.0, (3,))
        self.action_space = spaces.Box(-1.0, 1.0, (2,))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        return np.zeros(3, np.float32), np.random.random(), False, False, {}

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


def test_a_plant_that_does_not_repeat_is_evaluated_but_not_filmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        gym.registry, "Restless-v0", EnvSpec("Restless-v0", f"{__name__}:Restless", max_episode_steps=5)
    )
    folder = training.new_run(tiny("Restless-v0", "schedule.steps=25", "schedule.evaluate_every=0"), 0, "cpu", tmp_path)
    training.train(folder)
    assert main(["eval", str(folder), "--episodes", "3"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "random actions" in told
    assert "(not filmed: Restless-v0 does not repeat: episode " in told
    assert len(json.loads((folder / "eval-3-episodes" / "eval.json").read_text())["seeds"]) == 3
    assert "does not repeat" in (folder / "report-3-episodes.html").read_text()


def test_a_breakdown_of_the_plant_is_how_an_episode_went(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = training.make_task(run_folder.open_run(run)[0].task)
    steps: list[float] = []

    def step(action: NDArray[np.float32]) -> Any:
        if len(steps) == 50 + 7:  # in the second episode
            steps.append(0.0)
            raise PlantError("the simulation became unstable")
        answer = type(task).step(task, action)
        steps.append(float(answer[1]))
        return answer

    monkeypatch.setattr(task, "step", step)
    monkeypatch.setattr(training, "make_task", lambda _: task)
    found = evaluate(run, 3, 0)
    first, second, third = found.scores[0].outcomes
    assert (first.length, second.length, third.length) == (50, 7, 50)
    assert (second.failure, second.success, second.breakdown) == (True, False, "the simulation became unstable")
    assert second.reward == pytest.approx(sum(steps[50:57]))
    assert first.breakdown == third.breakdown == ""
    assert found.note.startswith("1 of 3 episodes broke the plant down: the simulation became unstable")


def test_a_plant_that_does_not_even_start_breaks_its_episode_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = training.make_task(run_folder.open_run(run)[0].task)

    def reset(*, seed: int) -> Any:
        if seed == 1:
            raise PlantError("no road")
        return type(task).reset(task, seed=seed)

    monkeypatch.setattr(task, "reset", reset)
    monkeypatch.setattr(training, "make_task", lambda _: task)
    found = evaluate(run, 3, 0)
    assert [one.length for one in found.scores[0].outcomes] == [50, 0, 50]
    assert found.scores[0].outcomes[1].breakdown == "no road"
    monkeypatch.setattr(task, "reset", lambda seed: reset(seed=1))
    with pytest.raises(ValueError, match="no episode began: no road"):
        evaluate(run, 2, 0)


def test_a_full_disk_costs_no_figures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "write_atomic", full)
        with pytest.raises(
            ValueError, match=r"unfinished\.json: No space left .* Seen: planner: return -\d.*, success 0"
        ):
            evaluate(run, 2, 0)


def test_figures_stand_before_anything_is_predicted_from_them(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "foresee", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, 3, 5)
    kept = json.loads((run / "eval-3-episodes-seed-5" / evaluation.UNFINISHED).read_text())
    assert (kept["seeds"], len(kept["drivers"])) == ([5, 6, 7], 2)


def test_how_is_planned_can_be_changed_after_learning_and_nothing_else(run: Path, found: Evaluation) -> None:
    other = evaluate(run, EPISODES, 0, overrides=["agent.objective.action_rate=100", "agent.planner.samples=13"])
    assert other.folder == run / "eval-planner.samples=13-objective.action_rate=100.0-2-episodes"
    assert other.config.agent.objective.action_rate == 100.0
    assert [one.reward for one in other.scores[0].outcomes] != [one.reward for one in found.scores[0].outcomes]
    with pytest.raises(ValueError, match="--set can change"):
        evaluate(run, 1, 0, overrides=["agent.model.deter=8"])


@pytest.mark.parametrize(
    ("call", "driven"), [(3, "2 of 5 episodes of the planner"), (7, "1 of 5 episodes of the rand")]
)
def test_ctrl_c_keeps_what_was_driven_and_the_earlier_evaluation(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: int, driven: str
) -> None:
    calls: list[int] = []
    earlier = run / "eval-5-episodes" / "eval.json"
    write_atomic(earlier, b"earlier")

    def interrupted(*arguments: Any) -> Episode:
        calls.append(len(calls) + 1)
        if calls[-1] == call:
            raise KeyboardInterrupt
        return drive_episode(*arguments)

    monkeypatch.setattr(evaluation, "drive_episode", interrupted)
    assert main(["eval", str(run), "--episodes", "5"]) == 130
    assert f"wm eval: stopped after {driven}" in capsys.readouterr().err.splitlines()[-1]
    drivers = json.loads(earlier.with_name(evaluation.UNFINISHED).read_text())["drivers"]
    assert [len(one["episodes"]) for one in drivers.values()] == ([2] if call == 3 else [5, 1])
    assert earlier.read_bytes() == b"earlier"


def test_a_whole_evaluation_leaves_nothing_of_an_earlier_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = evaluate(run, 1, 3).folder
    (folder / evaluation.UNFINISHED).write_bytes(b"earlier")
    (folder / "worst.webp").write_bytes(b"earlier")
    evaluate(run, 1, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["best.webp", "eval.json"]


def test_random_actions_fill_the_whole_range() -> None:
    driver, generator = RandomDriver(3), np.random.default_rng(0)
    actions = np.stack([driver.act(None, {}, generator)[0] for _ in range(500)])
    assert actions.shape == (500, 3)
    assert actions.min() < -0.99
    assert actions.max() > 0.99
    assert np.abs(actions).max() <= 1.0


@pytest.mark.parametrize("pattern", ["checkpoint.json", "state-*.safetensors"])
def test_a_checkpoint_that_was_cut_short_is_refused(run: Path, pattern: str) -> None:
    (path,) = (run / "checkpoint").glob(pattern)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        evaluate(run, 1, 0)
    path.write_bytes(whole)


def test_what_is_no_run_and_no_episodes_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run"):
        evaluate(tmp_path, 1, 0)
    with pytest.raises(ValueError, match="--episodes must be at least 1"):
        evaluate(run, 0, 0)


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = training.new_run(Config(TaskConfig("Pendulum-v1")), 0, "cpu", tmp_path)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        evaluate(folder, 1, 0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("units: 16", "units: 8", "of other settings"), ("learn_behavior: true", "learn_behavior: false", "no policy")],
)
def test_what_does_not_fit_the_settings_is_refused(run: Path, old: str, new: str, words: str) -> None:
    config = run / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=words):
        evaluate(run, 1, 0, policy_only=True)
    config.write_text(text)


def test_prediction_starts_from_what_was_seen(run: Path, found: Evaluation) -> None:
    assert found.foresight is not None
    situations = EPISODES * (50 - OBSERVED - 2 * 3 + 1)
    assert found.foresight.actual.shape == (situations, 2 * 3 + 1, 10)
    assert found.foresight.still_error[0] == 0.0
    assert found.foresight.still_error[6] > 0.0


def test_nothing_is_predicted_from_episodes_that_are_too_short(run: Path) -> None:
    config, _ = run_folder.open_run(run)
    task = training.make_task(config.task)
    agent = training.load_agent(run, config, task.task_spec).agent
    short = Episode(outcome(0.0), [task.reset(seed=0)[0]] * 11, np.zeros((10, 4), np.float32), np.zeros(10))
    assert foresee(agent, [short], 10 - OBSERVED + 1, 0) is None
    assert foresee(agent, [short], 10 - OBSERVED, 0) is not None


def test_pictures_are_imagined_where_there_is_a_camera() -> None:
    sizes = Sizes(proprio=0, goal=0, action=2, camera=(32, 32, 3))
    agent = Agent(sizes, AgentConfig())
    views = list(np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8))
    episode = Episode(outcome(0.0), [{"camera": view} for view in views], np.zeros((10, 2), np.float32), np.zeros(10))
    seen = look_ahead(agent, episode, 10 - OBSERVED)
    assert seen is not None
    np.testing.assert_array_equal(seen.actual, views[OBSERVED:])
    assert seen.imagined.shape == (11 - OBSERVED, 32, 32, 3)
    assert look_ahead(agent, episode, 11 - OBSERVED) is None


def test_errors_are_worked_out_as_by_hand() -> None:
    actual = np.array([[[0.0], [3.0]], [[0.0], [4.0]]], np.float32)  # two situations, one step, one element
    mean = np.array([[[1.0], [3.0]], [[1.0], [6.0]]], np.float32)
    foresight = Foresight(actual, mean, mean - 1.0, mean + 1.0, np.array([2.0], np.float32))
    assert foresight.rmse[:, 0] == pytest.approx([1.0, np.sqrt(2.0)])
    assert foresight.error == pytest.approx([0.5, np.sqrt(2.0) / 2.0])
    assert foresight.still_error == pytest.approx([0.0, np.sqrt(12.5) / 2.0])
    assert foresight.covered == 0.5


def test_a_film_plays_in_real_time_and_ends_on_the_last_picture() -> None:
    pictures = [np.full((16, 24, 3), 10 * i, np.uint8) for i in range(22)]
    with Image.open(io.BytesIO(film(pictures, 0.01))) as image:  # 100 pictures a second, shown at 20
        frames = []
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            frames.append((int(np.asarray(image.convert("RGB"))[0, 0, 0]), image.info["duration"]))
    assert [value for value, _ in frames] == pytest.approx([0, 50, 100, 150, 200, 210], abs=4)
    assert [duration for _, duration in frames] == [50] * 5 + [1000]


def test_a_film_that_would_be_too_large_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8))
    full = len(film(pictures, 0.05))
    monkeypatch.setattr("wmctrl.commands.video.LARGEST", full // 2)
    assert len(film(pictures, 0.05)) <= full // 2

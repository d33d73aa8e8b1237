"""Plants under training: what is recorded is what was done, and nothing of one plant or episode leaks into another."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import pytest
import torch
import wmctrl_envs
from numpy.typing import NDArray
from wmctrl_envs.plant_task import PlantTask
from wmctrl_envs.task import Observation, PlantError

from tests.tiny_run import tiny
from wmctrl.commands import training
from wmctrl.learning.agent import Agent
from wmctrl.learning.drive_state import DriveState
from wmctrl.learning.evaluate import Outcome
from wmctrl.learning.plants import MOST_BREAKDOWNS, CollectConfig, Plant

Answer = tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]


def test_a_plant_that_breaks_down_loses_the_step_and_its_episode_and_is_given_up_after_ten_in_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant = Plant(wmctrl_envs.make("Pendulum-v1"), 0, 0, CollectConfig(episode_steps=3))
    works = plant.task.step

    def broken(action: NDArray[np.float32]) -> Answer:
        raise PlantError("a bolt is loose")

    def episode(*steps: Callable[[NDArray[np.float32]], Answer]) -> tuple[dict[str, Any] | None, Outcome | None]:
        plant.begin()
        for step in steps:
            monkeypatch.setattr(plant.task, "step", step)
            told = plant.step(plant.random_action())
        assert plant.over
        return told

    step, outcome = episode(works, works, broken)
    assert (step, len(plant.actions)) == (None, 2)
    assert outcome == Outcome(plant.reward, 2, success=False, failure=True, breakdown="a bolt is loose")
    for _ in range(MOST_BREAKDOWNS - 2):
        episode(broken)
    assert episode(works, works, works)[1] == Outcome(plant.reward, 3, success=False, failure=False)
    for _ in range(MOST_BREAKDOWNS - 1):  # counted from the start again
        episode(broken)
    counts = plant.counts()
    plant.breakdowns = 0
    plant.resume(counts, plant.memory(), torch.device("cpu"))
    with pytest.raises(ValueError, match=f"a bolt is loose; it broke down in {MOST_BREAKDOWNS} episodes in a row"):
        episode(broken)


def test_the_action_recorded_is_the_one_executed_and_the_one_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[NDArray[Any]] = []
    believed: list[NDArray[Any]] = []
    folder = training.new_run(tiny("FetchReach-v4", "schedule.evaluate_every=0"), 0, "cpu", tmp_path)
    step, observe = PlantTask.step, Agent.observe

    def stepped(task: PlantTask, action: NDArray[np.float32]) -> Any:
        executed.append(action.copy())
        return step(task, action)

    def observed(agent: Agent, state: DriveState, observation: Mapping[str, NDArray[Any]]) -> Any:
        believed.append(state.action.numpy().copy())
        return observe(agent, state, observation)

    monkeypatch.setattr(PlantTask, "step", stepped)
    monkeypatch.setattr(Agent, "observe", observed)
    stream = training.train(folder).replay.streams[0]
    recorded = stream.window(0, stream.total)
    np.testing.assert_array_equal(recorded["action"][recorded["is_first"] == 0.0], executed)
    assert stream.starts == [0, 51]  # 50 steps and the one they start from
    # 20 steps are random; the agent takes over knowing the last of them, and forgets at the next episode.
    np.testing.assert_array_equal(believed[:30], executed[19:49])
    np.testing.assert_array_equal(believed[30], np.zeros(4))
    np.testing.assert_array_equal(believed[31:], executed[50:65])


def broken(answer: Answer) -> Answer:
    raise ValueError("the plant broke down")


@pytest.mark.parametrize(
    ("change", "repeats"),
    [
        (lambda answer: answer, True),
        (lambda answer: (answer[0], np.nextafter(float(answer[1]), 0.0), *answer[2:]), False),
        (lambda answer: (*answer[:2], True, *answer[3:]), False),
        (lambda answer: (*answer[:3], True, answer[4]), False),
        (broken, False),
    ],
)
def test_an_episode_that_does_not_repeat_is_not_gone_on_with(
    change: Callable[[Answer], Answer], repeats: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, resumed = (Plant(wmctrl_envs.make("Pendulum-v1"), 0, 0, CollectConfig()) for _ in range(2))
    plant.begin()
    for _ in range(5):
        plant.step(plant.random_action())
    step = resumed.task.step
    monkeypatch.setattr(resumed.task, "step", lambda action: change(step(action)))
    resumed.resume(plant.counts(), plant.memory(), torch.device("cpu"))
    assert resumed.over != repeats
    if repeats:
        np.testing.assert_array_equal(resumed.observation["proprio"], plant.observation["proprio"])
    assert resumed.begin()["is_first"]
    assert (resumed.episodes, resumed.actions, resumed.over) == (2, [], False)


@pytest.mark.parametrize(
    ("task", "terminated", "truncated", "failure", "learned"),
    [
        ("FetchReach-v4", True, False, False, 0.0),  # arriving at a goal is no ending
        ("FetchReach-v4", True, False, True, 1.0),
        ("FetchReach-v4", False, True, False, 0.0),
        ("Pendulum-v1", True, False, False, 1.0),
        ("Pendulum-v1", False, True, False, 0.0),
    ],
)
def test_only_what_ends_the_task_itself_is_learned_as_an_ending(
    task: str, terminated: bool, truncated: bool, failure: bool, learned: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(wmctrl_envs.make(task), 0, 0, CollectConfig())
    plant.begin()
    answer = plant.observation, 1.0, terminated, truncated, {"success": not failure, "failure": failure}
    monkeypatch.setattr(plant.task, "step", lambda action: answer)
    step, outcome = plant.step(plant.random_action())
    assert step is not None
    assert float(step["terminated"]) == learned
    assert outcome is not None
    assert (outcome.length, outcome.failure, plant.over) == (1, failure, True)


def test_random_actions_of_a_long_episode_keep_moving() -> None:
    """Coloured over a whole episode of 1,000 steps they would hold still: neighbours would agree to 0.99 and more."""
    task = wmctrl_envs.make("HalfCheetah-v5")
    plant = Plant(task, 0, 0, CollectConfig(longest_wave=20))
    plant.begin()
    walk = plant.walk
    assert walk.shape == (task.task_spec.max_steps, len(task.task_spec.action))
    assert float(np.abs(walk).max()) <= 1.0

    def agreement(lag: int) -> float:
        return float((walk[lag:] * walk[:-lag]).mean() / (walk**2).mean())

    assert agreement(1) > 0.6  # it wanders
    assert abs(agreement(100)) < 0.1  # but not for long


@pytest.mark.parametrize(("exponent", "agreement"), [(0.0, 0.0), (1.0, 0.55), (2.0, 0.88)])
def test_exploration_has_the_std_and_colour_that_were_asked(exponent: float, agreement: float) -> None:
    plant = Plant(
        wmctrl_envs.make("HalfCheetah-v5"), 0, 0, CollectConfig(exploration_std=0.3, exploration_exponent=exponent)
    )
    plant.begin()
    noise = plant.noise
    assert plant.exploration() == pytest.approx(noise[0])
    assert float(noise.std()) == pytest.approx(0.3, rel=0.1)
    assert float((noise[1:] * noise[:-1]).mean() / (noise**2).mean()) == pytest.approx(agreement, abs=0.1)


def test_an_episode_cut_short_is_over_but_has_not_ended() -> None:
    plant = Plant(wmctrl_envs.make("HalfCheetah-v5"), 0, 0, CollectConfig(episode_steps=3))
    for _ in range(2):
        plant.begin()
        steps = [plant.step(plant.random_action()) for _ in range(3)]
        assert [outcome is not None for _, outcome in steps] == [False, False, True]
        assert plant.over
        assert not any(step is None or step["terminated"] for step, _ in steps)


def driven(plants: Sequence[Plant], steps: int) -> list[list[NDArray[Any]]]:
    """What each of some plants shows, driven in turns."""
    shown: list[list[NDArray[Any]]] = [[] for _ in plants]
    for _ in range(steps):
        for plant, seen in zip(plants, shown, strict=True):
            if plant.over:
                seen.append(plant.begin()["proprio"])
            plant.step(plant.random_action())
            seen.append(plant.observation["proprio"])
    return shown


def drawn_parameters(
    episodes: int, *, number: int = 0, seed: int = 0, randomise: tuple[str, ...] = (), **parameters: float
) -> list[Any]:
    """Physical parameters that the pendulum's resets were asked for."""
    config = CollectConfig(randomise=randomise, parameters=parameters)
    plant = Plant(wmctrl_envs.make("Pendulum-v1"), number, seed, config)
    reset, asked = plant.task.reset, []

    def watched(*, seed: int, options: dict[str, Any]) -> Any:
        asked.append(options["parameters"])
        return reset(seed=seed, options=options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plant.task, "reset", watched)
        for _ in range(episodes):
            plant.begin()
    return asked


def test_every_episode_draws_its_parameters_evenly_from_their_range() -> None:
    asked = drawn_parameters(60, randomise=("mass", "length"))
    ranges = {p.name: p for p in wmctrl_envs.make("Pendulum-v1").task_spec.parameters}
    assert all(episode.keys() == {"mass", "length"} for episode in asked)
    for name in ("mass", "length"):
        low, high = ranges[name].low, ranges[name].high
        share = np.array([(episode[name] - low) / (high - low) for episode in asked])
        assert 0.0 <= share.min() < 0.1 < 0.9 < share.max() <= 1.0
        assert share.mean() == pytest.approx(0.5, abs=0.15)  # 4 sigma
        assert len(set(share)) == 60


def test_drawn_parameters_repeat_with_the_seed_and_differ_between_plants_and_runs() -> None:
    drawn = partial(drawn_parameters, 3, randomise=("mass",))
    assert drawn() == drawn()
    assert len({str(one) for one in (drawn(), drawn(number=1), drawn(seed=1))}) == 3


def test_parameters_are_as_given_where_they_are_not_drawn() -> None:
    asked = drawn_parameters(3, randomise=("mass",), length=0.9)
    assert [episode["length"] for episode in asked] == [0.9] * 3
    assert len({episode["mass"] for episode in asked}) == 3


def test_without_parameters_to_draw_the_plant_is_the_nominal_one() -> None:
    assert drawn_parameters(2) == [{}, {}]


SPARSE = (
    *("task.config.reward_type=sparse", "agent.objective.reward=1", "agent.objective.goal=0"),
    *("agent.objective.approach=0", "agent.goal_std=null"),
)
"""A reward that is no distance, so that it must be learned."""


@pytest.mark.parametrize(
    ("task", "overrides", "expected"),
    [
        ("FetchReach-v4", (), -4.0),
        ("FetchPush-v4", SPARSE, -1.0),
        ("parking-v0", (), -0.2),  # 4 m off in x: sqrt(0.01 * 4)
        ("Pendulum-v1", (), None),
    ],
)
def test_goals_are_judged_anew_in_hindsight_where_the_task_can_judge_any(
    task: str, overrides: tuple[str, ...], expected: float | None, tmp_path: Path
) -> None:
    facts = {"seed": 0, "device": "cpu", "recorded": None}
    trainer = training.assemble(tiny(task, *overrides), tmp_path, facts)
    hindsight, spec = trainer.replay.hindsight, trainer.examiner.task_spec
    assert (hindsight is None) == (expected is None)
    if hindsight is not None:
        assert hindsight.achieved == spec.achieved != ()
        goal = np.zeros((2, len(spec.goal)))
        achieved = goal.copy()
        achieved[1, 0] = 4.0
        assert hindsight.reward(achieved, goal).tolist() == pytest.approx([0.0, expected])


@pytest.mark.parametrize("task", ["highway-v0", "FetchPush-v4"])
def test_plants_side_by_side_do_not_influence_one_another(task: str) -> None:
    names = tuple(parameter.name for parameter in wmctrl_envs.make(task).task_spec.parameters)
    config = CollectConfig(randomise=names)

    def made(number: int) -> Plant:
        return Plant(wmctrl_envs.make(task), number, 0, config)

    together = driven([made(0), made(1)], 30)
    alone = [driven([made(number)], 30)[0] for number in (0, 1)]
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1], alone[1])
    assert not np.array_equal(together[0][1], together[1][1])

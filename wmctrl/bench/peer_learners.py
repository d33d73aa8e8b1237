"""Learners of stable-baselines3 and sb3-contrib on our tasks: what they see, how they learn, and how they drive."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from wmctrl_envs.task import Observation, Task, TaskSpec

from wmctrl.bench.zoo import RELABELLED, Algorithm, Recipe
from wmctrl.config_files import shipped

DISTRIBUTIONS = ("stable-baselines3", "sb3-contrib")
POLICY = "MultiInputPolicy"
"""Networks over all vectors of a dictionary, one after another; of a single one, the same as `MlpPolicy`."""
STORED = 1_000_000
"""Transitions that a learner keeps at most, as is published."""
STARTS = 100
"""Steps of random actions before the first update where nothing else is published, the libraries' default."""


class Library(NamedTuple):
    """What is used of the two."""

    algorithms: Mapping[Algorithm, Callable[..., Any]]
    hindsight: type
    """Replay that answers with other goals than an episode had."""
    plants: Callable[..., Any]
    """One plant or more as the learners want them."""
    normalised: Callable[..., Any]
    """Plants whose observations and rewards are normalised."""


def library() -> Library:
    """Both libraries.

    Raises:
        ValueError: They are not installed.
    """
    try:
        from sb3_contrib import TQC
        from stable_baselines3 import SAC
        from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
        from stable_baselines3.her import HerReplayBuffer
    except ImportError as error:
        line = f"{sys.executable} -m pip install -c {shipped('constraints.txt')} {' '.join(DISTRIBUTIONS)}"
        raise ValueError(f"peers learn with {' and '.join(DISTRIBUTIONS)}; install them: {line}") from error
    return Library({"sac": SAC, "tqc": TQC}, HerReplayBuffer, DummyVecEnv, VecNormalize)


def with_goals(observation: Mapping[str, NDArray[Any]], achieved: tuple[int, ...]) -> Observation:
    """An observation in the names of Gymnasium-Robotics' goal environments.

    Args:
        achieved: Indices into `proprio` of what is compared with the goal.
    """
    proprio = observation["proprio"]
    return {"observation": proprio, "achieved_goal": proprio[list(achieved)], "desired_goal": observation["goal"]}


class GoalPlant(gym.Env[Observation, NDArray[np.float32]]):
    """A task in the form that hindsight is learned in, which tells the reward of any goal.

    That is the goal's part of the task's reward: what a crash costs beside it is not in the rewards of other goals, as
    it is not in those that highway-env tells.
    """

    def __init__(self, task: Task) -> None:
        """
        Args:
            task: One that observes proprioception and goals, and tells what is `achieved`.
        """
        spec = task.task_spec
        self.task, self.achieved, self.action_space = task, spec.achieved, task.action_space
        sizes = {"observation": len(spec.proprio)} | dict.fromkeys(("achieved_goal", "desired_goal"), len(spec.goal))
        boxes = [(name, spaces.Box(-np.inf, np.inf, (size,), np.float32)) for name, size in sizes.items()]
        self.observation_space = cast("spaces.Space[Observation]", spaces.Dict(boxes))  # gymnasium types only the Dict

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As the task does."""
        observation, info = self.task.reset(seed=seed, options=options)
        return with_goals(observation, self.achieved), info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """As the task does."""
        observation, reward, terminated, truncated, info = self.task.step(action)
        return with_goals(observation, self.achieved), float(reward), terminated, truncated, info

    def compute_reward(self, achieved: NDArray[Any], desired: NDArray[Any], infos: object) -> NDArray[np.float32]:
        """Rewards (n,) of reaching (n, G) when asked for (n, G)."""
        return np.asarray(self.task.goal_reward(achieved, desired), np.float32)


@dataclass(frozen=True)
class LearnedDriver:
    """What was learned, driving without exploration."""

    learner: Any
    """Its `predict` decides."""
    achieved: tuple[int, ...] | None
    """Indices into `proprio` where it was learned in hindsight."""
    normalise: Callable[[Observation], Observation]
    """By what was met while learning."""

    def start(self) -> None:
        """Nothing is carried."""

    def act(
        self, state: None, observation: Mapping[str, NDArray[Any]], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], None]:
        """Action (A,) in [-1, 1]."""
        seen = dict(observation) if self.achieved is None else with_goals(observation, self.achieved)
        action, _ = self.learner.predict(self.normalise(seen), deterministic=True)
        return np.asarray(action, np.float32), None


def learn(
    task: Task,
    algorithm: Algorithm,
    recipe: Recipe,
    steps: int,
    seed: int,
    listen: Callable[[int], None],
    *,
    hindsight: bool,
) -> LearnedDriver:
    """Learn a task in as many steps of it.

    Args:
        listen: Told the number of steps after each.
        hindsight: Learn from what every episode would have been worth with other goals, too.

    Raises:
        ValueError: The libraries are not installed, or nothing would be learned in so few steps.
    """
    use, spec = library(), task.task_spec
    keywords = made_with(spec, algorithm, recipe, steps, hindsight=hindsight)
    if hindsight:
        of_goals = {"n_sampled_goal": RELABELLED, "goal_selection_strategy": recipe.goals}
        keywords |= {"replay_buffer_class": use.hindsight, "replay_buffer_kwargs": of_goals}
    plants = use.plants([lambda: GoalPlant(task) if hindsight else task])
    if recipe.normalised:
        plants = use.normalised(plants, gamma=keywords["gamma"])
    learner = use.algorithms[algorithm](POLICY, plants, seed=seed, device="cpu", **keywords)

    def heard(variables: dict[str, Any], _: dict[str, Any]) -> bool:
        listen(variables["self"].num_timesteps)
        return True

    learner.learn(steps, callback=heard)
    return LearnedDriver(
        learner, spec.achieved if hindsight else None, plants.normalize_obs if recipe.normalised else dict
    )


def made_with(spec: TaskSpec, algorithm: Algorithm, recipe: Recipe, steps: int, *, hindsight: bool) -> dict[str, Any]:
    """Keywords of an algorithm for a task: those published, a replay no larger than all steps, and a first episode.

    Raises:
        ValueError: Nothing would be learned in so few steps.
    """
    keywords = recipe.keywords(algorithm)
    starts = keywords.get("learning_starts", STARTS)
    if hindsight:  # which begins with whole episodes
        starts = max(starts, spec.max_steps)
    if steps <= starts:
        raise ValueError(
            f"--steps must be more than {starts:,}: so many actions are random before {algorithm} learns"
            f" {spec.id} as is published; came {steps:,}"
        )
    return keywords | {"learning_starts": starts, "buffer_size": min(STORED, steps)}

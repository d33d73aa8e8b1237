"""Plants that a training run drives and records."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from wmctrl_envs.task import Observation, PlantError, Task

from wmctrl.learning.drive_state import DriveState
from wmctrl.learning.evaluate import Outcome
from wmctrl.limits import require_at_least, require_positive
from wmctrl.runtime.experience import step_of
from wmctrl.runtime.noise import coloured_noise

MOST_BREAKDOWNS = 10
"""Episodes in a row that a plant may break down in before it is given up."""


@dataclass(frozen=True)
class CollectConfig:
    """How experience is gathered."""

    plants: int = 1
    """Plants driven side by side."""
    exploration_std: float = 0.2
    """Std of the noise added to the agent's actions."""
    exploration_exponent: float = 0.0
    """Colour of that noise: 0 is white; 1, pink, moves a plant further (Eberhard et al. 2023)."""
    search_std: float | None = None
    """Std that the planner's search starts with from an episode's second decision on, while experience is gathered.

    None takes its `init_std`.
    A wide search finds plans that the model overrates: good data to learn from, and bad plans to drive by.
    """
    prefill: int = 500
    """Steps of random actions before the agent drives, over all plants."""
    prefill_exponent: float = 2.0
    """Colour of the random actions: 2 wanders, which reaches further than white noise; 0 is white."""
    longest_wave: int = 50
    """Of random actions and coloured noise [steps]: a wave as long as a long episode would hardly move in it."""
    episode_steps: int = 0
    """Steps after which an episode is cut short, so that a plant that fell over stands up again; 0 never cuts."""
    randomise: tuple[str, ...] = ()
    """Physical parameters drawn anew for every episode, evenly from their range."""
    parameters: dict[str, float] = field(default_factory=dict)
    """Physical parameters of every episode; those neither here nor in `randomise` are nominal, as all are in looks."""
    config: dict[str, Any] = field(default_factory=dict)
    """Entries of the environment's configuration that differ while experience is gathered, such as more traffic."""

    def __post_init__(self) -> None:
        require_at_least(self, plants=1, exploration_std=0, prefill=0, prefill_exponent=0)
        require_at_least(self, exploration_exponent=0, longest_wave=1, episode_steps=0)
        require_positive(self, "search_std", or_null=True)


@dataclass
class Plant:
    """One plant: its task, the episode so far, and what the agent carries along.

    An episode is made again from the run's seed, its own number and its actions, so nothing of the plant is stored.
    """

    task: Task
    number: int
    """Which of the run's plants this is."""
    seed: int
    """The run's seed."""
    config: CollectConfig
    episodes: int = 0
    """Episodes begun."""
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    """Of the episode so far."""
    reward: float = 0.0
    """Return of the episode so far."""
    state: DriveState | None = None
    """What the agent carries along; None before its first action in the episode."""
    observation: Observation = field(default_factory=dict)
    """The last one."""
    over: bool = True
    """Whether the next step needs a new episode."""
    breakdowns: int = 0
    """The last episodes, in a row, that the plant broke down in."""

    def begin(self) -> dict[str, Any]:
        """Start the next episode and return its first step for the replay."""
        self.episodes += 1
        self.actions, self.reward, self.state = [], 0.0, None
        first = self._reset()
        self.over = False
        return first

    def step(self, action: NDArray[np.float32]) -> tuple[dict[str, Any] | None, Outcome | None]:
        """Apply an action; the step for the replay, and how the episode went when it is over.

        Where the plant breaks down there is no step: its episode is over with the one before.

        Raises:
            ValueError: The plant broke down once too often.
        """
        self.over = True
        try:
            self.observation, reward, terminated, truncated, info = self.task.step(action)
        except PlantError as error:
            self.breakdowns += 1
            if self.breakdowns == MOST_BREAKDOWNS:
                raise ValueError(f"{error}; it broke down in {MOST_BREAKDOWNS} episodes in a row") from error
            return None, Outcome(self.reward, len(self.actions), success=False, failure=True, breakdown=str(error))
        self.actions.append(action)
        self.reward += float(reward)
        failure = bool(info["failure"])
        arrival = {"reward": float(reward), "terminated": terminated, "failure": failure}
        step = step_of(self.observation, action, first=False, **arrival)
        self.over = terminated or truncated or len(self.actions) == self.config.episode_steps
        if not self.over:
            return step, None
        self.breakdowns = 0
        return step, Outcome(self.reward, len(self.actions), bool(info["success"]), failure)

    def random_action(self) -> NDArray[np.float32]:
        """The next action of this episode's random walk (A,)."""
        return self.walk[len(self.actions)]

    def exploration(self) -> NDArray[np.float32]:
        """What is added to the agent's next action (A,)."""
        return self.noise[len(self.actions)]

    def counts(self) -> dict[str, Any]:
        """What must be kept beside `memory`, as JSON can hold it."""
        return {"episodes": self.episodes, "reward": self.reward, "over": self.over, "breakdowns": self.breakdowns}

    def memory(self) -> dict[str, NDArray[Any]]:
        """What must be kept to go on from here later."""
        kept: dict[str, NDArray[Any]] = {"actions": np.array(self.actions, np.float32)}
        return kept if self.state is None else kept | self.state.arrays()

    def resume(self, counts: Mapping[str, Any], memory: dict[str, NDArray[Any]], device: torch.device) -> None:
        """Bring a fresh plant to where another's `counts` and `memory` were taken, by doing its episode again.

        Where its end or its return shows that it does not repeat, another is due: its state is not the recorded one.
        """
        self.episodes, self.reward, self.over = counts["episodes"], counts["reward"], counts["over"]
        self.breakdowns = counts["breakdowns"]
        self.actions = list(memory["actions"])
        if "deter" in memory:
            self.state = DriveState.of_arrays(memory, device)
        if self.over:
            return
        self.over = True
        with suppress(ValueError):  # it breaks down where it did not before
            self.over = not self._repeats()

    def _repeats(self) -> bool:
        """Do the episode so far again; whether it goes on as it did, and returns the same to the last bit."""
        self._reset()
        total = 0.0
        for action in self.actions:
            self.observation, reward, terminated, truncated, _ = self.task.step(action)
            total += float(reward)
            if terminated or truncated:
                return False
        return total == self.reward

    def _reset(self) -> dict[str, Any]:
        """Reset the plant to the start of the episode numbered `episodes`."""
        spec = self.task.task_spec
        generator = np.random.default_rng([self.seed, self.number, self.episodes])
        drawn = {
            p.name: float(generator.uniform(p.low, p.high)) for p in spec.parameters if p.name in self.config.randomise
        }
        parameters = self.config.parameters | drawn
        self.walk = np.clip(self._noise(self.config.prefill_exponent, generator), -1.0, 1.0)
        self.noise = self.config.exploration_std * self._noise(self.config.exploration_exponent, generator)
        self.observation, _ = self.task.reset(seed=int(generator.integers(2**31)), options={"parameters": parameters})
        return step_of(self.observation, np.zeros(len(spec.action), np.float32), first=True)

    def _noise(self, exponent: float, generator: np.random.Generator) -> NDArray[np.float32]:
        """Unit noise for a whole episode (max_steps, A), one stretch after another."""
        spec, wave = self.task.task_spec, min(self.config.longest_wave, self.task.task_spec.max_steps)
        stretches = -(-spec.max_steps // wave)
        return coloured_noise(stretches, wave, len(spec.action), exponent, generator).reshape(stretches * wave, -1)

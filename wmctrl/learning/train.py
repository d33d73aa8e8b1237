"""A training run: collect, learn, look, save, from a folder that can go on where it stopped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from wmctrl_envs.task import Task

from wmctrl.learning.agent import Agent
from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.evaluate import Outcome, drive
from wmctrl.learning.plants import Plant
from wmctrl.learning.replay import Replay
from wmctrl.limits import require_at_least

EXAMINATION_SEED = 2_000_000_011
"""Episodes of looks start from here on, far from those of `wm eval`."""
COUNTS = ("step", "looked", "told", "saves")
"""A trainer's counters, which its checkpoint keeps."""


@dataclass(frozen=True)
class Schedule:
    """When a run does what."""

    steps: int = 10_000
    """Environment steps in all, random ones included."""
    first_updates: int = 500
    """Updates on the random steps before the agent drives."""
    updates_per_step: float = 1.0
    """Updates for every later environment step."""
    evaluate_every: int = 2_500
    """Steps between looks at how well the agent drives; 0 never looks."""
    evaluate_episodes: int = 3
    """Episodes of a look."""
    checkpoint_every: int = 1_000
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        require_at_least(self, steps=1, first_updates=0, updates_per_step=0, evaluate_every=0)
        require_at_least(self, evaluate_episodes=1, checkpoint_every=1)


@dataclass(frozen=True)
class Progress:
    """How a run stands, for whoever watches it."""

    step: int
    updates: int
    metrics: Mapping[str, float]
    """Losses of the last update, and the newest figures of driving."""


Listener = Callable[[Progress, Mapping[str, float]], None]
"""Told how the run stands, and what is new and should be kept (empty when nothing is)."""


def _nobody(progress: Progress, news: Mapping[str, float]) -> None:
    """Listens to a run that nobody watches."""


class Trainer:
    """Drives plants, learns from them and keeps a checkpoint of everything."""

    def __init__(
        self,
        agent: Agent,
        replay: Replay,
        plants: Sequence[Plant],
        schedule: Schedule,
        folder: Path,
        seed: int,
        examiner: Task,
    ) -> None:
        """
        Args:
            plants: What is driven; with none, the replay is all there will ever be, and every step only learns.
            examiner: A plant of its own for looks, so that looking changes nothing of the run.
        """
        self.agent, self.replay, self.plants, self.schedule = agent, replay, plants, schedule
        self.checkpoint = CheckpointFolder(folder / "checkpoint")
        self.examiner = examiner
        self.listener: Listener = _nobody
        self.prefill = plants[0].config.prefill if plants else 0
        self.generator = np.random.default_rng([seed, 1])
        self.learn_generator = torch.Generator(agent.device).manual_seed(int(self.generator.integers(2**63)))
        self.step = 0
        self.looked = 0
        """Step of the last look."""
        self.told = 0
        """Times the listener got news, so that what it keeps can be cut back to a checkpoint."""
        self.saves = 0
        """Checkpoints made; it tells their files apart, so that none is ever written over."""
        self.saved = 0
        """Step of the last checkpoint."""
        self.metrics: dict[str, float] = {}
        self.stopping = False
        """Set it, from a signal handler say, to save and stop within an update or an episode of a look."""

    @property
    def updates(self) -> int:
        """Updates of the agent so far."""
        return self.agent.updates

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.schedule.steps and self.updates >= self._due() and not self._look_due()

    def run(self, listener: Listener) -> None:
        """Go on to the schedule's last step, or until `stopping`, and save.

        A round that `stopping` cut short is finished by the run that is resumed. Any error but a plant's leaves the
        last checkpoint untouched; resuming repeats the same steps.

        Raises:
            ValueError: A plant broke down at an episode's start, or in many in a row; all that was recorded is saved,
                and a resumed run starts another episode.
        """
        self.listener = listener
        self._finish_round()
        while self.step < self.schedule.steps and not self.stopping:
            self._collect()
            self._finish_round()
            if self._passed(self.schedule.checkpoint_every):
                self.save()
        self.save()

    def _finish_round(self) -> None:
        """What is due after the plants' steps; nothing where it was done before."""
        self._learn()
        if not self.stopping:
            self._look()

    def _collect(self) -> None:
        """One step of every plant, all recorded."""
        if not self.plants:
            self.step += 1
        for plant in self.plants:
            outcome = self._drive(plant)
            self.step += 1
            if outcome is not None:
                judged = {"episode_success": float(outcome.success)} if self.examiner.task_spec.success else {}
                broken = {"breakdowns": self.metrics.get("breakdowns", 0.0) + 1.0} if outcome.breakdown else {}
                self._tell({"episode_return": outcome.reward} | judged | broken)
        self._tell({})

    def _drive(self, plant: Plant) -> Outcome | None:
        """One recorded step of a plant, in a new episode where the last one is over."""
        if plant.over:
            with self._saved_at_breakdown():
                self.replay.add(plant.number, plant.begin())
        action = self._action(plant)
        with self._saved_at_breakdown():
            step, outcome = plant.step(action)
        if step is not None:
            self.replay.add(plant.number, step)
        return outcome

    @contextmanager
    def _saved_at_breakdown(self) -> Iterator[None]:
        """Save all that was recorded before a plant broke down for good."""
        try:
            yield
        except ValueError as error:
            self.save()
            raise ValueError(f"{error}; everything before it is saved; resuming begins a new episode") from error

    def _action(self, plant: Plant) -> NDArray[np.float32]:
        """Random while the replay fills, then the agent's with some noise."""
        if self.step < self.prefill:
            return plant.random_action()
        state = plant.state or self.agent.start()
        if plant.state is None and plant.actions:  # until now the episode was driven at random
            state = state._replace(action=torch.from_numpy(plant.actions[-1]).to(self.agent.device))
        search = plant.config.search_std
        action, plant.state = self.agent.act(state, plant.observation, self.generator, search)
        action = np.clip(action + plant.exploration(), -1.0, 1.0)
        plant.state = plant.state._replace(action=torch.from_numpy(action).to(self.agent.device))
        return action

    def _learn(self) -> None:
        """The updates that are due."""
        due = self._due()
        if due and self.updates == 0:
            self.agent.calibrate(self.replay.column("proprio"), self.replay.column("goal"), self.examiner.task_spec)
        while self.updates < due and not self.stopping:
            batch = self.replay.sample(self.generator, self.agent.device)
            losses = self.agent.learn(batch, self.learn_generator)
            if self.updates % 100 == 0:
                self._tell({f"loss/{name}": float(value) for name, value in losses.items()})
            else:
                self._tell({})

    def _due(self) -> int:
        """Updates that all steps so far are worth."""
        if self.step < self.prefill or not self.replay.ready:
            return 0
        return self.schedule.first_updates + round(self.schedule.updates_per_step * (self.step - self.prefill))

    def _look(self) -> None:
        """Drive some episodes without exploration, where a look is due."""
        if not self._look_due():
            return
        outcomes = []
        for outcome in drive(self.agent, self.examiner, self.schedule.evaluate_episodes, seed=EXAMINATION_SEED):
            outcomes.append(outcome)
            self._tell({})
            if self.stopping:  # a look can take minutes, and nothing depends on it
                return
        self.looked = self.step
        spec = self.examiner.task_spec
        seen = {"return": [o.reward for o in outcomes], "length": [float(o.length) for o in outcomes]}
        if spec.success:
            seen["success"] = [float(o.success) for o in outcomes]
        if spec.failure or any(o.breakdown for o in outcomes):
            seen["failure"] = [float(o.failure) for o in outcomes]
        self._tell({name: float(np.mean(values)) for name, values in seen.items()})

    def _look_due(self) -> bool:
        """Whether it is time to look, and that was not done yet."""
        every = self.schedule.evaluate_every
        return bool(every and self._passed(every) and self.updates and self.looked != self.step)

    def _passed(self, every: int) -> bool:
        """Whether a multiple of `every` steps was reached or passed in the last round of the plants."""
        return self.step // every > (self.step - max(1, len(self.plants))) // every

    def _tell(self, news: dict[str, float]) -> None:
        """Have it shown how the run stands, and news kept where there are any."""
        if news:
            self.metrics |= news
            self.told += 1
        self.listener(Progress(self.step, self.updates, self.metrics), news)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the replay that numbers in JSON cannot hold."""
        arrays = self.agent.state() | {"learn_generator": self.learn_generator.get_state().numpy()}
        for plant in self.plants:
            arrays |= {f"plant{plant.number}.{name}": array for name, array in plant.memory().items()}
        return arrays

    def save(self) -> None:
        """Make the present state the checkpoint."""
        self.saves += 1
        self.replay.save(self.checkpoint)
        self.checkpoint.drop([name for name in self.checkpoint.files if name.startswith("state-")])
        state = f"state-{self.saves:09d}.safetensors"
        self.checkpoint.put(state, self.arrays())
        self.checkpoint.commit(
            {
                "state": state,
                **{name: getattr(self, name) for name in COUNTS},
                "updates": self.updates,
                "metrics": self.metrics,
                "generator": self.generator.bit_generator.state,
                "plants": [plant.counts() for plant in self.plants],
            }
        )
        self.saved = self.step

    def restore(self) -> None:
        """Return to the checkpoint.

        Raises:
            ValueError: There is none, it is damaged, or it is of other settings.
        """
        facts = self.checkpoint.open()
        try:
            self._restore(facts, self.checkpoint.get(facts["state"]))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{self.checkpoint.folder} is of other settings or another version; start anew") from error
        self.replay.load(self.checkpoint)

    def _restore(self, facts: Mapping[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Take over everything but the replay."""
        for name in COUNTS:
            setattr(self, name, facts[name])
        self.saved, self.metrics = self.step, dict(facts["metrics"])
        self.generator.bit_generator.state = facts["generator"]
        self.learn_generator.set_state(torch.from_numpy(arrays.pop("learn_generator")))
        self.agent.load_state({name: array for name, array in arrays.items() if not name.startswith("plant")})
        for plant, counts in zip(self.plants, facts["plants"], strict=True):
            prefix = f"plant{plant.number}."
            memory = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            plant.resume(counts, memory, self.agent.device)

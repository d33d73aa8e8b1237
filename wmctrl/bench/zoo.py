"""What rl-baselines3-zoo publishes to learn a family of tasks with, as the libraries take it.

From hyperparams/sac.yml and hyperparams/tqc.yml of https://github.com/DLR-RM/rl-baselines3-zoo at commit 22e3ff2. What
is not named there is left to the libraries' defaults here too. It is published for Fetch-v1 and MuJoCo-v4 tasks; what
differs in later versions is not how they are learned. Where it has TQC alone, SAC takes the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Algorithm = Literal["sac", "tqc"]
"""Soft actor-critic (Haarnoja et al. 2018), and truncated quantile critics (Kuznetsov et al. 2020)."""
RELABELLED = 4
"""Transitions with another goal for every one as it was, where hindsight is learned from (Andrychowicz et al. 2017)."""


@dataclass(frozen=True)
class Recipe:
    """How a family of tasks is learned."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of both algorithms."""
    of_tqc: Mapping[str, Any] = field(default_factory=dict)
    """Keywords that TQC has otherwise."""
    goals: Literal["future", "episode"] = "future"
    """Where in an episode hindsight takes goals from."""
    normalised: bool = False
    """Whether observations and rewards are brought to unit variance, by what was met so far."""
    in_hindsight: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the environment's configuration that differ while hindsight is learned from.

    Goal tasks are published with hindsight alone. What learns without it is paid as the task pays, by distance: of
    goals that are never met, it would learn nothing.
    """

    def keywords(self, algorithm: Algorithm) -> dict[str, Any]:
        """What an algorithm is made with."""
        return {**self.settings, **(self.of_tqc if algorithm == "tqc" else {})}

    def told(self, algorithm: Algorithm, *, hindsight: bool) -> dict[str, Any]:
        """All that an algorithm learns with, as JSON can hold it."""
        of_goals = {"goals": self.goals, "relabelled": RELABELLED, "task": dict(self.in_hindsight)}
        told = {"keywords": self.keywords(algorithm), "normalised": self.normalised}
        return told | (of_goals if hindsight else {})


SPARSE = {"reward_type": "sparse"}
MUJOCO = {"learning_starts": 10_000}
MANIPULATION = {
    "batch_size": 2048,
    "gamma": 0.95,
    "learning_rate": 1e-3,
    "tau": 0.05,
    "policy_kwargs": {"net_arch": [512, 512, 512], "n_critics": 2},
}
REACH = {
    "ent_coef": "auto",
    "batch_size": 256,
    "gamma": 0.95,
    "learning_rate": 1e-3,
    "learning_starts": 1000,
    "policy_kwargs": {"net_arch": [64, 64]},
}
PARKING = MANIPULATION | {"batch_size": 512, "gamma": 0.98, "learning_rate": 1.5e-3, "tau": 0.005}
FAMILIES: Mapping[str, Recipe] = {
    "Pendulum": Recipe({"learning_rate": 1e-3}),
    "HalfCheetah": Recipe(MUJOCO),
    "Ant": Recipe(MUJOCO),
    "Hopper": Recipe(MUJOCO, of_tqc={"top_quantiles_to_drop_per_net": 5}),
    "Walker2d": Recipe(MUJOCO),
    "Humanoid": Recipe(MUJOCO),
    "Swimmer": Recipe(MUJOCO | {"gamma": 0.999}),
    "FetchReach": Recipe(
        REACH,
        of_tqc={"policy_kwargs": {"net_arch": [64, 64], "n_critics": 1}},
        normalised=True,
        in_hindsight=SPARSE,
    ),
    "FetchPush": Recipe(MANIPULATION, in_hindsight=SPARSE),
    "FetchSlide": Recipe(MANIPULATION, in_hindsight=SPARSE),
    "FetchPickAndPlace": Recipe(MANIPULATION, in_hindsight=SPARSE),
    "parking": Recipe(PARKING, goals="episode"),
}
"""By the ids of tasks, without their version."""


def recipe_of(task_id: str) -> Recipe:
    """How a task is learned: as its family, or by the libraries' defaults where nothing is published for it."""
    return FAMILIES.get(task_id.rpartition("-v")[0], Recipe())

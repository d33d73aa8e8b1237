"""Settings of a complete training run that takes about a second: everything is on, and nothing is large."""

from wmctrl.config import Config, resolve

SETTINGS = (
    *(f"agent.model.{one}" for one in ("deter=16", "stoch=8", "units=16", "layers=1")),
    *(f"agent.planner.{one}" for one in ("horizon=3", "samples=12", "iterations=1", "elites=4", "kept=2")),
    *(f"agent.behavior.{one}" for one in ("units=16", "horizon=3", "starts=8")),
    "agent.objective.value=0",
    *("agent.learn_behavior=true", "agent.proposals=2", "replay.batch=4", "replay.length=6", "collect.prefill=20"),
    *(f"schedule.{one}" for one in ("steps=66", "first_updates=5", "updates_per_step=0.5")),
    *(f"schedule.{one}" for one in ("checkpoint_every=11", "evaluate_every=30", "evaluate_episodes=1")),
)

EPISODE_AND_A_HALF = (*SETTINGS, "collect.prefill=60", "schedule.steps=75", "schedule.evaluate_every=0")
"""Settings under which an episode of 50 steps is followed by half of one, planned at its end, with no look between."""


def tiny(task: str, *overrides: str) -> Config:
    """A tiny run on this task, with `a.b=c` differences."""
    return resolve(task, overrides=(*SETTINGS, *overrides))

"""A decision: what it starts from, what it comes to, and what is sent."""

from typing import NamedTuple

from wmctrl.runtime.limits import Vector
from wmctrl.runtime.planner import Health, Plan
from wmctrl.runtime.track import Belief, Track

PLAN, SHIFTED, POLICY, SAFE = SOURCES = ("plan", "shifted plan", "policy", "safe action")
"""How an action may come about: a plan refined for it, that of an earlier decision, a reaction, or coming to rest."""
UNPLANNED = 1 << 30
"""Age of a plan that nobody made."""


class State(NamedTuple):
    """What is carried from one decision to the next."""

    track: Track
    plan: Plan | None
    """None for the policy."""
    age: int
    """Decisions since the plan was refined; at an episode's start, more than any plan is followed."""
    goal: Vector | None
    """The last one (G,)."""

    @property
    def belief(self) -> Belief:
        """What is known of the plant at the last observation."""
        return self.track.belief

    @property
    def last(self) -> Vector:
        """The last action sent (A,)."""
        return self.track.sent[-1]


class Decision(NamedTuple):
    """What to send, how it came about, and the plan to carry on."""

    command: Vector
    """(A,)"""
    source: str
    """One of SOURCES."""
    age: int
    """Decisions since the plan was refined that the command is of; 0 for the policy."""
    health: Health | None
    """Of the planner's last iteration; None where there was none."""
    iterations: int
    """Of the planner."""
    plan: Plan | None
    """To be carried on, one step later; None leaves the one that is carried."""


class Action(NamedTuple):
    """What is sent to the plant, and how it was made."""

    command: Vector
    """(A,) in [-1, 1]"""
    source: str
    """One of SOURCES."""
    surprise: float | None
    """Of the observation, given what was expected [nats]; None where nothing new was observed."""
    health: Health | None
    """Of the planner's last iteration; None where there was none."""
    iterations: int
    """Of the planner."""
    age: int
    """Decisions since the plan was refined that this is an action of; 0 for the policy."""
    seconds: float
    """Time the decision took [s]."""
    reason: str = ""
    """Why it is not what was decided, where it is not."""

    @classmethod
    def of(cls, decided: Decision, surprise: float | None, seconds: float) -> "Action":
        """A decision that is sent as it is."""
        d = decided
        return cls(d.command.copy(), d.source, surprise, d.health, d.iterations, d.age, seconds)

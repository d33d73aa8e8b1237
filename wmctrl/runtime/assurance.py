"""Run-time assurance: a monitor between every decision and the plant, and what is sent where one is not to be trusted.

A Simplex architecture (Sha 2001): the planner may be clever, what watches over it is simple. It knows nothing of how a
decision comes about but what the decision says of itself, and it has three rungs to stand on.
"""

import math
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from wmctrl.runtime.controller import Controller
from wmctrl.runtime.decision import SAFE, Action, Decision
from wmctrl.runtime.limits import Vector
from wmctrl.runtime.records import in_a_line
from wmctrl.runtime.track import Observation, Track


class Rung(IntEnum):
    """What is sent, the less the more is wrong."""

    FOLLOW = 0
    """What was decided, whoever did."""
    FALL_BACK = 1
    """What an earlier plan says, while it is not too old, and then the reactive policy."""
    STOP = 2
    """What brings the plant to rest."""


class Trouble(NamedTuple):
    """The lowest rung that may be stood on, and why."""

    rung: Rung
    reason: str = ""


@dataclass(frozen=True)
class Bounds:
    """What is tolerated."""

    blind: float = 0.5
    """Time without an observation half of which is believed [s]; two control periods at least."""
    surprise: float = 10.0
    """Surprise, in ones that 999 of 1,000 recorded observations do not exceed."""
    surprised: int = 3
    """Observations in a row that may surprise as much."""
    finite: float = 0.5
    """Least share of the planner's candidates whose return is finite."""
    failure: float = 0.5
    """Largest probability of failing that a plan is followed at."""
    calm: float = 2.0
    """Time without trouble after which a better rung is stood on again [s]."""


class Monitor:
    """Tells the rung to stand on: down at once, and up after some calm, so that it never chatters."""

    def __init__(self, bounds: Bounds, period: float, ordinary_surprise: float) -> None:
        """
        Args:
            period: Time between two actions [s].
            ordinary_surprise: Of an observation [nats].
        """
        self.bounds = bounds
        self.longest_blind = max(2, round(bounds.blind / period))
        self.least_calm = max(2, math.ceil(bounds.calm / period))
        self.most_surprise = bounds.surprise * ordinary_surprise
        self.reset()

    def reset(self) -> None:
        """Forget everything, before an episode."""
        self.rung, self.reason = Rung.FOLLOW, ""
        self.blind = self.surprised = self.calm = 0
        self.worst = Trouble(Rung.FOLLOW)
        """Trouble since calm is counted: no better rung is stood on after it."""
        self.now: int | None = None
        """Step at which something was last sensed, or should have been."""
        self.begun = False

    def sensed(self, track: Track, surprise: float | None, refusal: str = "") -> Trouble:
        """What is wrong with what is known of the plant, after an observation or for lack of one.

        Args:
            refusal: Why the last observation could not be taken in, if it could not.
        """
        passed = 1 if self.now is None else max(1, track.now - self.now)  # ticks that were missed are time as well
        self.now = track.now
        self.blind = self.blind + passed if surprise is None or track.believed < 0.5 else 0
        if surprise is not None:  # an episode's first observation cannot have been expected
            self.surprised = self.surprised + 1 if self.begun and surprise > self.most_surprise else 0
            self.begun = True
        if self.blind > self.longest_blind:
            cause = f": {refusal}" if refusal else ""
            return Trouble(Rung.STOP, f"no trusted sensor reading for {self.blind} control periods{cause}")
        if self.surprised > self.bounds.surprised:
            return Trouble(
                Rung.STOP, f"{self.surprised} observations in a row surprised by over {self.most_surprise:.3g}"
            )
        return Trouble(Rung.FOLLOW)

    def decided(self, decision: Decision) -> Trouble:
        """What is wrong with a decision."""
        health = decision.health
        if health is None:
            return Trouble(Rung.FOLLOW)
        if not health.failure <= self.bounds.failure:
            return Trouble(Rung.STOP, f"the plan fails with a probability of {health.failure:.2f}")
        if not health.finite >= self.bounds.finite:
            return Trouble(Rung.FALL_BACK, f"only {health.finite:.0%} of the plans are worth anything finite")
        return Trouble(Rung.FOLLOW)

    def judged(self, *troubles: Trouble) -> Trouble:
        """The rung to stand on now, the worst of some troubles being what is wrong."""
        self.worst = max(*troubles, self.worst, key=lambda trouble: trouble.rung)
        better = self.worst.rung < self.rung
        self.calm = self.calm + 1 if better else 0
        if not better or self.calm >= self.least_calm:
            self.rung, self.reason = self.worst
            self.calm, self.worst = 0, Trouble(Rung.FOLLOW)
        return Trouble(self.rung, self.reason)


class Assured:
    """A controller whose every decision is judged before it is sent."""

    def __init__(self, controller: Controller, bounds: Bounds | None = None) -> None:
        self.controller = controller
        told = controller.bundle.manifest
        ordinary = math.inf if told.calibration is None else told.calibration.surprise
        self.monitor = Monitor(bounds or Bounds(), told.task.control_period, ordinary)

    def reset(self, seed: int = 0) -> None:
        """Forget everything, before the first observation of an episode; the same seed decides the same."""
        self.controller.reset(seed)
        self.monitor.reset()

    def act(
        self,
        observation: Observation,
        goal: Vector | None = None,
        *,
        taken: int | None = None,
        deadline: float | None = None,
    ) -> Action:
        """The action (A,) after an observation; there always is one, finite and within the limits.

        The arguments are those of `Controller.act`. What that would refuse is taken as not observed.
        """
        began, controller = time.monotonic(), self.controller
        surprise, known = self._observed(observation, goal, taken)
        decided, planned = self._decided(deadline)
        rung, reason = self.monitor.judged(known, planned)
        if rung == Rung.FALL_BACK:
            decided = self._fallen_back()
        if rung == Rung.STOP or decided is None or not np.isfinite(decided.command).all():
            decided = Decision(self.stopping(), SAFE, 0, None, 0, None)
        controller.send(decided.command, decided)
        return Action.of(decided, surprise, time.monotonic() - began)._replace(reason=reason)

    def _observed(
        self, observation: Observation, goal: Vector | None, taken: int | None
    ) -> tuple[float | None, Trouble]:
        """How much an observation surprised, and what is wrong with what is known."""
        surprise, refusal = None, ""
        try:
            surprise = self.controller.observe(observation, goal, taken=taken)
        except Exception as error:  # of whatever kind: what cannot be taken in was not observed
            refusal = in_a_line(error)
        return surprise, self.monitor.sensed(self.controller.state.track, surprise, refusal)

    def _decided(self, deadline: float | None) -> tuple[Decision | None, Trouble]:
        """A decision, where there is one, and what is wrong with it."""
        try:
            decided = self.controller.decide(deadline)
        except Exception as error:  # of whatever kind: a planner that fails must not take the loop with it
            return None, Trouble(Rung.FALL_BACK, in_a_line(error))
        return decided, self.monitor.decided(decided)

    def _fallen_back(self) -> Decision | None:
        """What an earlier plan says, or the policy; None where there is neither."""
        try:
            return self.controller.followed() or self.controller.decide(react=True)
        except Exception:  # of whatever kind: there is one rung left
            return None

    def stopping(self) -> Vector:
        """The command (A,) that brings the plant to rest, whatever else is wrong."""
        limits, last = self.controller.limits, self.controller.state.last
        effect, sensed = np.zeros_like(last), self._sensed()
        if sensed is not None:
            for gain in self.controller.bundle.manifest.task.safe:
                effect[gain.action] += gain.gain * sensed[gain.proprio]
        return limits.held(self.controller.follower.actuation.command(np.clip(effect, -1.0, 1.0)), last)

    def _sensed(self) -> Vector | None:
        """What the sensors are expected to show when the next command takes effect (O,), where that is known."""
        try:
            found = self.controller.follower.ahead(self.controller.state.track).proprio
        except Exception:  # of whatever kind: a command must come
            return None
        return found if found is not None and np.isfinite(found).all() else None

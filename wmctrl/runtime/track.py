"""The belief followed through time: corrected by what is sensed, however late, and imagined where nothing is yet."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime.actuation import LONGEST_DELAY, Actuation
from wmctrl.runtime.arguments import hold_names, hold_whole, part
from wmctrl.runtime.engine import Computes
from wmctrl.runtime.limits import Vector
from wmctrl.runtime.manifest import Manifest
from wmctrl.runtime.pace import Pace
from wmctrl.runtime.senses import Doubt, Senses

Observation = Mapping[str, NDArray[Any] | None]
"""`proprio` (O,) and `camera` (h, w, c) uint8, as the manifest tells; None for what is not known."""
Sensed = dict[str, NDArray[Any]]
"""The parts of an observation that are there."""
LONGEST_WAIT = 8
"""Control periods that an observation is waited for; what comes later is not taken."""
LARGEST_PIXEL = 255
NOT_AT_ALL = np.float32(0.0)
"""How far what is missing is believed."""
OBSERVE, IMAGINE, DEPICT = "observe", "imagine", "depict"
"""Graphs; the first two are also parts of a decision that are timed."""


class Belief(NamedTuple):
    """What is known of the plant."""

    deter: Vector
    """Memory (D,)."""
    stoch: Vector
    """Stochastic state (S,)."""


class Correction(NamedTuple):
    """How an observation corrected a belief."""

    before: Belief
    """Of the step before it."""
    sensed: Sensed
    """The observation, as it was believed."""


class Track(NamedTuple):
    """A belief in time. Step 0 is an episode's first observation, and the first decision."""

    belief: Belief
    """At step `at`."""
    proprio: Vector | None
    """What the sensors showed at step `at`, or would have shown (O,); None before the first, and without any."""
    at: int
    """-1 before anything was believed."""
    seen: int
    """Step of the newest observation in it; -1 where there is none."""
    now: int
    """Step that is decided next."""
    sent: tuple[Vector, ...]
    """The last commands (A,), the newest last: that of step `now - 1`."""
    doubt: Doubt
    """What is remembered of the readings."""
    believed: float
    """Share of the newest observation that was believed, and is of use."""
    correction: Correction | None = None
    """By the newest observation; None where nothing was expected of it."""


class Foreseen(NamedTuple):
    """What is expected of a step, before anything of it is sensed."""

    belief: Belief
    proprio: Vector | None
    """What the sensors will show (O,)."""


class Follower:
    """Follows beliefs with a bundle's graphs."""

    def __init__(self, told: Manifest, engine: Computes, pace: Pace, *, trusting: bool = False) -> None:
        """
        Args:
            trusting: Believe every finite reading, however unlikely.
        """
        self.engine, self.pace = engine, pace
        self.inputs = {port.name: port for port in told.graphs[OBSERVE].inputs}
        self.sizes, self.actions = told.state_sizes, len(told.task.action)
        self.parts = [name for name in ("proprio", "camera") if name in self.inputs]
        self.known = [*self.parts, *(["goal"] if told.task.goal else [])]
        self.senses = Senses(len(told.task.proprio), None if trusting else told.calibration)
        self.actuation = Actuation.plain(self.actions)
        """What commands do."""

    def start(self) -> Track:
        """Before the first observation of an episode, the plant at rest."""
        D, S = self.sizes
        rest = np.zeros(self.actions, np.float32)
        return Track(
            belief=Belief(np.zeros(D, np.float32), np.zeros(S, np.float32)),
            proprio=None,
            at=-1,
            seen=-1,
            now=0,
            sent=(rest,) * (LONGEST_DELAY + LONGEST_WAIT + 1),
            doubt=self.senses.start(),
            believed=1.0,
        )

    def advanced(self, track: Track, command: Vector) -> Track:
        """A step later, a command (A,) having been sent."""
        return track._replace(now=track.now + 1, sent=(*track.sent[1:], command))

    def corrected(self, track: Track, observation: Observation, taken: int | None) -> tuple[Track, float | None]:
        """The track after an observation, and how much that surprised [nats]; None where it tells nothing new.

        What is missing, not finite or otherwise not believed counts as what was foreseen.

        Args:
            taken: The step at which it was taken, at most the one that is decided next; None takes it for that one.

        Raises:
            ValueError: A part is missing, unknown or of another shape, `taken` is no step so far, the first one is not
                whole, or what is believed after it is not finite.
        """
        step = track.now if taken is None else taken
        hold_whole("taken, an observation's step,", step, 0, track.now)
        sensed = self._sensed(observation)
        too_old = track.seen >= 0 and step < track.now - LONGEST_WAIT
        if step <= track.at or too_old or not sensed:
            return self._waited(track), None
        before, action = self._before(track, step)
        track, believed = self._believed(track, sensed, None if track.seen < 0 else self._foreseen(before, action))
        if not believed:
            return self._waited(track), None
        belief, surprise = self._observed(before, action, believed)
        correction = None if track.seen < 0 else Correction(before, believed)
        proprio = believed.get("proprio")
        track = track._replace(belief=belief, proprio=proprio, at=step, seen=step, correction=correction)
        return self._waited(track), surprise

    def surprise(self, track: Track, delay: int) -> float:
        """How much the newest observation would have surprised if commands took effect after another delay [nats]."""
        assert track.correction is not None, "something was expected of it"
        before, sensed = track.correction
        sent = track.sent[track.seen - 1 - delay - track.now]
        return self._observed(before, self.actuation.effect(sent), sensed)[1]

    def ahead(self, track: Track) -> Track:
        """The track at the step at which the next command takes effect, all sent before it having had theirs.

        Raises:
            ValueError: Nothing was sensed yet.
        """
        if track.seen < 0:
            raise ValueError("nothing was sensed yet; an episode starts with an observation")
        return self._imagined(track, track.now + self.actuation.delay)

    def outlook(self, track: Track, effects: Vector) -> Vector:
        """What the sensors will show (H, O) where effects (H, A) follow on all commands that were sent.

        Raises:
            ValueError: Nothing was sensed yet.
        """
        belief, found = self.ahead(track).belief, []
        for effect in effects:
            expected = self._foreseen(belief, effect)
            belief = expected.belief
            found.append(np.zeros(0, np.float32) if expected.proprio is None else expected.proprio)
        return np.stack(found)

    def _sensed(self, observation: Observation) -> Sensed:
        """The parts of an observation that are there, as their graph takes them."""
        given = {name: part(observation, name, self.inputs[name].shape, self.inputs[name].dtype) for name in self.parts}
        hold_names(observation, self.known)
        return {name: value for name, value in given.items() if value is not None}

    def _believed(self, track: Track, sensed: Sensed, foreseen: Foreseen | None) -> tuple[Track, Sensed]:
        """The track, and an observation as far as it is believed, as foreseen beyond that; nothing if nothing is."""
        if foreseen is None and (
            len(sensed) < len(self.parts) or not all(np.isfinite(value).all() for value in sensed.values())
        ):
            raise ValueError("an episode's first observation must be whole and finite")
        doubt, trusted = self.senses.judged(track.doubt, sensed, None if foreseen is None else foreseen.proprio)
        if foreseen is None:
            return track._replace(doubt=doubt), sensed
        shares = {name: float((trusted[name] > 0.0).mean()) if name in sensed else 0.0 for name in self.parts}
        useful = shares | ({"proprio": 0.0} if doubt.errors.blurred else {})
        track = track._replace(doubt=doubt, believed=sum(useful.values()) / len(useful))
        if not any(shares.values()):
            return track, {}
        whole = dict(sensed)
        if foreseen.proprio is not None:
            expected = foreseen.proprio
            whole["proprio"] = blended(expected, sensed.get("proprio", expected), trusted.get("proprio", NOT_AT_ALL))
        if not shares.get("camera", 1.0):
            pixels = self.engine.run(DEPICT, foreseen.belief._asdict())["next_camera"]
            whole["camera"] = np.rint(LARGEST_PIXEL * pixels).astype(np.uint8)
        return track, whole

    def _observed(self, before: Belief, action: Vector, sensed: Sensed) -> tuple[Belief, float]:
        """What is believed after an observation, and how much it surprised [nats]."""
        with self.pace.timed(OBSERVE):
            found = self.engine.run(OBSERVE, {**before._asdict(), "action": action, **sensed})
        if not all(np.isfinite(value).all() for value in found.values()):
            raise ValueError("what is believed after this observation is not finite; check the sensors' readings")
        return Belief(found["next_deter"], found["next_stoch"]), float(found["surprise"])

    def _before(self, track: Track, step: int) -> tuple[Belief, Vector]:
        """What is believed before the observation of a step, and the command that led there."""
        if track.seen < 0:  # whenever the first one comes, nothing is known of what was before
            fresh = self.start()
            return fresh.belief, fresh.sent[-1]
        return self._imagined(track, step - 1).belief, self._effective(track, step - 1)

    def _imagined(self, track: Track, until: int) -> Track:
        """The track at a step, followed there without looking.

        After a gap longer than commands are remembered, only what followed on those that are is imagined.
        """
        foreseen = Foreseen(track.belief, track.proprio)
        for step in range(max(track.at, track.now - LONGEST_WAIT - 1), until):
            foreseen = self._foreseen(foreseen.belief, self._effective(track, step))
        return track._replace(belief=foreseen.belief, proprio=foreseen.proprio, at=max(track.at, until))

    def _effective(self, track: Track, step: int) -> Vector:
        """What is done (A,) at a step, by the command that takes effect there."""
        return self.actuation.effect(track.sent[step - self.actuation.delay - track.now])

    def _foreseen(self, belief: Belief, action: Vector) -> Foreseen:
        """What is expected after something was done (A,)."""
        with self.pace.timed(IMAGINE):
            found = self.engine.run(IMAGINE, {**belief._asdict(), "action": action})
        return Foreseen(Belief(found["next_deter"], found["next_stoch"]), found.get("next_proprio"))

    def _waited(self, track: Track) -> Track:
        """The track, an observation being waited for no longer than LONGEST_WAIT."""
        return track if track.seen < 0 else self._imagined(track, track.now - LONGEST_WAIT)


def blended(foreseen: Vector, reading: Vector, trust: Vector | np.float32) -> Vector:
    """A reading (O,) as far as it is believed (O,), from 0 to 1, what was foreseen (O,) as to the rest."""
    change = trust * (np.where(trust > 0.0, reading, foreseen) - foreseen)  # what is not believed may be no number
    return np.where(trust < 1.0, foreseen + change, reading)

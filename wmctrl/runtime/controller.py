"""The controller that drives a bundle: observation in, belief updated, plan refined, action out."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime import bundle as bundles
from wmctrl.runtime import device, golden
from wmctrl.runtime.actuation import LONGEST_DELAY, Actuation
from wmctrl.runtime.arguments import hold_whole, part
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.companion import Companion, Request
from wmctrl.runtime.decision import PLAN, POLICY, SHIFTED, UNPLANNED, Action, Decision, State
from wmctrl.runtime.delay import DelayMeter
from wmctrl.runtime.ed25519 import public_key
from wmctrl.runtime.engine import PROVIDERS, Computes, present
from wmctrl.runtime.latency import Latency
from wmctrl.runtime.limits import Limits, Vector
from wmctrl.runtime.manifest import hold_weight
from wmctrl.runtime.noise import NoiseBank
from wmctrl.runtime.pace import Pace
from wmctrl.runtime.planner import Feeds, Planner
from wmctrl.runtime.records import shown
from wmctrl.runtime.track import Follower, Observation

LARGEST_SEED = 2**64 - 1
WARMING = 3
"""Decisions before any is timed."""
TIMED = 9
"""Decisions that are timed when a controller is loaded."""


class Controller:
    """Drives one plant with a bundle."""

    def __init__(self, bundle: Bundle, engine: Computes, *, policy_only: bool = False, trusting: bool = False) -> None:
        """
        Args:
            policy_only: React without planning.
            trusting: Believe every finite reading, however unlikely: for observations that do not follow the commands.

        Raises:
            ValueError: The bundle holds no policy to react with.
        """
        self.bundle, self.engine = bundle, engine
        told = bundle.manifest
        if policy_only and "policy" not in told.graphs:
            raise ValueError("this bundle holds no policy; drive it without `policy_only`, or train with a behavior")
        self.pace = Pace()
        self.planner: Planner | None = None
        if told.planning is not None and not policy_only:
            noise = NoiseBank(bundle.noise, told.planning.randomness)
            self.planner = Planner(told.planning, len(told.task.action), noise, engine, self.pace)
        self.companion: Companion | None = None
        self.meter: DelayMeter | None = None
        self.follower = Follower(told, engine, self.pace, trusting=trusting)
        self.weights = dict(told.objective.weights)
        self.limits = Limits.none(len(told.task.action))
        self.reset()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        provider: str | None = None,
        threads: int | None = 1,
        policy_only: bool = False,
        public_key_hex: str | None = None,
        in_time: bool = True,
    ) -> "Controller":
        """Read a bundle, check all of it, and repeat its golden steps on the device that will drive it.

        Args:
            provider: tensorrt, cuda or cpu; None takes the first that repeats the golden steps, and is in time.
            threads: Of ONNX Runtime, from 1 to 1,024; None takes as many as make it quicker, and leaves other programs
                less.
            in_time: Refuse where half of the decisions take longer than the plant's control period; a simulator waits.
            public_key_hex: The Ed25519 key whose signature is required, if one is, in hexadecimal.

        Raises:
            ValueError: Says in one line why this bundle is not driven.
        """
        device.hold_threads(threads)
        bundle = bundles.load(Path(folder), None if public_key_hex is None else public_key(public_key_hex))
        if provider is not None and provider not in PROVIDERS:
            raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}, came {provider!r}")
        refusals = []
        for name in [provider] if provider else present():
            try:
                found = cls(bundle, device.proven(bundle, name, threads), policy_only=policy_only)
                if in_time:
                    found.require_in_time(found.latencies(TIMED))
                return found
            except ValueError as error:
                refusals.append(f"{name}: {error}")
        raise ValueError("; ".join(refusals) or "ONNX Runtime has no provider here; install onnxruntime")

    def latencies(self, decisions: int) -> NDArray[np.float64]:
        """Times of decisions (decisions,) on what the plant showed at the golden steps [s]; all is forgotten after."""
        seen = golden.observations(self.bundle)
        # What was shown once does not follow from what is sent now, and would be doubted.
        timed = Controller(self.bundle, self.engine, policy_only=self.planner is None, trusting=True)
        found = np.zeros(WARMING + decisions)  # a list of numbers would look like a leak
        for i in range(len(found)):
            if i == WARMING:
                timed.pace.forget()
            found[i] = timed.act(seen[i % len(seen)]).seconds
        self.pace.take(timed.pace)
        return found[WARMING:]

    def require_in_time(self, seconds: NDArray[np.float64]) -> None:
        """Refuse to drive where half of some decisions (decisions,) took longer [s] than the plant's control period.

        Raises:
            ValueError: They did; says what to do, in this class and where a program takes options.
        """
        p50, period = Latency.of(seconds).p50, 1000.0 * self.bundle.manifest.task.control_period
        if p50 > period:
            reacts = self.planner is not None and "policy" in self.bundle.manifest.graphs
            policy = ", react without planning (policy_only=True, --policy)" if reacts else ""
            raise ValueError(
                f"the median of {len(seconds):,} decisions is {p50:.1f} ms here, above the control period of"
                f" {period:g} ms; give it more threads (threads=N, --threads N){policy}, or let it be late"
                " (in_time=False, --untimed)"
            )

    def reset(self, seed: int = 0) -> None:
        """Forget everything, before the first observation of an episode; the same seed decides the same.

        Raises:
            ValueError: The seed is no whole number from 0 to 2^64 - 1; nothing is forgotten.
        """
        hold_whole("seed", seed, 0, LARGEST_SEED)
        plan = None if self.planner is None else self.planner.fresh()
        self.state = State(self.follower.start(), plan, UNPLANNED, None)
        if self.planner is not None:
            self.planner.noise.reset(int(seed))
        if self.companion is not None:
            self.companion.forget()

    def set_weights(self, **weights: float) -> None:
        """Change what a plan is worth from the next decision on.

        Raises:
            ValueError: A part is not in this bundle, or cannot be weighed so; nothing has changed.
        """
        for name, weight in weights.items():
            if name not in self.weights:
                raise ValueError(f"{name} is not weighed in this bundle; known: {', '.join(self.weights)}")
            hold_weight(name, weight)
        self.weights |= weights

    def set_limits(
        self,
        low: Vector | None = None,
        high: Vector | None = None,
        *,
        rate: Vector | None = None,
        risk: float | None = None,
    ) -> None:
        """Hold candidates and commands to limits from the next decision on; those that are not given stay.

        Args:
            low: Least of every action (A,), within [-1, 1].
            high: Largest of every action (A,), within [-1, 1].
            rate: Largest change of every action from one step to the next (A,), at least 0; 2 is any.
            risk: Largest probability of failing that a plan may have, where there is one that has no more; 1 is any.

        Raises:
            ValueError: They are no numbers, of another length, out of range or the wrong way round; nothing has
                changed.
        """
        self.limits = self.limits.changed(low=low, high=high, rate=rate, risk=risk)

    def set_delay(self, periods: int) -> None:
        """Plan for commands that take some control periods to have an effect, from the next decision on.

        Raises:
            ValueError: It is no whole number, or longer than what is remembered; nothing has changed.
        """
        hold_whole("the delay", periods, 0, LONGEST_DELAY)
        self.follower.actuation = self.follower.actuation._replace(delay=int(periods))

    def set_actuation(self, actuation: Actuation) -> None:
        """Compensate for actuators whose gain, offset or delay are not those of training, from the next decision on.

        Raises:
            ValueError: It has another number of actions, or a gain, offset or delay out of range; nothing has changed.
        """
        actuation.require_sound(self.follower.actions)
        self.follower.actuation = actuation

    def measure_delay(self) -> None:
        """Find out how long commands take to have an effect, from now on, and plan for that."""
        self.meter = DelayMeter(self.follower, self.pace, self.bundle.manifest.task.control_period)

    def plan_beside(self) -> None:
        """Plan in a thread of its own from now on: every decision takes what has been planned for it by then.

        A plan then starts from what was observed a step before, and what was sent since. A deadline changes nothing.

        Raises:
            ValueError: This controller does not plan.
        """
        if self.planner is None:
            raise ValueError("this controller reacts without planning; there is nothing to do beside")
        self.companion = Companion(self.planner)

    def act(
        self,
        observation: Observation,
        goal: Vector | None = None,
        *,
        taken: int | None = None,
        deadline: float | None = None,
    ) -> Action:
        """The action (A,) after an observation.

        Of what is not finite, and of parts that are None, what was expected is believed.

        Args:
            observation: `proprio` (O,) and `camera` (h, w, c) uint8, as the manifest tells, and `goal` unless given.
            goal: (G,), instead of the observation's; None is the last one where the observation's is None.
            taken: The step at which the observation was taken, where it may be late; an episode's first is 0, and every
                call is one step.
            deadline: When the action is wanted, a time of `time.monotonic` [s]. The planner iterates for as long as one
                more is expected to be over by then; an action comes in any case. None leaves it all its iterations.

        Raises:
            ValueError: A part is missing, unknown or of another shape, `taken` is no step so far, an episode's first
                observation is not whole, or what is computed is not finite; `state` is as it was, but noise that was
                dealt and a delay that was measured are not taken back.
        """
        began, before = time.monotonic(), self.state
        try:
            surprise = self.observe(observation, goal, taken=taken)
            decided = self.decide(deadline)
        except ValueError:
            self.state = before
            raise
        self.send(decided.command, decided)
        return Action.of(decided, surprise, time.monotonic() - began)

    def observe(
        self, observation: Observation, goal: Vector | None = None, *, taken: int | None = None
    ) -> float | None:
        """Update the belief with what earlier actions led to; how much that surprised [nats].

        The first of the three steps of `act`, whose arguments these are.

        Returns:
            None where nothing new was observed.

        Raises:
            ValueError: As in `act`.
        """
        wanted = self._goal(observation, goal)
        track, surprise = self.follower.corrected(self.state.track, observation, taken)
        self.state = self.state._replace(track=track, goal=wanted)
        if self.meter is not None:
            self.meter.compare(track, surprise)
        return surprise

    def decide(self, deadline: float | None = None, *, react: bool = False) -> Decision:
        """What to send, within the limits, and how it came about; the second step.

        Args:
            react: By the policy, without planning.

        Raises:
            ValueError: Nothing was observed yet, or what is decided is not finite.
        """
        situation = self._situation()
        if self.planner is None or react:
            found = self._reacted(situation)
        else:
            found = self._planned(self.planner, situation, deadline)
        if not np.isfinite(found.command).all():
            raise ValueError("what is decided is not finite; check the goal, and the networks' parameters")
        return self._commanding(found)

    def outlook(self) -> NDArray[np.float32]:
        """What the sensors will show (H, O) on the way of the carried plan; nothing (0, O) where there is none.

        Raises:
            ValueError: Nothing was sensed yet.
        """
        if self.state.plan is None:
            return np.zeros((0, len(self.bundle.manifest.task.proprio)), np.float32)
        return self.follower.outlook(self.state.track, self.state.plan.mean)

    def followed(self) -> Decision | None:
        """What the carried plan says, where there is one that is not too old."""
        found = self._carried()
        return None if found is None else self._commanding(found)

    def _commanding(self, found: Decision) -> Decision:
        """A decision on what is to be done, as a command that does it, within the limits."""
        command = self.follower.actuation.command(found.command)
        return found._replace(command=self.limits.held(command, self.state.last))

    def _carried(self) -> Decision | None:
        """What the carried plan wants done, where there is one that is not too old."""
        plan, age = self.state.plan, self.state.age
        if self.planner is None or plan is None or age > self.planner.longest_age:
            return None
        return Decision(plan.mean[0], SHIFTED, age, None, 0, self.planner.shifted(plan))

    def send(self, command: Vector, decided: Decision | None) -> None:
        """Go on to the next step, a command (A,) having been sent; the third step.

        Args:
            decided: Whose plan is carried on; None carries on the one that was.
        """
        plan, age = self.state.plan, self.state.age + 1
        if decided is not None and decided.plan is not None:
            plan, age = decided.plan, decided.age + 1
        elif plan is not None and self.planner is not None:
            plan = self.planner.shifted(plan)
        self.state = State(self.follower.advanced(self.state.track, command), plan, age, self.state.goal)
        if self.companion is not None:
            self._ask(self.companion)

    def _situation(self) -> Feeds:
        """The belief at which the next command takes effect, and the goal, as the graphs take them."""
        belief, goal = self.follower.ahead(self.state.track).belief, self.state.goal
        return {**belief._asdict(), **({} if goal is None else {"goal": goal})}

    def _goal(self, observation: Observation, goal: Vector | None) -> Vector | None:
        """The goal (G,) from now on, where the task has one."""
        size = len(self.bundle.manifest.task.goal)
        if not size and goal is not None:
            raise ValueError("this bundle takes no goal; leave it out")
        if not size:
            return None
        given = part(observation if goal is None else {"goal": goal}, "goal", (size,), "float32")
        found = self.state.goal if given is None else given
        if found is None or not np.isfinite(found).all():
            raise ValueError(f"goal must be finite in single precision, came {shown(given)}")
        return found

    def _planned(self, planner: Planner, situation: Feeds, deadline: float | None) -> Decision:
        """By the planner, or where there is no time for it by an earlier plan that is not too old, or the policy."""
        companion = self.companion if self.state.track.now else None  # before the first step there is time to plan
        found = self._refined(planner, situation, deadline) if companion is None else self._answered(companion, planner)
        if found := found or self._carried():
            return found
        if "policy" in self.bundle.manifest.graphs:
            return self._reacted(situation)
        if companion is not None:
            raise ValueError(companion.problem or "the planner has not answered for too long")
        late = self._refined(planner, situation, deadline, late=True)
        assert late is not None, "an iteration was made"
        return late

    def _refined(
        self, planner: Planner, situation: Feeds, deadline: float | None, *, late: bool = False
    ) -> Decision | None:
        """By the carried plan, refined; None where there is no time for that."""
        assert self.state.plan is not None, "whoever plans has a plan"
        refined = planner.refine(self.state.plan, situation, self._asked(), deadline, late=late)
        if not refined.iterations:
            return None
        shifted = planner.shifted(refined.plan, refined.iterations)
        return Decision(refined.plan.mean[0], PLAN, 0, refined.health, refined.iterations, shifted)

    def _answered(self, companion: Companion, planner: Planner) -> Decision | None:
        """By what was planned beside; None where that is too old."""
        answer, now = companion.answer, self.state.track.now
        if answer is None or not 0 <= now - answer.step <= planner.longest_age:
            return None
        (plan, health, iterations), age = answer.refined, now - answer.step
        for _ in range(age):
            plan = planner.shifted(plan, iterations)
        shifted = planner.shifted(plan, iterations)
        return Decision(plan.mean[0], SHIFTED if age else PLAN, age, health, iterations, shifted)

    def _ask(self, companion: Companion) -> None:
        """Have the next step planned beside, if there is anything to plan from."""
        assert self.state.plan is not None, "whoever plans has a plan"
        try:
            situation = self._situation()
        except Exception:  # of whatever kind, as where nothing was sensed yet: the next decision tells
            return
        companion.ask(Request(companion.episode, self.state.track.now, self.state.plan, situation, self._asked()))

    def _reacted(self, situation: Feeds) -> Decision:
        """By the policy."""
        with self.pace.timed(POLICY):
            command = self.engine.run("policy", situation)["next_action"]
        return Decision(command, POLICY, 0, None, 0, None)

    def _asked(self) -> dict[str, NDArray[Any]]:
        """What the planner is asked for, as its graph takes it."""
        weights = np.array([*self.weights.values()], np.float32)
        failed = np.array(self.bundle.manifest.objective.failed(self.weights), np.float32)
        actuation = self.follower.actuation
        done = {"action": actuation.effect(self.state.last), **actuation.limits(self.limits)._asdict()}
        return done | {"weights": weights, "failed": failed}

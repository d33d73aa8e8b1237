"""The controller that drives a bundle: observation in, belief updated, plan refined, action out."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime import bundle as bundles
from wmctrl.runtime import golden
from wmctrl.runtime.arguments import hold_names, hold_whole, numbers, part
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.engine import PROVIDERS, Computes, Engine, present
from wmctrl.runtime.latency import Latency
from wmctrl.runtime.manifest import hold_weight
from wmctrl.runtime.noise import NoiseBank

Vector = NDArray[np.float32]
LARGEST_SEED = 2**64 - 1
MOST_THREADS = 1024
WARMING = 3
"""Decisions before any is timed."""
TIMED = 9
"""Decisions that are timed when a controller is loaded."""


class Plan(NamedTuple):
    """A distribution over action sequences, and the best ones found so far."""

    mean: Vector
    """(H, A)"""
    std: Vector
    """(H, A)"""
    elites: Vector
    """Best first (E, H, A)."""


class Health(NamedTuple):
    """How much the last iteration of the planner can be trusted."""

    best: float
    """Return of the best candidate."""
    worst_elite: float
    """Return of the worst elite."""
    finite: float
    """Fraction of the candidates whose return is finite."""
    spread: float
    """Mean std of the plan."""


class State(NamedTuple):
    """What is carried from one decision to the next."""

    deter: Vector
    """Memory of the belief (D,)."""
    stoch: Vector
    """Stochastic state of the belief (S,)."""
    last: Vector
    """The last action sent (A,)."""
    plan: Plan | None
    """None for the policy."""


class Action(NamedTuple):
    """What is sent to the plant, and how it was made."""

    command: Vector
    """(A,) in [-1, 1]"""
    source: str
    """`plan` or `policy`."""
    surprise: float
    """Of the observation, given what was expected [nats]."""
    health: Health | None
    """None for the policy."""
    iterations: int
    """Of the planner."""
    seconds: float
    """Time the decision took [s]."""


class Controller:
    """Drives one plant with a bundle."""

    def __init__(self, bundle: Bundle, engine: Computes, *, policy_only: bool = False) -> None:
        """
        Args:
            policy_only: React without planning.

        Raises:
            ValueError: The bundle holds no policy to react with.
        """
        self.bundle, self.engine = bundle, engine
        told = bundle.manifest
        if policy_only and "policy" not in told.graphs:
            raise ValueError("this bundle holds no policy; drive it without `policy_only`, or train with a behavior")
        self.planning = None if policy_only else told.planning
        self.noise = NoiseBank(bundle.noise, told.planning.randomness) if told.planning else None
        self.weights = dict(told.objective.weights)
        self.parts = [name for name in ("proprio", "camera", "goal") if getattr(told.task, name)]
        self.limits = (
            np.full(len(told.task.action), -1.0, np.float32),
            np.full(len(told.task.action), 1.0, np.float32),
        )
        self.reset()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        provider: str | None = None,
        threads: int = 1,
        policy_only: bool = False,
        public_key_hex: str | None = None,
        in_time: bool = True,
    ) -> "Controller":
        """Read a bundle, check all of it, and repeat its golden steps on the device that will drive it.

        Args:
            provider: tensorrt, cuda or cpu; None takes the first that repeats the golden steps, and is in time.
            threads: Of ONNX Runtime, from 1 to 1,024.
            in_time: Refuse where half of the decisions take longer than the plant's control period; a simulator waits.
            public_key_hex: The Ed25519 key whose signature is required, if one is, in hexadecimal.

        Raises:
            ValueError: Says in one line why this bundle is not driven.
        """
        hold_whole("threads", threads, 1, MOST_THREADS)
        bundle = bundles.load(Path(folder), None if public_key_hex is None else public_key(public_key_hex))
        if provider is not None and provider not in PROVIDERS:
            raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}, came {provider!r}")
        refusals = []
        for name in [provider] if provider else present():
            try:
                engine = Engine(bundle.manifest.graphs, bundle.graphs, name, threads)
                golden.repeat(bundle, engine)
                found = cls(bundle, engine, policy_only=policy_only)
                if in_time:
                    found.require_in_time(found.latencies(TIMED))
                return found
            except ValueError as error:
                refusals.append(f"{name}: {error}")
        raise ValueError("; ".join(refusals) or "ONNX Runtime has no provider here; install onnxruntime")

    def latencies(self, decisions: int) -> NDArray[np.float64]:
        """Times of decisions (decisions,) on what the plant showed at the golden steps [s]; all is forgotten after."""
        seen = golden.observations(self.bundle)
        self.reset()
        found = np.zeros(WARMING + decisions)  # a list of numbers would look like a leak
        for i in range(len(found)):
            found[i] = self.act(seen[i % len(seen)]).seconds
        self.reset()
        return found[WARMING:]

    def require_in_time(self, seconds: NDArray[np.float64]) -> None:
        """Refuse to drive where half of some decisions (decisions,) took longer [s] than the plant's control period.

        Raises:
            ValueError: They did; says what to do, in this class and where a program takes options.
        """
        p50, period = Latency.of(seconds).p50, 1000.0 * self.bundle.manifest.task.control_period
        if p50 > period:
            reacts = self.planning is not None and "policy" in self.bundle.manifest.graphs
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
        D, S = self.bundle.manifest.state_sizes
        A, plan = len(self.bundle.manifest.task.action), None
        if self.planning is not None:
            p = self.planning
            zeros = np.zeros((p.elites, p.horizon, A), np.float32)
            plan = Plan(zeros[0], np.full((p.horizon, A), p.init_std, np.float32), zeros)
        self.state = State(np.zeros(D, np.float32), np.zeros(S, np.float32), np.zeros(A, np.float32), plan)
        if self.noise is not None:
            self.noise.reset(int(seed))

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

    def set_limits(self, low: Vector, high: Vector) -> None:
        """Hold candidates and commands to limits (A,), (A,) within [-1, 1], from the next decision on.

        Raises:
            ValueError: They are no numbers, of another length, out of range or the wrong way round; nothing has
                changed.
        """
        shape = self.state.last.shape
        low = numbers("the lower limits", low, shape).astype(np.float32)
        high = numbers("the upper limits", high, shape).astype(np.float32)
        if not ((low >= -1.0) & (low <= high) & (high <= 1.0)).all():
            raise ValueError("limits must be within [-1, 1], the lower at most the upper")
        self.limits = low, high

    def act(self, observation: Mapping[str, NDArray[Any]], goal: Vector | None = None) -> Action:
        """The action (A,) after an observation.

        Args:
            observation: `proprio` (O,) and `camera` (h, w, c) uint8, as the manifest tells, and `goal` unless given.
            goal: (G,), instead of the observation's.

        Raises:
            ValueError: A part is missing, unknown, of another shape, or not finite, or what is computed of it is not;
                the state is as it was.
        """
        began, before = time.perf_counter(), self.state
        wanted = self._goal(observation, goal)
        try:
            surprise = self.observe(observation)
            command, plan, health = self._decide(before.plan, wanted)
        except ValueError:
            self.state = before
            raise
        self.state = self.state._replace(last=command, plan=plan)
        source, iterations = ("policy", 0) if self.planning is None else ("plan", self.planning.iterations)
        return Action(command.copy(), source, surprise, health, iterations, time.perf_counter() - began)

    def observe(self, observation: Mapping[str, NDArray[Any]]) -> float:
        """Update the belief with what the last action led to; the surprise [nats]."""
        feeds: dict[str, NDArray[Any]] = self._belief() | {"action": self.state.last}
        for port in self.bundle.manifest.graphs["observe"].inputs:
            if port.name not in feeds:
                feeds[port.name] = part(observation, port.name, port.shape, port.dtype)
        hold_names(observation, self.parts)
        found = self.engine.run("observe", feeds)
        if not all(np.isfinite(value).all() for value in found.values()):
            raise ValueError("what is believed after this observation is not finite; check the sensors' readings")
        self.state = self.state._replace(deter=found["next_deter"], stoch=found["next_stoch"])
        return float(found["surprise"])

    def _belief(self) -> dict[str, NDArray[Any]]:
        """The belief as the graphs take it."""
        return {"deter": self.state.deter, "stoch": self.state.stoch}

    def _goal(self, observation: Mapping[str, NDArray[Any]], goal: Vector | None) -> dict[str, NDArray[Any]]:
        """The goal as the graphs take it, where the task has one."""
        size = len(self.bundle.manifest.task.goal)
        if not size and goal is not None:
            raise ValueError("this bundle takes no goal; leave it out")
        if not size:
            return {}
        given = observation if goal is None else {"goal": goal}
        return {"goal": part(given, "goal", (size,), "float32")}

    def _decide(self, plan: Plan | None, goal: dict[str, NDArray[Any]]) -> tuple[Vector, Plan | None, Health | None]:
        """What is sent (A,), within the limits; the plan to carry on, and its health, where there is one."""
        found: tuple[Vector, Plan | None, Health | None]
        if plan is None:
            found = self.engine.run("policy", self._belief() | goal)["next_action"], None, None
        else:
            found = self._refine(plan, goal)
        if not np.isfinite(found[0]).all():
            raise ValueError("what is decided is not finite; check the goal, and the networks' parameters")
        return np.clip(found[0], *self.limits), found[1], found[2]

    def _refine(self, plan: Plan, goal: dict[str, NDArray[Any]]) -> tuple[Vector, Plan, Health]:
        """A carried plan's first action after refining it, the plan to carry on, and its health."""
        assert self.planning is not None, "only a planner refines"
        assert self.noise is not None, "whoever plans has noise"
        weights = np.array([*self.weights.values()], np.float32)
        failed = np.array(self.bundle.manifest.objective.failed(self.weights), np.float32)
        low, high = self.limits
        feeds = self._belief() | {"action": self.state.last, "low": low, "high": high} | goal
        feeds |= {"weights": weights, "failed": failed}
        if self.planning.randomness.particles > 1:
            feeds["future_components"], feeds["future_values"] = self.noise.futures()
        if self.planning.randomness.proposals:
            feeds |= self.engine.run("propose", self._belief() | goal | {"noise": self.noise.proposals()})
        for _ in range(self.planning.iterations):
            feeds |= {"plan_mean": plan.mean, "plan_std": plan.std, "plan_elites": plan.elites}
            found = self.engine.run("refine", feeds | {"noise": self.noise.candidates()})
            plan = Plan(found["next_plan_mean"], found["next_plan_std"], found["next_plan_elites"])
        health = Health(*map(float, found["health"]))
        if not health.finite > 0.0:
            raise ValueError("what plans are worth is not finite; check the sensors' readings and the goal")
        return plan.mean[0], self._shifted(plan), health

    def _shifted(self, plan: Plan) -> Plan:
        """The plan one step later: every action moves up, the last is held, and the search opens up again."""
        assert self.planning is not None, "only a planner has a plan"
        return Plan(
            np.concatenate([plan.mean[1:], plan.mean[-1:]]),
            np.full_like(plan.std, self.planning.init_std),
            np.concatenate([plan.elites[:, 1:], plan.elites[:, -1:]], 1),
        )


def public_key(text: str) -> bytes:
    """An Ed25519 public key (32,) from hexadecimal digits.

    Raises:
        ValueError: It is none.
    """
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(f"a public key is 64 hexadecimal digits, came {text!r}")
    return key

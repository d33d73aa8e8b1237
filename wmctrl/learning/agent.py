"""The agent: observe, plan, act, learn."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from wmctrl_envs.task import Element, TaskSpec

from wmctrl.learning import compiler
from wmctrl.learning.behavior import Behavior, BehaviorConfig, BehaviorLosses, proposed
from wmctrl.learning.descent import Descent, below
from wmctrl.learning.drive_state import Draws, DriveState
from wmctrl.learning.imagination import ImaginedReturn, Pay
from wmctrl.learning.muon import Muon
from wmctrl.limits import require_at_least, require_positive, require_share
from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import Batch, Sizes, WorldModel, WorldModelConfig
from wmctrl.planning.objective import GoalCost, ObjectiveConfig
from wmctrl.planning.planner import Health, Plan, Planner
from wmctrl.runtime.noise import FreshNoise, Randomness

LARGEST_RANGE = 1e6
"""An element whose range is larger has bounds that say nothing, such as those of float32."""


@dataclass(frozen=True)
class AgentConfig:
    """Everything the agent is made of."""

    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    behavior: BehaviorConfig = field(default_factory=BehaviorConfig)
    planner: Planner = field(default_factory=Planner)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    proposals: int = 24
    """Action sequences the policy adds to the planner's candidates."""
    plan: bool = True
    """Act by planning; otherwise by the policy alone."""
    learn_behavior: bool = True
    """Train actor and critic."""
    matrix_rate: float = 3e-3
    """Muon's learning rate for the world model's matrices (Jordan et al. 2024)."""
    model_rate: float = 3e-3
    """Adam's learning rate for the rest of the world model: vectors, kernels, stacks of matrices."""
    decay_after: int = 1000
    """Updates after which both rates have fallen to 1 / sqrt(2); they go on falling as 1 / sqrt(updates)."""
    behavior_rate: float = 3e-4
    """Adam's learning rate for actor and critic."""
    average_rate: float = 0.01
    """Share of the trained weights that enters their running average, which drives, at each update."""
    clip: float = 100.0
    """Largest norm of the gradient."""
    goal_std: float | None = None
    """Largest std by which what tells the goal's cost is normalised, in the goal's units; None: that of its readings.

    A smaller one has these elements count for more among all that is learned to foresee. Measured on 10,000 steps of
    FetchPush-v4 after 2,000 updates, on 2,000 others: with 0.025 m the block's place is foreseen 4 steps ahead to 30 mm
    where it moves by 67 on average, otherwise to 33, and 8 steps ahead to 56 and 62 of 104 mm.
    """
    compile: bool = False
    """Fuse the operators of an update with torch's compiler: minutes at first, then two thirds of the time or less.

    Its results differ by rounding.
    """

    def __post_init__(self) -> None:
        require_at_least(self, decay_after=1, proposals=0)
        require_positive(self, "matrix_rate", "model_rate", "behavior_rate", "clip")
        require_positive(self, "goal_std", or_null=True)
        require_share(self, "average_rate")
        if not (self.plan or self.learn_behavior):
            raise ValueError("agent.plan=false drives by a policy, which agent.learn_behavior=false leaves untrained")
        candidates = self.planner.samples + 1 + self.planner.kept + self.proposals
        if self.planner.elites > candidates:
            raise ValueError(f"planner.elites must be at most the candidates, {candidates}, came {self.planner.elites}")


class Agent:
    """A world model, a planner over it, and a policy learned in it."""

    def __init__(
        self,
        sizes: Sizes,
        config: AgentConfig,
        *,
        failure_reward: float | None = None,
        goal_cost: GoalCost | None = None,
        can_fail: bool = True,
        device: torch.device | None = None,
    ) -> None:
        """
        Args:
            failure_reward: Reward per step of a failed plant; None takes the worst reward seen, or 0 if that is worse.
            goal_cost: The task's reward where it is a goal cost.
            can_fail: Whether the plant can fail at all.
        """
        if config.objective.goal and goal_cost is None:
            raise ValueError(
                "agent.objective.goal needs a task that pays a goal cost and observes proprio and goal; set"
                " agent.objective.goal=0 and agent.objective.reward=1"
            )
        if config.goal_std is not None and goal_cost is None:
            raise ValueError("agent.goal_std needs a task that pays a goal cost; set agent.goal_std=null")
        if config.objective.approach and not (goal_cost and goal_cost.way):
            raise ValueError(
                "agent.objective.approach needs a task with a goal cost for something that a hand moves; set"
                " agent.objective.approach=0"
            )
        self.sizes, self.goal_cost = sizes, goal_cost
        self.device = device or torch.device("cpu")
        self.worst_reward = torch.full((), failure_reward or 0.0, device=self.device)
        self.tracks_worst_reward = failure_reward is None
        self.updates = 0
        """Updates of the world model so far."""
        self.trained = WorldModel(sizes, config.model, can_fail=can_fail).to(self.device)
        self.config = config = replace(config, model=self.trained.config)
        self.model = copy.deepcopy(self.trained).requires_grad_(False)
        """Running average of the trained model's weights (Polyak and Juditsky 1992): it drives, and is imagined in."""
        inputs = config.model.deter + config.model.stoch + sizes.goal
        self.behavior = Behavior(inputs, sizes.action, config.behavior).to(self.device)
        matrices = [parameter for parameter in self.trained.parameters() if parameter.ndim == 2]
        others = [parameter for parameter in self.trained.parameters() if parameter.ndim != 2]
        actor, critic = self.behavior.actor.parameters(), self.behavior.critic.parameters()
        # Measured on 6,000 recorded steps of parking-v0, 2,000 updates: error 25 steps ahead in another run 0.16 std
        # against 0.22 with Adam for all; an update takes 1.3 times as long.
        optimizers = {
            "matrix_optimizer": Muon(matrices, config.matrix_rate),
            "model_optimizer": torch.optim.Adam(others, config.model_rate, fused=True),
            "actor_optimizer": torch.optim.Adam(actor, config.behavior_rate, fused=True),
            "critic_optimizer": torch.optim.Adam(critic, config.behavior_rate, fused=True),
        }
        self.descent = Descent(optimizers, config.clip)
        computed: list[Callable[..., Any]] = [self.trained.loss, self.model.believe, self._imagined_losses]
        if config.compile:
            computed = [compiler.compiled(function, self.device) for function in computed]
        self._model_loss, self._believe, self._behavior_losses = computed

    @classmethod
    def for_task(cls, spec: TaskSpec, config: AgentConfig, device: torch.device | None = None) -> "Agent":
        """An untrained agent of the sizes, goal cost and failure reward of a task."""
        sizes = Sizes(len(spec.proprio), len(spec.goal), len(spec.action), spec.camera)
        return cls(
            sizes,
            config,
            failure_reward=spec.failure_reward,
            goal_cost=goal_cost_of(spec, config.objective.arrival_doubt),
            can_fail=bool(spec.failure),
            device=device,
        )

    @property
    def pay(self) -> Pay:
        """What imagined arrivals pay."""
        return Pay.of(self.config.objective, self.worst_reward, self.goal_cost)

    @property
    def randomness(self) -> Randomness:
        """The noise that a decision takes."""
        c, p, m = self.config, self.config.planner, self.config.model
        particles = c.objective.particles
        return Randomness(
            p.samples,
            p.horizon,
            self.sizes.action,
            p.noise_exponent,
            c.proposals,
            particles,
            m.prior_components,
            m.stoch,
        )

    def start(self) -> DriveState:
        """The state before the first observation of an episode."""
        action = torch.zeros(self.sizes.action, device=self.device)
        return DriveState(self.model.rssm.initial(), self.config.planner.initial(action), action)

    def act(
        self,
        state: DriveState,
        observation: Mapping[str, NDArray[Any]],
        generator: np.random.Generator,
        search_std: float | None = None,
    ) -> tuple[NDArray[np.float32], DriveState]:
        """Observe, plan, and return the action (A,) in [-1, 1] with the state to carry on.

        Args:
            search_std: Std that the next search starts with, instead of the planner's `init_std`.
        """
        return self.decide(state, observation, FreshNoise(self.randomness, generator), search_std)

    @torch.no_grad()
    def decide(
        self,
        state: DriveState,
        observation: Mapping[str, NDArray[Any]],
        draws: Draws,
        search_std: float | None = None,
    ) -> tuple[NDArray[np.float32], DriveState]:
        """`act` with noise from anywhere."""
        belief = self.observe(state, observation)
        goal = self._tensor(observation["goal"]) if self.sizes.goal else None
        if self.config.plan:
            plan, _ = self.plan(belief, goal, state, draws)
            action = plan.mean[0]
            plan = self.config.planner.shift(plan, search_std)
        else:
            plan, action = state.plan, self.behavior.slow_actor(self.model.with_goal(belief.features, goal)).mean
        return action.cpu().numpy(), DriveState(belief, plan, action)

    def observe(self, state: DriveState, observation: Mapping[str, NDArray[Any]]) -> Belief:
        """Update the belief with what the last action led to."""
        proprio = self._tensor(observation["proprio"]) if self.sizes.proprio else None
        camera = torch.from_numpy(observation["camera"]).to(self.device)[None] if self.sizes.camera else None
        embedding = self.model.embed(None if proprio is None else proprio[None], camera)[0]
        return self.model.rssm.observe(state.belief, state.action, embedding, torch.zeros_like(state.belief.stoch))

    def plan(self, belief: Belief, goal: Tensor | None, state: DriveState, draws: Draws) -> tuple[Plan, Health]:
        """Refine the carried plan from this belief towards the goal (G,)."""
        planner = self.config.planner
        objective = self.objective(belief, goal, state.action, self._futures(draws))
        proposals = self._proposals(belief, goal, draws) if self.config.proposals else None
        plan = state.plan
        for _ in range(planner.iterations):
            plan, health = planner.refine(plan, objective, self._tensor(draws.candidates()), proposals)
        return plan, health

    def objective(
        self, belief: Belief, goal: Tensor | None, previous_action: Tensor, futures: MixtureNoise | None
    ) -> ImaginedReturn:
        """What plans from a belief are worth.

        Args:
            goal: (G,), where the task has one.
            previous_action: The last one sent (A,).
            futures: Draws (particles, H, ...); None follows the most probable future.
        """
        return ImaginedReturn(
            model=self.model,
            pay=self.pay,
            belief=belief,
            previous_action=previous_action,
            noise=futures,
            discount=self.config.behavior.discount,
            goal=goal,
            critic=lambda inputs: self.behavior.slow_critic(inputs).mean,
        )

    def learn(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One update of the world model and, in its imagination, of actor and critic."""
        compiler.mark_step(self.device)
        B, T = batch.reward.shape
        noise = torch.randn(B, T, self.config.model.stoch, generator=generator, device=self.device)
        if self.tracks_worst_reward:
            self.worst_reward = torch.minimum(self.worst_reward, batch.reward.min())
        loss, metrics = self._model_loss(batch, noise)
        self._pace()
        self._descend(loss, "matrix_optimizer", "model_optimizer")
        self._average()
        self.updates += 1
        if self.config.learn_behavior:
            with torch.no_grad():  # imagination starts where the model that is imagined in believes it is
                belief = self._believe(batch, noise).belief
            for _ in range(self.config.behavior.updates):
                metrics |= self._learn_behavior(belief, batch, generator)
        return compiler.copied(metrics)

    def calibrate(self, proprio: NDArray[Any] | None, goal: NDArray[Any] | None, spec: TaskSpec) -> None:
        """Set the normalisers, once, from what was recorded before the first update.

        Args:
            proprio: Observations (steps, O), where there are any.
            goal: Goals (steps, G), where there are any.
        """
        for model in (self.trained, self.model):
            if goal is not None:
                model.goal_normaliser.set(*self._statistics(goal, spec.goal))
            if proprio is not None:
                mean, std = self._statistics(proprio, spec.proprio)
                if self.goal_cost is not None:
                    index = list(self.goal_cost.achieved)
                    telling = [*index, *self.goal_cost.way]
                    std[telling] = std[telling].clamp(max=self.config.goal_std or math.inf)
                    # The goal is compared with these elements, so it shares their scale.
                    model.goal_normaliser.set(mean[index], std[index])
                model.proprio_normaliser.set(mean, std)

    def _statistics(self, values: NDArray[Any], elements: Sequence[Element]) -> tuple[Tensor, Tensor]:
        """Mean and std of values (steps, n); what hardly moved yet is not blown up beyond an eighth of its range.

        Where a range says nothing, for it is too large or 0, the std is at least 0.01, and 1 if nothing moved at all.
        """
        ranges, std = np.array([element.high - element.low for element in elements]), values.std(0)
        unbounded = np.where(std > 0.0, 1e-2, 1.0)
        floor = np.where((ranges > 0.0) & (ranges < LARGEST_RANGE), ranges / 8.0, unbounded)
        return self._tensor(values.mean(0)), self._tensor(np.maximum(std, floor))

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights, statistics and the optimisers' moments by name."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, module in self._modules().items():
            arrays |= {f"{name}.{key}": value.cpu().numpy() for key, value in module.state_dict().items()}
        arrays |= {"worst_reward": self.worst_reward.cpu().numpy(), "updates": np.array(self.updates)}
        return arrays | self.descent.state()

    def load_state(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the agent whose `state` this was."""
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.worst_reward, self.updates = tensors["worst_reward"].to(self.device), int(tensors["updates"])
        for name, module in self._modules().items():
            module.load_state_dict(below(tensors, name))
        self.descent.load_state(tensors)

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"trained": self.trained, "model": self.model, "behavior": self.behavior}

    def _pace(self) -> None:
        """Let the world model's rates fall as averaging wants it: slower than 1 / t (Polyak and Juditsky 1992).

        Measured on 20,000 recorded steps of racetrack-v1 after 10,000 updates: at constant rates the loss had grown
        again, and 1,000 more at a fifth of them took the error of other cars' places 8 steps ahead from 0.96 to 0.71 m.
        """
        c = self.config
        share = math.sqrt(c.decay_after / (c.decay_after + self.updates))
        self.descent.set_rate("matrix_optimizer", share * c.matrix_rate)
        self.descent.set_rate("model_optimizer", share * c.model_rate)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights a little towards the trained ones."""
        for average, trained in zip(self.model.parameters(), self.trained.parameters(), strict=True):
            average.lerp_(trained, self.config.average_rate)

    def _learn_behavior(self, belief: Belief, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One update of actor and critic from some of a batch's beliefs (B, T, ...)."""
        c = self.config.behavior
        flat = Belief(belief.deter.flatten(0, 1), belief.stoch.flatten(0, 1))
        going = torch.nonzero(batch.terminated.flatten() == 0.0).squeeze(-1)
        order = torch.randperm(len(going), generator=generator, device=self.device)
        # Always as many, or what is compiled would be compiled anew: where fewer go on, they come again.
        places = torch.arange(min(c.starts, batch.terminated.numel()), device=self.device) % len(going)
        chosen = going[order[places]]
        goal = None if batch.goal is None else batch.goal.flatten(0, 1)[chosen]
        shape = (len(chosen), c.horizon)
        noise = torch.randn(*shape, self.sizes.action, generator=generator, device=self.device)
        m = self.config.model
        futures = MixtureNoise.draw(shape, m.prior_components, m.stoch, generator) if c.stochastic else None
        losses = self._behavior_losses(Belief(flat.deter[chosen], flat.stoch[chosen]), goal, noise, futures)
        self.behavior.spread.copy_(losses.spread)
        self._descend(losses.actor + losses.critic, "actor_optimizer", "critic_optimizer")
        self.behavior.follow_slowly()
        return losses.figures | {"actor": losses.actor.detach(), "critic": losses.critic.detach()}

    def _imagined_losses(
        self, start: Belief, goal: Tensor | None, noise: Tensor, futures: MixtureNoise | None
    ) -> BehaviorLosses:
        """Losses of actor and critic in futures imagined from beliefs (N, ...), as `Behavior.imagine`."""
        imagined = self.behavior.imagine(self.model, self.pay, start, goal, noise, futures)
        return self.behavior.losses(imagined, self.pay.failed)

    def _descend(self, loss: Tensor, *optimizers: str) -> None:
        """One step of the named optimisers, or a word on what to do where there is nothing to descend."""
        try:
            self.descent.step(loss, *optimizers)
        except ValueError as error:
            raise ValueError(
                f"{error} after {self.updates} updates; start anew with lower rates, such as"
                " --set agent.matrix_rate=1e-3 --set agent.model_rate=1e-3 --set agent.behavior_rate=1e-4"
            ) from None

    def _proposals(self, belief: Belief, goal: Tensor | None, draws: Draws) -> Tensor:
        """Action sequences (P, H, A) of the policy followed through the model."""
        return proposed(self.model, self.behavior.slow_actor, belief, goal, self._tensor(draws.proposals()))

    def _futures(self, draws: Draws) -> MixtureNoise | None:
        """Draws for every particle and step; none for a single particle, which follows the most probable future."""
        if self.config.objective.particles == 1:
            return None
        return MixtureNoise(*map(self._tensor, draws.futures()))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.asarray(array, np.float32)).to(self.device)


def goal_cost_of(spec: TaskSpec, doubt: float) -> GoalCost | None:
    """A task's reward as the planner computes it, where that is a goal cost; `doubt` as in the objective."""
    given = spec.goal_cost
    if given is None or not spec.goal:
        return None
    ends_below = given.threshold if given.ends else None
    return GoalCost(
        achieved=given.achieved,
        weights=given.weights,
        order=given.order,
        power=given.power,
        ends_below=ends_below,
        doubt=doubt,
        way=given.way,
        reach=given.reach,
    )

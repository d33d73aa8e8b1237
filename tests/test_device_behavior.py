"""Actor and critic on the device: an update is the trainer's, and what would drive worse is told from others."""

import copy

import numpy as np
import pytest
import torch

from tests.tiny_bundle import taught, untrained
from wmctrl.model.mdn import MixtureNoise
from wmctrl.model.rssm import Belief as Beliefs
from wmctrl.runtime import behavior, bundle
from wmctrl.runtime.behavior import Behavior, Starts
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.descent import CLIP, Parameters
from wmctrl.runtime.engine import Arrays, Engine
from wmctrl.runtime.ewc import Consolidation
from wmctrl.runtime.experience import Columns, Layout, Memory, batch_of
from wmctrl.runtime.learner import MODEL, Learner
from wmctrl.runtime.track import Belief

CHEETAH = (
    *("HalfCheetah-v5", "replay.length=3", "agent.model.context=2"),
    *("agent.behavior.horizon=2", "agent.behavior.stochastic=true"),
)
"""Every step is another piece of a graph, and takes seconds."""
BINS = 101
"""Of what a critic tells."""


@pytest.fixture(scope="module")
def held() -> Bundle:
    return bundle.load(taught(*CHEETAH), learning=True)


@pytest.fixture
def learns(held: Bundle) -> Behavior:
    return Behavior(held, Engine(held.manifest.learning, held.graphs, "cpu", 1))


def somewhere(held: Bundle, count: int = 20) -> Starts:
    rng = np.random.default_rng(1)
    parts = (rng.standard_normal((count, size)).astype(np.float32) for size in held.manifest.state_sizes)
    return Starts(Belief(*parts), None)


def test_an_update_is_the_trainers(held: Bundle, learns: Behavior) -> None:
    agent, _ = untrained(*CHEETAH)
    starts, N = somewhere(held), learns.shapes["deter"][0]
    found = learns.improved(dict(held.parameters), starts, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    begun, _ = starts.drawn(N, rng)
    noise, component, value = (
        torch.from_numpy(draw(rng, size=learns.shapes[name]).astype(np.float32))
        for name, draw in behavior.DRAWS.items()
    )
    theirs = copy.deepcopy(agent.behavior)
    belief = Beliefs(*(torch.from_numpy(part) for part in begun))
    imagined = theirs.imagine(agent.model, agent.pay, belief, None, noise, MixtureNoise(component, value))
    losses = theirs.losses(imagined, agent.pay.failed)
    learned = [*theirs.actor.parameters(), *theirs.critic.parameters()]
    for parameter, gradient in zip(learned, torch.autograd.grad(losses.actor + losses.critic, learned), strict=True):
        parameter.grad = gradient
    torch.nn.utils.clip_grad_norm_(learned, CLIP)
    torch.optim.Adam(learned, behavior.RATE).step()
    theirs.spread.copy_(losses.spread)
    for slow, fast in ((theirs.slow_actor, theirs.actor), (theirs.slow_critic, theirs.critic)):
        for one, other in zip(slow.parameters(), fast.parameters(), strict=True):
            one.lerp_(other.detach(), behavior.SLOW)
    moved = {f"behavior.{name}": part.detach().numpy() for name, part in theirs.named_parameters()}
    moved["behavior.spread"] = theirs.spread.numpy()
    assert moved.keys() <= found.keys()
    for name, value_of in found.items():
        wanted = moved.get(name, held.parameters[name])
        np.testing.assert_allclose(value_of, wanted, rtol=1e-4, atol=1e-5, err_msg=name)
    changed = {name.split(".")[1] for name in moved if not np.array_equal(found[name], held.parameters[name])}
    assert changed == {"actor", "slow_actor", "critic", "slow_critic", "spread"}


@pytest.fixture
def better(held: Bundle, learns: Behavior, monkeypatch: pytest.MonkeyPatch) -> Parameters:
    """Parameters after many updates."""
    monkeypatch.setattr(behavior, "RATE", 3e-2)
    learns.restart()
    parameters, rng = dict(held.parameters), np.random.default_rng(0)
    for _ in range(120):
        parameters = learns.improved(parameters, somewhere(held), rng)
    return parameters


def test_an_actor_that_learned_earns_more_than_one_that_did_not(
    held: Bundle, learns: Behavior, better: Parameters
) -> None:
    actors = ("behavior.actor.", "behavior.slow_actor.")
    other = better | {name: value for name, value in held.parameters.items() if name.startswith(actors)}
    assert learns.holds(better, other, somewhere(held), seed=0)
    assert not learns.holds(other, better, somewhere(held), seed=0)
    assert learns.holds(better, better, somewhere(held), seed=0)


@pytest.mark.parametrize("wrong", [30.0, -30.0])
def test_a_critic_that_tells_something_quite_different_is_told(
    held: Bundle, learns: Behavior, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are told by a softmax over bins: a bias of the outermost one is as wrong as a critic can be."""
    monkeypatch.setattr(behavior, "WORSE", np.inf)
    parameters = dict(held.parameters)
    (name,) = (
        key for key in parameters if key.startswith("behavior.slow_critic.") and parameters[key].shape == (BINS,)
    )
    bias = parameters[name].copy()
    bias[0 if wrong < 0.0 else -1] = abs(wrong)
    assert learns.holds(parameters, dict(held.parameters), somewhere(held), seed=0)
    assert not learns.holds(parameters | {name: bias}, dict(held.parameters), somewhere(held), seed=0)


def test_it_is_started_from_where_sequences_go_on_with_the_goal_of_there() -> None:
    deter = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    ends = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    goal = deter[..., :1] + np.float32(100.0)
    starts = Starts.of(Belief(deter, deter), {"terminated": ends, "goal": goal})
    assert starts.belief.deter[:, 0].tolist() == [0.0, 4.0, 6.0, 8.0, 10.0]
    assert starts.goal is not None
    assert starts.goal[:, 0].tolist() == [100.0, 104.0, 106.0, 108.0, 110.0]
    drawn = starts.drawn(10, np.random.default_rng(0))
    assert sorted(drawn.belief.deter[:, 0].tolist()) == sorted(2 * [0.0, 4.0, 6.0, 8.0, 10.0])
    assert drawn.goal is not None
    np.testing.assert_array_equal(drawn.goal[:, 0], drawn.belief.stoch[:, 0] + 100.0)


def test_where_nothing_goes_on_nothing_is_learned(held: Bundle, learns: Behavior) -> None:
    nowhere = Starts(Belief(*(part[:0] for part in somewhere(held).belief)), None)
    parameters = dict(held.parameters)
    assert learns.improved(parameters, nowhere, np.random.default_rng(0)) is parameters


def learner_of(held: Bundle, *, behaving: bool) -> Learner:
    return Learner(held, Consolidation(0.0), 1e-3, behavior=behaving)


def batch_for(learner: Learner, held: Bundle) -> Columns:
    memory = Memory.of(Layout.of(held.manifest.task), held.nominal)
    return batch_of(memory.drawn(learner.sequences, learner.length, np.random.default_rng(0)))


def moved(learner: Learner, held: Bundle) -> set[str]:
    """The networks whose parameters are others by now."""
    others = (name for name, was in held.parameters.items() if not np.array_equal(learner.parameters[name], was))
    return {"model" if name.startswith("model.") else ".".join(name.split(".")[:2]) for name in others}


def test_actor_and_critic_follow_the_model_where_they_are_asked_to(held: Bundle) -> None:
    for behaving in (True, False):
        learner = learner_of(held, behaving=behaving)
        learner.update(batch_for(learner, held))
        networks = {f"behavior.{part}" for part in ("actor", "slow_actor", "critic", "slow_critic", "spread")}
        assert moved(learner, held) == {"model"} | (networks if behaving else set())
        assert learner.holds(dict(held.parameters), batch_for(learner, held))


def test_imagination_starts_where_the_model_that_is_imagined_in_believes_it_is(
    held: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, shown = learner_of(held, behaving=True), list[tuple[str, Arrays]]()
    run = learner.engine.run

    def watched(name: str, feeds: Arrays) -> Arrays:
        shown.append((name, {part: value for part, value in feeds.items() if part.startswith("model.")}))
        return run(name, feeds)

    monkeypatch.setattr(learner.engine, "run", watched)
    for _ in range(2):
        learner.update(batch_for(learner, held))
    learner.holds(dict(held.parameters), batch_for(learner, held))
    assert [name for name, _ in shown] == [*2 * [MODEL, behavior.GRAPH], MODEL, *3 * [behavior.GRAPH]]
    for believing, imagining in ((0, 1), (2, 3), (4, 5), (4, 6), (4, 7)):
        (_, model), (_, other) = shown[believing], shown[imagining]
        assert len(shared := model.keys() & other.keys()) > 3
        assert all(model[part] is other[part] for part in shared)


def test_an_actor_that_is_not_finite_moves_nothing_and_is_told(held: Bundle) -> None:
    learner = learner_of(held, behaving=True)
    batch = batch_for(learner, held)
    (name, weight), *_ = ((name, value) for name, value in held.parameters.items() if ".actor." in name)
    learner.parameters[name] = np.full_like(weight, np.nan)
    was = dict(learner.parameters)
    with pytest.raises(ValueError, match="the actor loss became nan"):
        learner.update(batch)
    assert all(learner.parameters[key] is value for key, value in was.items())

"""Learning along a bundle's gradients, and judging parameters by what was recorded."""

import numpy as np
import pytest

from tests.tiny_bundle import CHEETAH as DRIVING
from tests.tiny_bundle import made, taught
from wmctrl.runtime import bundle
from wmctrl.runtime.adaptation import Adaptation
from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.ewc import Consolidation
from wmctrl.runtime.experience import Columns, Layout, Memory, batch_of, step_of
from wmctrl.runtime.hindcast import SETTLING, Judge, Looking, spread
from wmctrl.runtime.learner import Learner
from wmctrl.runtime.plant import Element

RATE = 3e-3
CHEETAH = (
    *("HalfCheetah-v5", "agent.learn_behavior=false", "agent.proposals=0"),
    *("replay.length=3", "agent.model.context=2"),
)
"""Every step of a sequence is another piece of the graph that learns, and takes seconds."""


@pytest.fixture(scope="module")
def held() -> Bundle:
    return bundle.load(taught(*CHEETAH), learning=True)


def learner_of(held: Bundle, strength: float = 0.0) -> Learner:
    consolidation = Consolidation(strength)
    consolidation.keep(held.parameters, held.importance)
    return Learner(held, consolidation, RATE)


def batch_for(learner: Learner, held: Bundle) -> Columns:
    memory = Memory.of(Layout.of(held.manifest.task), held.nominal)
    return batch_of(memory.drawn(learner.sequences, learner.length, np.random.default_rng(0)))


def distance(learner: Learner, held: Bundle) -> float:
    """How far parameters are from where they were."""
    return float(np.sqrt(sum(((learner.parameters[name] - was) ** 2).sum() for name, was in held.parameters.items())))


def test_updates_lower_the_loss(held: Bundle) -> None:
    learner = learner_of(held)
    batch = batch_for(learner, held)
    losses = [learner.update(batch) for _ in range(60)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 1.0


def test_only_the_models_parameters_move(held: Bundle) -> None:
    learner = learner_of(held)
    learner.update(batch_for(learner, held))
    moved = {name for name, was in held.parameters.items() if not np.array_equal(learner.parameters[name], was)}
    assert moved <= set(learner.learned)
    assert len(moved) > 0.9 * len(learner.learned)
    assert all(name.startswith("model.") for name in moved)


def test_what_is_consolidated_is_left_less(held: Bundle) -> None:
    free, tied = learner_of(held), learner_of(held, strength=1e5)
    batch = batch_for(free, held)
    for _ in range(40):
        free.update(batch)
        tied.update(batch)
    assert distance(tied, held) < 0.5 * distance(free, held)


def test_steps_that_are_not_finite_move_nothing(held: Bundle) -> None:
    learner = learner_of(held)
    batch = batch_for(learner, held)
    batch["proprio"] = batch["proprio"].copy()
    batch["proprio"][0, 0] = np.nan
    with pytest.raises(ValueError, match="became nan"):
        learner.update(batch)
    assert distance(learner, held) == 0.0


def test_a_restart_goes_on_from_other_parameters_without_momentum(held: Bundle) -> None:
    learner = learner_of(held)
    batch = batch_for(learner, held)
    steps = []
    for _ in range(2):
        learner.generator = np.random.default_rng(0)
        for _ in range(3):
            learner.update(batch)
        steps.append({name: learner.parameters[name].copy() for name in learner.learned})
        learner.restart(held.parameters)
        assert distance(learner, held) == 0.0
    for name, first in steps[0].items():
        np.testing.assert_array_equal(steps[1][name], first)


def test_the_average_follows_what_is_learned_by_a_tenth_an_update(held: Bundle) -> None:
    learner = learner_of(held)
    batch, expected = batch_for(learner, held), dict(held.parameters)
    for _ in range(3):
        learner.update(batch)
        expected = {name: 0.9 * value + 0.1 * learner.parameters[name] for name, value in expected.items()}
    assert distance(learner, held) > 0.0
    for name, value in expected.items():
        np.testing.assert_allclose(learner.averaged[name], value, rtol=1e-4, atol=1e-6)
    learner.restart(held.parameters)
    assert all(np.array_equal(learner.averaged[name], value) for name, value in held.parameters.items())


def test_a_consolidation_holds_what_is_known_now(held: Bundle) -> None:
    learner = learner_of(held)
    batch = batch_for(learner, held)
    learner.update(batch)
    learner.consolidate({name: column[:2] for name, column in batch.items()})
    anchor = learner.consolidation.anchors[-1]
    assert anchor.importance.keys() == set(learner.learned)
    assert all(np.array_equal(anchor.parameters[name], learner.parameters[name]) for name in learner.learned)
    assert any(value.any() for value in anchor.importance.values())


def test_a_bundle_that_only_drives_is_refused() -> None:
    with pytest.raises(ValueError, match="this bundle cannot learn; write it with `wm export RUN --learn`"):
        Learner(bundle.load(made(*DRIVING)[1], learning=True), Consolidation(0.0), RATE)


def dreamt(held: Bundle, count: int) -> Columns:
    """Steps of a plant that does what the bundle's model expects."""
    told = held.manifest
    engine = Engine({name: told.graphs[name] for name in ("observe", "imagine")}, held.graphs, "cpu", 1)
    rng, proprio = np.random.default_rng(0), held.nominal["proprio"][0]
    deter, stoch = (np.zeros(size, np.float32) for size in told.state_sizes)
    action, steps = np.zeros(len(told.task.action), np.float32), []
    for number in range(count):
        steps.append(step_of({"proprio": proprio}, action, first=number == 0))
        seen = engine.run("observe", {"deter": deter, "stoch": stoch, "action": action, "proprio": proprio})
        deter, stoch = seen["next_deter"], seen["next_stoch"]
        action = rng.uniform(-1.0, 1.0, len(action)).astype(np.float32)
        proprio = engine.run("imagine", {"deter": deter, "stoch": stoch, "action": action})["next_proprio"]
    return Layout.of(told.task).columns(steps)


def test_a_model_foresees_one_step_of_what_it_dreamt_and_another_does_not(
    held: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmctrl.runtime.hindcast.THOROUGHLY", Looking(ahead=1, every=2))
    judge, steps = Judge(held), dreamt(held, 30)
    other = {name: value + np.float32(0.1) for name, value in held.parameters.items()}
    assert judge.error(held.parameters, steps) < 1e-4
    assert judge.error(other, steps) > 1e-2
    assert judge.error(held.parameters, steps) < 1e-4, "whoever is judged leaves nothing behind"


def test_parameters_that_are_not_finite_foresee_nothing(held: Bundle) -> None:
    broken = {name: np.full_like(value, np.nan) for name, value in held.parameters.items()}
    assert Judge(held).error(broken, dreamt(held, 20)) == np.inf


def test_too_few_steps_tell_nothing(held: Bundle) -> None:
    assert Judge(held).error(held.parameters, dreamt(held, SETTLING)) == np.inf


def test_steps_before_those_that_judge_only_settle_the_belief(held: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmctrl.runtime.hindcast.THOROUGHLY", Looking(ahead=1, every=2))
    judge, steps = Judge(held), dreamt(held, 42)
    steps["proprio"] = steps["proprio"].copy()
    steps["proprio"][-1] = -2.0 * steps["proprio"][-1] - 100.0 * judge.spread
    assert judge.error(held.parameters, steps, since=36) > 2.0 * judge.error(held.parameters, steps)
    assert judge.error(held.parameters, steps, since=42) == np.inf


def test_a_controller_whose_bundle_can_learn_adapts_while_it_drives(held: Bundle) -> None:
    controller = Controller.load(held.folder, provider="cpu", in_time=False)
    adapter = Adapter.of(controller, Adaptation(always=True, fresh=10, updates=3, better=-1.0, worse=0.0))
    first = True
    for proprio in held.nominal["proprio"][:40]:
        last = controller.state.last
        action = controller.act({"proprio": proprio})
        adapter.note(step_of({"proprio": proprio}, last, first=first), action.surprise)
        adapter.work()
        first = False
    assert "promoted" in {event.what for event in adapter.state.events}
    assert isinstance(controller.engine, Engine)
    driving = controller.engine.held.values["observe"]
    assert any(not np.array_equal(value, held.parameters[name.removesuffix(".T")].T) for name, value in driving.items())
    for name, value in driving.items():
        learned = adapter.active.parameters[name.removesuffix(".T")]
        np.testing.assert_array_equal(value, learned.T if name.endswith(".T") else learned)


def test_what_hardly_moved_counts_as_some_of_its_range() -> None:
    readings = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], np.float32)
    elements = [
        Element("moves", "m", -1.0, 1.0),
        Element("rests", "m", -1.0, 3.0),
        Element("unbounded", "1", None, None),
    ]
    np.testing.assert_allclose(spread(readings, elements), [1.0, 0.2, 1e-6], rtol=1e-6)

"""Learning while driving, over a plant by hand: what is noticed, learned, promoted, refused, undone and recognised."""

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.test_experience import TASK
from wmctrl.runtime.actuation import LATEST, LONGEST_DELAY, Actuation
from wmctrl.runtime.adaptation import Adaptation, Regime
from wmctrl.runtime.adapter import CALIBRATING, CHECKING, Adapter
from wmctrl.runtime.experience import Columns, Layout, step_of
from wmctrl.runtime.hindcast import SETTLING
from wmctrl.runtime.keeping import Keeper
from wmctrl.runtime.learning import Learning
from wmctrl.runtime.plant import Task

BARE = Task(**{**TASK.__dict__, "goal": (), "camera": None})
LAYOUT = Layout.of(BARE)
NOMINAL = 1.0
"""Gain of the plant that was learned first: what a command moves it by."""
Parameters = dict[str, NDArray[np.float32]]


def gain(value: float) -> Parameters:
    return {"model.gain": np.array([value], np.float32)}


class Plant:
    """Moves by its gain times a command, some steps late; who believes in others foresees that the worse."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.gain, self.delay, self.place, self.count = NOMINAL, 0, 0.0, 0
        self.sent = [0.0] * 4

    def step(self, believed: float, delay: int = 0) -> tuple[dict[str, Any], float]:
        """A step, and how much it surprises who believes in a gain and a delay."""
        command = float(self.rng.uniform(-1.0, 1.0))
        self.sent = [*self.sent[1:], command]
        moved = self.gain * self.sent[-1 - self.delay]
        self.place = 0.9 * self.place + moved
        self.count += 1
        seen = {"proprio": np.array([self.place, moved], np.float32)}
        error = abs(self.gain - believed) * 3.0 + abs(self.delay - delay)
        surprise = float(np.exp(0.3 * self.rng.standard_normal() + error))
        return step_of(seen, np.array([command], np.float32), first=self.count == 1, reward=self.count), surprise


class Engine:
    """Drives with a gain."""

    def __init__(self, known: Actuation | None = None) -> None:
        self.gain, self.taken, self.actuation = NOMINAL, 0, known or Actuation.plain(1)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        return {"model.gain": (1,)}

    def prepared(self, values: Parameters) -> dict[str, dict[str, NDArray[Any]]]:
        return {"observe": dict(values)}

    def take(self, prepared: dict[str, dict[str, NDArray[Any]]], actuation: Actuation) -> None:
        self.gain, self.taken = float(prepared["observe"]["model.gain"][0]), self.taken + 1
        self.actuation = actuation


class Learner:
    """Learns the gain that sequences of another plant than the first show, some of the way at a time."""

    sequences, length = 8, 4

    def __init__(self, rate: float = 0.3) -> None:
        self.rate, self.generator = rate, np.random.default_rng(0)
        self.parameters, self.importance, self.consolidated = gain(NOMINAL), gain(1.0), 0
        self.old_shares: list[float] = []

    @property
    def averaged(self) -> Parameters:
        return self.parameters

    def restart(self, parameters: Parameters, importance: Parameters | None) -> None:
        self.parameters = {name: value.copy() for name, value in parameters.items()}
        self.importance = self.importance if importance is None else importance

    def update(self, batch: Columns) -> float:
        shown = batch["proprio"][..., 1] / batch["action"][..., 0]
        old = np.isclose(shown.mean(1), NOMINAL)
        self.old_shares.append(float(old.mean()))
        new = np.float32(shown[~old].mean() if not old.all() else NOMINAL)
        moved = self.parameters["model.gain"] + self.rate * (new - self.parameters["model.gain"])
        if not np.isfinite(moved).all() or abs(moved[0]) > 1e6:
            raise ValueError("the gradient's norm became inf")
        self.parameters = {"model.gain": moved}
        return 0.0

    def holds(self, driving: Parameters, batch: Columns) -> bool:
        return True

    def consolidate(self, sequences: Columns) -> None:
        assert sequences["reward"].shape[1] == self.length
        self.consolidated += 1
        self.importance = gain(1.0 + self.consolidated)


class Judge:
    """Tells how far a gain is from what steps show; of those that are kept of the first plant, always `first`."""

    def __init__(self, first: float = 0.1) -> None:
        self.first = first

    def error(self, parameters: Parameters, steps: Columns, since: int = 0) -> float:
        shown = float(np.median(steps["proprio"][since:, 1] / steps["action"][since:, 0]))
        believed = float(parameters["model.gain"][0])
        if since == 0 and shown == pytest.approx(NOMINAL) and believed != NOMINAL:
            return self.first
        return abs(believed - shown) + 0.1

    def residuals(self, parameters: Parameters, steps: Columns) -> NDArray[np.float32]:
        found: NDArray[np.float32] = parameters["model.gain"] * steps["action"] - steps["proprio"][:, 1:]
        return found


WHAT = ("alarm", "promoted", "consolidated")


def nominal_steps() -> Columns:
    plant, steps = Plant(seed=9), []
    plant.count = -1000  # no number of these comes again
    for _ in range(600):
        step, surprise = plant.step(NOMINAL)
        steps.append(step | {"surprise": surprise})
    return LAYOUT.columns(steps)


class World:
    """A plant that is driven and adapted to."""

    def __init__(
        self,
        learner: Learner | None = None,
        judge: Judge | None = None,
        keeper: Keeper | None = None,
        known: Actuation | None = None,
        **config: Any,
    ) -> None:
        self.plant, self.engine, self.learner = Plant(seed=0), Engine(known), learner or Learner()
        asked = {"calibrate": False} | config
        self.adapter = Adapter(
            LAYOUT, nominal_steps(), self.engine, self.learner, judge or Judge(), Adaptation(**asked), keeper
        )

    def drive(self, steps: int, gain: float = NOMINAL, work: int = 1, delay: int = 0) -> list[str]:
        """What happened meanwhile."""
        self.plant.gain, self.plant.delay, told = gain, delay, len(self.adapter.state.events)
        for _ in range(steps):
            known = self.engine.actuation
            step, surprise = self.plant.step(self.engine.gain * float(known.gain[0]), known.delay)
            self.adapter.note(step, surprise)
            for _ in range(work):
                self.adapter.work()
        return [event.what for event in self.adapter.state.events[told:]]


def test_nothing_is_learned_while_nothing_changes() -> None:
    world = World()
    assert world.drive(5000) == []
    assert world.learner.old_shares == []


def test_a_change_is_noticed_learned_and_driven_by() -> None:
    world = World()
    world.drive(300)
    happened = world.drive(300, gain=0.5)
    assert happened[0] == "alarm"
    assert "promoted" in happened
    assert world.engine.gain == pytest.approx(0.5, abs=0.05)


def test_an_alarm_tells_when_the_change_was() -> None:
    world = World()
    world.drive(300)
    world.drive(100, gain=0.5)
    alarm = world.adapter.state.events[0]
    assert alarm.what == "alarm"
    assert abs(int(alarm.detail.removeprefix("since step ")) - 300) < 20


def test_what_is_learned_is_judged_by_steps_that_came_later() -> None:
    """Steps pay their number."""
    newest: list[float] = [0.0]
    judged: list[float] = []

    class Learning(Learner):
        def update(self, batch: Columns) -> float:
            newest.append(float(batch["reward"].max()))
            return super().update(batch)

    class Judging(Judge):
        def error(self, parameters: Parameters, steps: Columns, since: int = 0) -> float:
            if since and len(steps["reward"]) - since >= 40:  # fewer only tell plants that are known from each other
                judged.append(float(steps["reward"][since]))
                assert judged[-1] > max(newest)
            return super().error(parameters, steps, since)

    world = World(learner=Learning(), judge=Judging(), fresh=40, updates=5)
    world.drive(300)
    world.drive(300, gain=0.5)
    assert len(set(judged)) > 3


def test_a_share_of_every_batch_is_of_the_first_plant() -> None:
    world = World(replay=0.25)
    world.drive(300)
    world.drive(120, gain=0.5)
    assert world.learner.old_shares
    assert set(world.learner.old_shares) == {0.25}


def test_what_forgets_the_first_plant_is_not_driven_by_and_more_of_it_is_replayed() -> None:
    world = World(judge=Judge(first=0.2))
    world.drive(300)
    happened = world.drive(600, gain=0.5)
    assert "promoted" not in happened
    assert world.engine.gain == NOMINAL
    assert world.adapter.state.replay == pytest.approx(world.adapter.config.most_replay)


def test_without_the_gate_whatever_was_learned_drives() -> None:
    world = World(judge=Judge(first=0.2), gate=False, replay=0.0)
    world.drive(300)
    world.drive(200, gain=0.5)
    assert world.engine.gain == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("rate", [-300.0, np.nan, 3.0])
def test_learning_that_diverges_never_drives(rate: float) -> None:
    world = World(learner=Learner(rate=rate))
    world.drive(300)
    happened = world.drive(1000, gain=0.5)
    assert "promoted" not in happened
    assert world.engine.gain == NOMINAL
    if not abs(rate) < 10.0:
        assert "refused" in happened


@pytest.mark.parametrize("doubt", [False, ValueError("the actor loss became nan")])
def test_what_foresees_better_and_is_imagined_to_drive_worse_never_drives(doubt: bool | ValueError) -> None:
    class Doubting(Learner):
        def holds(self, driving: Parameters, batch: Columns) -> bool:
            assert batch["reward"].shape == (self.sequences, self.length)
            assert driving["model.gain"] == NOMINAL
            if isinstance(doubt, ValueError):
                raise doubt
            return doubt

    world = World(learner=Doubting())
    world.drive(300)
    happened = world.drive(600, gain=0.5)
    assert "refused" in happened
    assert "promoted" not in happened
    assert world.engine.gain == NOMINAL


def test_the_first_plant_is_recognised_when_it_comes_back() -> None:
    world = World()
    world.drive(300)
    world.drive(300, gain=0.5)
    happened = world.drive(300)
    assert "recognised" in happened
    assert world.engine.gain == NOMINAL


def test_a_plant_that_was_learned_is_recognised_when_it_comes_back() -> None:
    world = World(consolidated=200)
    world.drive(300)
    assert "consolidated" in world.drive(1000, gain=0.5)
    learned = world.engine.gain
    world.drive(1000)
    assert world.engine.gain == NOMINAL
    happened = world.drive(200, gain=0.5)
    assert "recognised" in happened
    assert world.engine.gain == learned


def test_who_learns_is_held_by_what_matters_to_the_plant_that_drives() -> None:
    world = World(consolidated=200)
    world.drive(300)
    world.drive(1000, gain=0.5)
    assert world.learner.importance == gain(2.0)
    assert "recognised" in world.drive(200)
    assert world.learner.importance == gain(1.0)
    world.drive(1000)
    assert "recognised" in world.drive(200, gain=0.5)
    assert world.learner.importance == gain(2.0)
    world.drive(1000, gain=0.5)
    assert world.learner.consolidated == 1


def test_learning_ends_when_nothing_new_is_found() -> None:
    world = World(consolidated=200)
    world.drive(300)
    world.drive(1000, gain=0.5)
    assert not world.adapter.state.learning
    assert world.learner.consolidated == 1


def test_learning_goes_on_for_as_long_as_something_better_is_found() -> None:
    world = World(Learner(rate=0.002), consolidated=200)
    world.drive(300)
    world.drive(3000, gain=0.5)
    steps = {what: [one.step for one in world.adapter.state.events if one.what == what] for what in WHAT}
    ended = steps["consolidated"][0]
    promoted = [step for step in steps["promoted"] if step < ended]
    assert promoted[-1] - max(step for step in steps["alarm"] if step < ended) > 200, "or this would show nothing"
    assert ended - promoted[-1] >= 200


def test_what_commands_do_is_found_out_before_anything_is_learned() -> None:
    world = World(calibrate=True, learn=False)
    world.drive(300)
    happened = world.drive(200, gain=0.5)
    assert set(happened) == {"alarm", "calibrated"}
    assert world.engine.gain == NOMINAL, "the model is the one that it was"
    assert world.engine.actuation.gain == pytest.approx(0.5, abs=0.05)
    assert world.engine.actuation.offset == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(("gain", "delay"), [(NOMINAL, 1), (NOMINAL, LATEST), (0.5, 2)])
def test_commands_that_come_late_are_told_from_weak_ones(gain: float, delay: int) -> None:
    world = World(calibrate=True, learn=False)
    world.drive(300)
    assert set(world.drive(200, gain=gain, delay=delay)) == {"alarm", "calibrated"}
    assert world.engine.actuation.delay == delay
    assert world.engine.actuation.gain == pytest.approx(gain, abs=0.05)
    assert "recognised" in world.drive(200)
    assert world.engine.actuation == Actuation.plain(1)


def test_what_late_commands_do_is_learned_from_the_commands_that_did_it() -> None:
    world = World(calibrate=True)
    world.drive(300)
    world.drive(300, delay=2)
    assert world.engine.actuation.delay == 2
    happened = world.drive(400, gain=0.5, delay=2)
    assert {"promoted", "calibrated"} & set(happened)
    assert world.engine.actuation.delay == 2
    assert world.engine.gain * world.engine.actuation.gain == pytest.approx(0.5, abs=0.1)


LATE = Actuation.plain(1)._replace(delay=2)


def test_sequences_to_learn_from_hold_the_commands_that_led_there() -> None:
    given: list[Columns] = []

    class Watching(Learner):
        def update(self, batch: Columns) -> float:
            given.append(batch)
            return super().update(batch)

    world = World(Watching(), known=LATE)
    world.drive(300, delay=2)
    world.drive(200, gain=0.5, delay=2)
    shown = np.concatenate([batch["proprio"][..., 1] / batch["action"][..., 0] for batch in given])
    gains = np.unique(shown.round(3))
    assert set(gains) == {0.5, NOMINAL}


def test_what_is_expected_of_an_observation_is_told_from_the_command_that_led_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, told = World(known=LATE), list[NDArray[Any]]()
    world.drive(20, delay=2)
    seen = world.adapter.memory.steps(16, 20)

    class Expectation:
        def excess(self, features: NDArray[Any], surprises: NDArray[Any]) -> NDArray[np.float64]:
            told.append(features)
            return np.zeros(len(features))

    monkeypatch.setattr(world.adapter, "expectation", Expectation())
    world.adapter._excess(1.0)
    ((*place, last, before),) = told[0]
    np.testing.assert_allclose(place, seen["proprio"][-2])
    assert (last, before) == pytest.approx((seen["proprio"][-1, 1], seen["proprio"][-2, 1]))


def test_behind_a_gap_nothing_is_learned_until_what_was_sent_since_has_its_effect() -> None:
    world = World(known=LATE)
    world.drive(20, delay=2)
    world.adapter.missed()
    world.drive(6, delay=2)
    assert world.adapter.memory.steps(18, 26)["is_first"].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


def test_a_delay_that_is_known_from_the_beginning_changes_nothing() -> None:
    world = World(calibrate=True, known=Actuation.plain(1)._replace(delay=2))
    assert world.drive(1000, delay=2) == []
    assert world.drive(300, gain=0.5, delay=2)[0] == "alarm"
    assert world.engine.actuation.delay == 2
    assert world.engine.gain * world.engine.actuation.gain == pytest.approx(0.5, abs=0.1)


class Unexplained(Judge):
    """Foresees most of what comes after a change badly, whatever commands are said to do."""

    def error(self, parameters: Parameters, steps: Columns, since: int = 0) -> float:
        return super().error(parameters, steps, since) + 4.0 * (since > 0)


def test_gains_that_explain_but_a_little_of_a_change_do_not_drive() -> None:
    world = World(judge=Unexplained(), calibrate=True, learn=False)
    world.drive(300)
    assert set(world.drive(200, gain=0.5)) == {"alarm"}
    assert world.engine.actuation == Actuation.plain(1)


def test_a_plant_whose_commands_do_something_else_is_known_after_a_while() -> None:
    world = World(calibrate=True, learn=False, consolidated=200)
    world.drive(300)
    assert "consolidated" in world.drive(600, gain=0.5)
    known = world.adapter.active
    assert known in world.adapter.regimes
    world.drive(600)
    assert world.engine.actuation.gain == NOMINAL
    world.drive(600, gain=1.8)
    assert world.engine.actuation.gain != pytest.approx(0.5, abs=0.1)
    assert "recognised" in world.drive(200, gain=0.5)
    assert world.adapter.active is known


def test_calibrated_first_and_learned_then_a_plant_is_known_and_left_again() -> None:
    world = World(calibrate=True, consolidated=200)
    world.drive(300)
    happened = world.drive(1500, gain=0.5)
    assert {"alarm", "calibrated", "consolidated"} <= set(happened)
    assert world.engine.gain * world.engine.actuation.gain == pytest.approx(0.5, abs=0.1)
    assert "recognised" in world.drive(300)
    assert world.engine.gain * world.engine.actuation.gain == NOMINAL


def test_commands_that_do_what_they_did_are_recognised() -> None:
    world = World(calibrate=True, learn=False)
    world.drive(300)
    world.drive(500, gain=0.5)
    assert "recognised" in world.drive(300)
    assert world.engine.actuation == Actuation.plain(1)


class Lenient(Judge):
    """Never foresaw the first plant well."""

    def error(self, parameters: Parameters, steps: Columns, since: int = 0) -> float:
        return 0.2 if since == 0 else super().error(parameters, steps, since)


def test_what_foresees_as_well_as_it_ever_did_goes_on_driving() -> None:
    world = World(judge=Lenient(), always=True)
    world.drive(300)
    happened = world.drive(300, gain=0.97)
    assert "kept" in happened, "or nothing was judged"
    assert "promoted" not in happened


@pytest.mark.parametrize(("gain", "learned"), [(0.95, False), (0.85, True)])
def test_the_first_parameters_are_left_only_where_they_foresee_much_worse_than_they_did(
    gain: float, learned: bool
) -> None:
    """Errors are 0.1 and how far gains are apart: 1.5 times those of the first plant, and 2.5 times."""
    world = World(always=True)
    world.drive(300)
    assert ("promoted" in world.drive(300, gain=gain)) is learned


def test_a_plant_that_is_known_drives_again_only_where_it_foresees_clearly_better() -> None:
    world = World()
    nominal, other = world.adapter.active, Regime(gain(0.5), Actuation.plain(1))
    world.adapter._drive(other)
    assert not world.adapter._undo({other: 1.0, nominal: 0.85}, 0.2)
    assert world.adapter.active is other
    assert world.adapter._undo({other: 1.0, nominal: 0.75}, 0.2)
    assert world.adapter.active is nominal


def test_a_plant_that_comes_back_is_recognised_without_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(consolidated=200)
    world.drive(300)
    assert "consolidated" in world.drive(600, gain=0.5)
    monkeypatch.setattr(world.adapter, "_excess", lambda surprise: None)
    assert world.drive(45) == ["recognised"]
    assert world.engine.gain == NOMINAL


@pytest.mark.parametrize(
    ("drives", "known", "left"),
    [(0.09, 0.01, False), (0.3, 0.16, False), (0.5, 0.15, True), (2.0, 0.5, False)],
    ids=("well", "near", "far", "neither"),
)
def test_without_an_alarm_only_what_foresees_far_better_than_what_foresees_badly_drives(
    drives: float, known: float, left: bool
) -> None:
    class Told(Judge):
        def error(self, parameters: Parameters, steps: Columns, since: int = 0) -> float:
            if since == 0:
                return self.first
            return known if parameters["model.gain"][0] == NOMINAL else drives

    world = World(judge=Told(first=0.1))
    world.drive(100)
    world.adapter._drive(Regime(gain(0.5), Actuation.plain(1)))
    assert ("recognised" in world.drive(50, gain=0.5)) is left


def test_behind_a_swap_surprises_count_once_the_belief_is_that_of_what_drives() -> None:
    world = World()
    world.drive(100)
    world.adapter._drive(Regime(gain(0.5), Actuation.plain(1)))
    heights = []
    for _ in range(3 + SETTLING):
        step, _ = world.plant.step(NOMINAL)
        world.adapter.note(step, 1e6)
        heights.append(world.adapter.drift.height)
    assert heights[: 1 + SETTLING] == [0.0] * (1 + SETTLING)
    assert 0.0 < heights[-2] < heights[-1]


def test_parameters_change_between_two_steps_alone() -> None:
    world = World()
    world.drive(300)
    world.plant.gain = 0.5
    for _ in range(300):
        step, surprise = world.plant.step(world.engine.gain)
        world.adapter.note(step, surprise)
        before = world.engine.taken
        world.adapter.work()
        assert world.engine.taken == before
    assert world.engine.taken > 0


def test_only_so_many_plants_are_remembered_and_the_first_always() -> None:
    world = World(consolidated=150, regimes=3)
    world.drive(300)
    for value in (0.5, 2.0, 0.2, 3.0):
        world.drive(900, gain=value)
    assert len(world.adapter.regimes) == 3
    assert world.adapter.regimes[0] is world.adapter.nominal


def test_a_thread_of_its_own_learns_within_its_share() -> None:
    world = World(fresh=30, updates=5)
    world.drive(300, work=0)
    learning = Learning(world.adapter, share=0.5)
    end = time.monotonic() + 20.0
    while "promoted" not in {event.what for event in world.adapter.state.events} and time.monotonic() < end:
        world.drive(5, gain=0.5, work=0)
        time.sleep(0.005)
    learning.close()
    world.drive(1, gain=0.5, work=0)
    assert learning.problem == ""
    assert world.engine.gain == pytest.approx(0.5, abs=0.1)


def test_learning_rests_as_long_as_its_share_asks() -> None:
    class Worker:
        worked = 0.0

        def work(self) -> bool:
            began = time.monotonic()
            time.sleep(0.01)
            self.worked += time.monotonic() - began
            return True

    worker, began = Worker(), time.monotonic()
    learning = Learning(worker, share=0.25)  # type: ignore[arg-type]
    time.sleep(0.6)
    learning.close()
    assert 0.0 < worker.worked < 0.4 * (time.monotonic() - began)


def test_learning_that_breaks_down_leaves_driving_alone() -> None:
    world = World(always=True)
    world.learner.sequences = "many"  # type: ignore[assignment]
    learning = Learning(world.adapter, share=1.0)
    world.drive(30, work=0)
    learning.thread.join(10.0)
    assert learning.problem
    world.drive(30, work=0)
    assert world.engine.gain == NOMINAL


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [("replay", 1.5), ("most_replay", -0.1), ("capacity", 0), ("fresh", 0), ("updates", 2.5), ("regimes", 1)],
)
def test_settings_that_nothing_could_be_learned_by_are_refused(setting: str, wrong: float) -> None:
    given: Any = {setting: wrong}
    with pytest.raises(ValueError, match=f"{setting} must be .*, came"):
        Adaptation(**given)


def test_fewer_steps_than_are_learned_from_are_refused() -> None:
    sequence = Learner.length + LONGEST_DELAY
    least: dict[str, Any] = {"capacity": 50 + CALIBRATING + CHECKING + sequence, "consolidated": sequence}
    World(fresh=50, **least)
    for name, smallest in least.items():
        with pytest.raises(ValueError, match=f"{name} must be a whole number from {smallest} .*, came {smallest - 1}"):
            World(fresh=50, **least | {name: smallest - 1})


def test_learning_that_steps_outrun_goes_on_from_later_ones() -> None:
    world = World(capacity=200, updates=50)
    world.drive(300)
    world.drive(40, gain=0.5)
    assert 0 < world.adapter.state.updates < 50, "or nothing is being learned"
    world.drive(400, gain=0.5, work=0)
    happened = world.drive(300, gain=0.5)
    assert "refused" not in happened
    assert "promoted" in happened


def test_whoever_works_more_slowly_than_alarms_come_learns_all_the_same() -> None:
    world = World(fresh=30, updates=5)
    world.drive(300)
    for _ in range(40):
        world.drive(25, gain=0.5, work=0)
        world.adapter.work()
        assert not world.adapter.alarms
    assert "promoted" in {event.what for event in world.adapter.state.events}


def test_too_few_steps_to_learn_from_are_told_and_end_nothing() -> None:
    world = World()
    world.adapter._learn()
    assert world.adapter.state.events[-1].what == "refused"


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1, came 0"):
        Learning(World().adapter, share=0.0)


@pytest.mark.parametrize("value", [None, np.array([np.nan, 0.0]), np.array([1.0])])
def test_of_a_step_that_is_not_whole_nothing_is_learned_nor_across_it(value: NDArray[Any] | None) -> None:
    world = World()
    world.drive(10)
    broken, surprise = world.plant.step(NOMINAL)
    world.adapter.note(broken | {"proprio": value}, surprise)
    assert world.adapter.memory.total == 10
    world.drive(2)
    assert world.adapter.memory.steps(9, 12)["is_first"].tolist() == [0.0, 1.0, 0.0]


def test_an_episodes_first_observation_surprises_nobody() -> None:
    world = World()
    step, _ = world.plant.step(NOMINAL)
    world.adapter.note(step, 1e6)
    assert world.adapter.memory.steps(0, 1)["surprise"].tolist() == [0.0]


def test_what_is_learned_while_older_parameters_are_taken_drives_next() -> None:
    world = World()
    world.drive(10)
    take = world.engine.take

    def interrupted(prepared: dict[str, dict[str, NDArray[Any]]], actuation: Actuation) -> None:
        take(prepared, actuation)
        world.engine.take = take  # type: ignore[method-assign]
        world.adapter._drive(Regime(gain(0.25), Actuation.plain(1)))

    world.engine.take = interrupted  # type: ignore[method-assign]
    world.adapter._drive(Regime(gain(0.5), Actuation.plain(1)))
    world.drive(1, work=0)
    assert world.engine.gain == 0.5
    world.drive(1, work=0)
    assert world.engine.gain == 0.25


def test_another_change_after_a_promotion_is_learned_from_where_it_began() -> None:
    world = World()
    world.drive(300)
    world.drive(200, gain=0.5)
    assert world.adapter.state.learning
    world.drive(200, gain=2.0)
    assert world.adapter.state.since > 475
    assert world.engine.gain == pytest.approx(2.0, abs=0.1)

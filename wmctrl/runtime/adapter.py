"""Learning while driving: notices that the plant has changed, learns the new one, and drives by what proved better.

Whoever drives calls `note` after every step, which takes a fraction of a millisecond; all that takes longer is done by
`work`, a piece at a time, in a thread of its own (`learning`) or between two steps of a simulator that waits. What
commands do to the plant is found out first (`actuation`), for some dozens of steps tell that. Then parameters are
learned. They are but candidates until they foresee steps that they were not learned from better than those that
drive, where those foresee worse than they did on the first plant, and that one hardly worse, and until their policy is
imagined to do no worse (the gate). What drove before, and what was learned first, remain: the best drives.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmctrl.runtime import bundle, manifest
from wmctrl.runtime.actuation import LATEST, Actuation, explained
from wmctrl.runtime.adaptation import Adaptation, AdaptationState, Alarm, Drives, Event, Judges, Learns, Regime
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.drift import Drift, OrdinaryExcess, features, ordinary_excess
from wmctrl.runtime.driven import Driven
from wmctrl.runtime.ewc import Consolidation
from wmctrl.runtime.experience import Columns, Layout, Memory, batch_of
from wmctrl.runtime.hindcast import SETTLING, Judge
from wmctrl.runtime.keeping import Keeper, Known, origin_of
from wmctrl.runtime.learner import Learner

RETAINED = 0.2
"""Share of the nominal steps that is not learned from, and tells how well the first plant is still known."""
RATE = 1e-3
"""Learning rate of the model's matrices."""
STRENGTH = 0.1
"""Of elastic weight consolidation."""
DECAY = 0.9
"""Share of what mattered that still does when another plant is consolidated (online EWC)."""
CONSOLIDATING = 16
"""Sequences that tell which parameters matter to a plant that was learned."""
RECOGNISING = 20
"""Steps by which a plant that is known is told from others, since a change that was noticed, and every so often."""
CALIBRATING, CHECKING = 80, 20
"""Steps, at most, that tell what commands do; and how many that came later check that."""
SETTLED = 20
"""Steps before those that judge, so that the belief is settled."""
RETRIED = 500
"""Steps until a disk that did not take what is known is tried again."""


class Adapter:
    """Keeps a controller's parameters those of the plant it drives."""

    def __init__(
        self,
        layout: Layout,
        steps: Columns,
        engine: Drives,
        learner: Learns,
        judge: Judges,
        config: Adaptation,
        keeper: Keeper | None = None,
    ) -> None:
        """
        Args:
            steps: On the plant that was learned first, in order.
            engine: What drives.
            judge: Tells how badly parameters foresee recorded steps.
            keeper: Where all is kept, and gone on from.

        Raises:
            ValueError: There are too few steps, or too few are to be remembered.
        """
        self.layout, self.engine, self.learner, self.judge, self.config = layout, engine, learner, judge, config
        config.hold_room(learner.length, CALIBRATING + CHECKING)
        self.nominal = Regime(dict(learner.parameters), engine.actuation, learner.importance)
        self.active, self.previous = self.nominal, self.nominal
        self.regimes = [self.nominal]
        self.memory = Memory(self.layout, self.config.capacity)
        self.stored = Memory.of(self.layout, steps)
        self.kept = round((1.0 - RETAINED) * len(self.stored))
        """Nominal steps before it are learned from, those after it are the retention set."""
        self.expectation, excess = ordinary_excess(steps)
        self.ordinary = OrdinaryExcess.of(excess)
        self.driven = engine.parameters()
        self.first_error = judge.error(self.nominal.parameters, self._retained())
        self.drift, self.state = Drift(), AdaptationState(replay=self.config.replay, learning=self.config.always)
        self.wanted: tuple[Any, Actuation] | None = None
        """Parameters that drive from the next step on, and what commands do; only whoever works writes it."""
        self.calibration: Iterator[None] | None = None
        """What is being found out of commands; only whoever works goes on with it."""
        self.taken: tuple[Any, Actuation] | None = None
        """Those that do; only whoever drives writes it, and everything below."""
        self.unknown = 0
        """How many of the next steps have no known cause: one after a gap, and those within the actuation's delay."""
        self.unsettled = 0
        """How many of the next surprises count for nothing: beliefs are still those of what drove before."""
        self.problem = ""
        """Why some step could not be learned from."""
        self.alarms: deque[Alarm] = deque()
        """Drift that was noticed, and not answered yet."""
        self.keeper = keeper
        self.due: int | None = None
        """Step from which on what is known is to be kept; None where it is."""
        if keeper is not None:
            self._go_on(keeper)

    @classmethod
    def of(
        cls, controller: Controller, config: Adaptation, *, strength: float = STRENGTH, kept: Path | None = None
    ) -> "Adapter":
        """Of a controller whose bundle can learn.

        Args:
            strength: Of elastic weight consolidation.
            kept: Folder where all is kept, and gone on from; None keeps nothing.

        Raises:
            ValueError: The bundle cannot learn or is damaged, or what is kept is of another or damaged.
        """
        held = bundle.load(controller.bundle.folder, learning=True)
        if held.manifest != controller.bundle.manifest:
            raise ValueError(f"{held.folder}: was altered since it was loaded; start again")
        consolidation = Consolidation(strength, DECAY)
        learner = Learner(held, consolidation, RATE, behavior=config.behavior)
        consolidation.keep(held.parameters, held.importance)
        layout, judge, keeper = Layout.of(held.manifest.task), Judge(held), None
        if kept is not None:
            keeper = Keeper(kept, layout, origin_of((held.folder / manifest.NAME).read_bytes()))
        return cls(layout, held.nominal, Driven(controller), learner, judge, config, keeper)

    def note(self, step: dict[str, Any], surprise: float | None) -> None:
        """Remember a step and watch for drift. Of a step that is not whole and finite nothing is learned.

        Args:
            surprise: Of its observation [nats]; None where there is none. An episode's first has none that counts.
        """
        wanted = self.wanted
        if wanted is not None and wanted is not self.taken:
            self.engine.take(*wanted)
            self.taken, self.drift = wanted, self.drift.restarted()
            self.unsettled = 1 + SETTLING  # the first is wholly that of what drove before
        if not self.layout.whole(step):
            self.missed()
            return
        if self.unknown:
            self.unknown, step = self.unknown - 1, step | {"is_first": 1.0}
        if step["is_first"] or self.unsettled:
            surprise = None
        self.unsettled = max(0, self.unsettled - 1)
        packed = self.layout.packed(step | {"surprise": surprise or 0.0})
        self.memory.add(packed)
        if self.keeper is not None:
            self.keeper.log.append(packed)
        self.drift = self.drift.watched(self._excess(surprise), self.ordinary)
        if self.drift.rings:
            self.alarms.append(Alarm(self.memory.total, self.drift.since))
            self.drift = self.drift.restarted()

    def missed(self, problem: str = "") -> None:
        """Mark a gap: neither the next step nor those within the actuation's delay have a known cause.

        Args:
            problem: Why the step could not be learned from, where that is to be told.
        """
        self.unknown = 1 + self._done().delay
        self.problem = problem or self.problem

    def _done(self) -> Actuation:
        """What commands do, by what drives."""
        return self.nominal.actuation if self.taken is None else self.taken[1]

    def _excess(self, surprise: float | None) -> float | None:
        """What exceeds the expected surprise of the newest step [nats]; None until an episode's fourth."""
        actuation = self._done()
        last = self.memory.steps(self.memory.total - 3 - actuation.delay, self.memory.total)
        last = without(done_by(last, actuation), len(last["reward"]) - 3)
        if surprise is None or len(last["reward"]) < 3 or last["is_first"].any():
            return None
        found = float(self.expectation.excess(features(last), np.array([surprise]))[0])
        return found if np.isfinite(found) else None

    def work(self) -> bool:
        """A piece of learning or judging; whether there was anything to do."""
        s, c, now = self.state, self.config, self.memory.total
        while self.alarms:
            self._answer(self.alarms.popleft())
        if self.due is not None and now >= self.due:
            self._keep()
        # Never twice in a row: where it takes longer than that many steps take to come, nothing would ever be learned.
        rested, s.compared = not s.compared, False
        if rested and c.gate and len(self._contenders()) > 1 and now - s.looked >= RECOGNISING:
            s.compared = True
            self._look_out()
            return True
        if not s.learning:
            return False
        if rested and s.untried is not None and now - s.untried >= RECOGNISING:
            s.compared = True
            self._recognise(s.untried)
        elif s.uncalibrated is not None and now - s.uncalibrated >= 2 * CHECKING:
            self.calibration = self.calibration or self._calibrate(s.uncalibrated)
            if next(self.calibration, self) is self:  # it is over
                self.calibration = s.uncalibrated = None
        elif not c.learn:
            self._settle()
            return False
        elif s.frontier - self.memory.first(s.since) < self.learner.length + self.active.actuation.delay:
            s.frontier = now  # too few steps have come yet, or are remembered: who learns slowly is overtaken by them
            return False
        elif s.updates < c.updates or (c.gate and now - s.frontier < c.fresh):
            self._learn()
        else:
            self._judge()
        return True

    def _answer(self, alarm: Alarm) -> None:
        """The plant has changed: what is known of others is tried first, and then it is learned."""
        s = self.state
        s.events.append(Event(alarm.step, "alarm", f"since step {alarm.since}"))
        if not s.learning or s.since < s.promoted <= alarm.since:  # another one than what is being learned
            s.learning, s.since, s.frontier, s.updates = True, alarm.since, alarm.step, 0
            s.replay = self.config.replay
            self._start_from(self.active)
        s.last_alarm = alarm.step
        if self.config.gate and s.untried is None:  # alarms that go on must not put it off
            s.untried = alarm.since
        if self.config.calibrate and s.uncalibrated is None:
            s.uncalibrated = alarm.since

    def _recognise(self, changed: int) -> None:
        """Drive by a plant that is known already, where that foresees best what has come since a change."""
        self.state.untried = None
        self._undo(self._errors(*self._recent(changed)), self.config.clearly)

    def _look_out(self) -> None:
        """Drive by a plant that is known already, where that foresees the last steps far better, alarm or none."""
        s, since, first = self.state, self.memory.total - RECOGNISING, self.first_error
        errors = self._errors(*self._recent(since))
        s.looked = self.memory.total  # of now: whoever takes longer than that to look would do nothing else
        # Now and then nobody foresees what comes, a table that is touched say, and one errs half as much as another.
        known = min(errors.values()) < self.config.worse * first
        if known and errors[self.active] > first and self._undo(errors, self.config.far):
            s.since, s.frontier, s.updates = since, self.memory.total, 0  # what came before is of another plant

    def _calibrate(self, changed: int) -> Iterator[None]:
        """Find out what commands do since a change, a piece at a time, and drive by that if it foresees later steps."""
        drove, until = self.active, self.memory.total - CHECKING
        steps = self.memory.steps(max(changed, until - CALIBRATING) - LATEST, until)

        def residuals(one: Actuation) -> NDArray[np.float32]:
            return self.judge.residuals(drove.parameters, without(done_by(steps, one), LATEST))

        found = yield from explained(drove.actuation, residuals)
        candidate, (recent, since) = replace(drove, actuation=found), self._recent(until)
        errors, learned = self._errors(recent, since), self._error(candidate, recent, since)
        # Clearly, for gains and offsets fit a little of any change, which foresees a tenth better, and drives worse.
        if learned < (1.0 - self.config.clearly) * min(errors.values()) and self.active is drove:
            self._tell("calibrated", f"{found}; error {learned:.3f}, {errors[drove]:.3f} of what drives")
            self._drive(candidate)
            self._start_from(candidate)
            self.state.frontier, self.state.updates = self.memory.total, 0

    def _undo(self, errors: dict[Regime, float], share: float) -> bool:
        """Drive by what drove before, or by a plant that is known; whether that was done.

        Args:
            share: By which its error must be smaller.
        """
        now, best = errors[self.active], min(errors, key=errors.__getitem__)
        if not errors[best] < (1.0 - share) * now:
            return False
        what = "recognised" if best in self.regimes else "rolled back"
        self._tell(what, f"error {errors[best]:.3f}, {now:.3f} of what drives")
        self._drive(best)
        self._start_from(best)
        return True

    def _learn(self) -> None:
        """An update of the candidate."""
        s, L = self.state, self.learner
        stored = round(s.replay * L.sequences)
        parts = []
        try:
            if stored < L.sequences:
                parts.append(self._drawn(L.sequences - stored, s.frontier))
            if stored:
                parts.append(self.stored.drawn(stored, L.length, L.generator, until=self.kept))
            L.update(batch_of(np.concatenate(parts)))
        except ValueError as error:  # it is learned anew from what drives, which did not change
            self._tell("refused", str(error))
            self._start_from(self.active)
        s.updates += 1

    def _judge(self) -> None:
        """Let the best drive: what was learned, what drives, what drove before, or what was learned first."""
        s, c, L = self.state, self.config, self.learner
        candidate = Regime(dict(L.averaged), self.active.actuation)
        if not c.gate:
            self._drive(candidate)
        else:
            recent, since = self._recent(s.frontier)
            errors = self._errors(recent, since)
            learned = self._error(candidate, recent, since)
            retained = self.judge.error(candidate.parameters, self._retained())
            now = errors[self.active]
            keeps = retained <= (1.0 + c.forgotten) * self.first_error
            # Where the first parameters foresee nearly as well as they ever did, learning can but harm: how sensors are
            # foreseen is judged, and what is learned changes how rewards and failures are foreseen as well.
            first = self.active.parameters is self.nominal.parameters
            wants = now > (c.worse if first else 1.0) * self.first_error
            told = f"its error {learned:.3f}, of what drives {now:.3f}; on the first plant {retained:.3f}"
            if wants and keeps and learned < (1.0 - c.better) * now and learned <= min(errors.values()):
                self._promote(candidate, told)
            elif not self._undo(errors, c.clearly):
                self._tell("kept", told)
            if not keeps:
                s.replay = min(c.most_replay, s.replay + 0.1)
        s.frontier, s.updates = self.memory.total, 0
        self._settle()

    def _promote(self, candidate: Regime, told: str) -> None:
        """Drive by what was learned, unless its policy is imagined to do worse than the one that drives."""
        L = self.learner
        try:
            holds = L.holds(self.active.parameters, self._new(L.sequences))
            doubt = "" if holds else "its policy is predicted to earn less than the one that drives"
        except ValueError as error:
            doubt = str(error)
        if doubt:
            self._tell("refused", doubt)
            self._start_from(self.active)
            return
        self._tell("promoted", told)
        self._drive(candidate)

    def _new(self, count: int) -> Columns:
        """Sequences (count, T, ...) since the change that is being learned."""
        return batch_of(self._drawn(count, None))

    def _drawn(self, count: int, until: int | None) -> NDArray[Any]:
        """Sequences (count, T) since the change that is being learned and before a step, as they were done."""
        L, actuation = self.learner, self.active.actuation
        late = actuation.delay
        rows = self.memory.drawn(count, L.length + late, L.generator, self.state.since, until)
        rows["action"] = actuation.done(rows["action"], rows["is_first"])
        return rows[:, late:]

    def _settle(self) -> None:
        """Learn no more until something changes, where nothing better was found for long, and know what drives."""
        s, c = self.state, self.config
        if c.always or self.memory.total - max(s.last_alarm, s.promoted) < c.consolidated:
            return
        s.learning = False
        if self.active not in self.regimes:
            self._consolidate()

    def _consolidate(self) -> None:
        """Hold on to what drives, a plant that is known from now on."""
        L = self.learner
        if self.active.importance is None:  # it was learned; or commands were found to do something else, and no more
            self._start_from(self.active)
            L.consolidate(self._new(CONSOLIDATING))
            self.active.importance = L.importance
        self.due = self.memory.total
        others = [one for one in self.regimes if one not in (self.nominal, self.active)]
        self.regimes = [self.nominal, *[*others, self.active][1 - self.config.regimes :]]
        self._tell("consolidated", f"{len(self.regimes)} plants are known")

    def _start_from(self, regime: Regime) -> None:
        """Learn from a plant's parameters on, held by what is known of it."""
        self.learner.restart(regime.parameters, regime.importance)

    def close(self) -> None:
        """Keep what is not kept yet; nobody works or drives any more."""
        if self.due is not None:
            self._keep()
        if self.keeper is not None:
            self.keeper.close()

    def _keep(self) -> None:
        """Keep what is known; a disk that does not take it is tried again after a while."""
        kept = self.keeper is None or self.keeper.keep(Known.of(self.regimes, self.active))
        self.due = None if kept else self.memory.total + RETRIED

    def _go_on(self, keeper: Keeper) -> None:
        """Know, remember and drive by what was kept, and go on learning what was not known yet."""
        for packed in keeper.steps(self.config.capacity):
            self.memory.add(packed)
        s, now = self.state, self.memory.total
        self.drift, known = self.drift._replace(step=now, since=now), keeper.known()
        if known is None:
            return
        self.regimes, drives = known.beside(self.nominal)
        if drives is not self.nominal:
            self._drive(drives)
            self.due = None
        if drives not in self.regimes:  # the last steps, at least, were of the plant that it was learned from
            s.learning, s.since, s.frontier = True, max(0, now - RECOGNISING), now
            self._start_from(drives)

    def _drive(self, regime: Regime) -> None:
        """Drive by other parameters from the next step on."""
        held = {name: value for name, value in regime.parameters.items() if name in self.driven}
        self.wanted = self.engine.prepared(held), regime.actuation
        if regime is not self.active:
            self.previous, self.active = self.active, regime
            self.state.promoted = self.due = self.memory.total

    def _recent(self, since: int) -> tuple[Columns, int]:
        """Steps from a number on, after some that settle the belief; and where they begin."""
        begin = max(since - SETTLED, self.memory.total - len(self.memory))
        return self.memory.steps(begin, self.memory.total), since - begin

    def _errors(self, steps: Columns, since: int) -> dict[Regime, float]:
        """How badly each of what could drive, and did, foresees steps from one on."""
        return {one: self._error(one, steps, since) for one in self._contenders()}

    def _contenders(self) -> dict[Regime, None]:
        """What could drive, and did."""
        return dict.fromkeys((self.active, self.previous, *self.regimes))

    def _error(self, regime: Regime, steps: Columns, since: int) -> float:
        """How badly a plant that is known foresees steps from one on."""
        return self.judge.error(regime.parameters, done_by(steps, regime.actuation), since)

    def _retained(self) -> Columns:
        """Steps on the first plant that nothing is learned from."""
        return self.stored.steps(self.kept, self.stored.total)

    def _tell(self, what: str, detail: str) -> None:
        self.state.events.append(Event(self.memory.total, what, detail))


def done_by(steps: Columns, actuation: Actuation) -> Columns:
    """Steps with what was done in place of what was sent."""
    return steps | {"action": actuation.done(steps["action"], steps["is_first"])}


def without(steps: Columns, first: int) -> Columns:
    """Steps but the first ones."""
    return {name: value[max(0, first) :] for name, value in steps.items()}

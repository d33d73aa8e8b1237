"""What a course is worth: how much of the nominal return comes back, how soon, and what it costs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wmctrl.stress.course import LATE, Episode, Trace

WINDOW = 10
"""Episodes whose mean return tells whether a change is recovered from, and for how many more it must."""
TELLING = 2 * WINDOW + 1
"""Episodes that tell how soon a change is recovered from, at least: of fewer, there is one answer at most."""
NINE_TENTHS = 0.9
"""Of a change's cost, that are back where it is recovered from."""


class Worth(NamedTuple):
    """Of one course, beside the frozen one with the same seed."""

    nominal: float
    """Mean return before the change."""
    frozen: float
    """Late in the change, of who learns nothing."""
    adapted: float
    """Late in the change."""
    recovery: float
    """Share of what the change cost that came back; the most there is, is what an oracle earns late in the change.

    Without an oracle, who was trained on the changed plant, it is what was earned before the change.
    """
    soon: float
    """Steps of the change until nine tenths of what it cost are back, and stay so; nan where that was not seen."""
    episodes: int
    """That the change lasted."""
    after: float
    """Mean return on the nominal plant again, relative to who learns nothing."""
    forgotten: float
    """Share of the nominal return that is missing late on the nominal plant, the last time; 0 if frozen."""
    delay: float
    """Steps from the change to the first alarm; nan where there was none while it lasted."""
    false_alarms: int
    """Before the change."""
    failures: int
    """While it lasted, beyond those of who learns nothing."""


def late(trace: Trace, phase: str = "shifted") -> list[Episode]:
    """Episodes late in a phase."""
    episodes = of_phase(trace, phase)
    if not episodes:
        return []
    begins, ends = episodes[0].begins, episodes[-1].begins + episodes[-1].length
    since = ends - LATE * (ends - begins)
    return [one for one in episodes if one.begins + one.length > since]


def of_phase(trace: Trace, phase: str) -> list[Episode]:
    """Episodes of a phase."""
    return [one for one in trace.episodes if one.phase == phase]


def mean_return(episodes: Sequence[Episode]) -> float:
    """Of some episodes; nan where there are none."""
    return float(np.mean([one.reward for one in episodes])) if episodes else float("nan")


def settled(episodes: Sequence[Episode], level: float) -> float:
    """Steps until the mean return of WINDOW episodes passes a level, and does so for as many more.

    It is nan if that never was, or there are too few episodes to tell.
    """
    if len(episodes) < TELLING:
        return float("nan")
    means = np.convolve([one.reward for one in episodes], np.full(WINDOW, 1.0 / WINDOW), "valid")
    passed = np.convolve(means >= level, np.ones(WINDOW + 1), "valid") > WINDOW
    if not passed.any():
        return float("nan")
    last = episodes[int(np.argmax(passed)) + WINDOW - 1]
    return float(last.begins + last.length - episodes[0].begins)


def worth(trace: Trace, frozen: Trace, oracle: Trace | None = None) -> Worth:
    """What a course is worth, beside those of who learns nothing and of who was trained on the changed plant."""
    nominal = mean_return(of_phase(frozen, "nominal"))
    without, adapted = mean_return(late(frozen)), mean_return(late(trace))
    cost = (nominal if oracle is None else mean_return(late(oracle))) - without
    last = "again" if len(trace.phases) > 3 else "after"
    forgotten = mean_return(late(frozen, last)) - mean_return(late(trace, last))
    alarms = [event.step for event in trace.events if event.what == "alarm"]
    begins, ends = trace.phases[1:3]
    found = [step - begins for step in alarms if begins < step <= ends]
    changed, unlearned = of_phase(trace, "shifted"), of_phase(frozen, "shifted")
    return Worth(
        nominal=nominal,
        frozen=without,
        adapted=adapted,
        recovery=(adapted - without) / cost if cost > 0.0 else float("nan"),
        soon=settled(changed, without + NINE_TENTHS * cost) if cost > 0.0 else float("nan"),
        episodes=len(changed),
        after=mean_return(of_phase(trace, "after")) - mean_return(of_phase(frozen, "after")),
        forgotten=forgotten / abs(nominal) if nominal else float("nan"),
        delay=float(found[0]) if found else float("nan"),
        false_alarms=sum(step <= begins for step in alarms),
        failures=sum(one.failure for one in changed) - sum(one.failure for one in unlearned),
    )

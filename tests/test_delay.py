"""The delay of commands is found out by what the sensors show of it, and by nothing else."""

import numpy as np
import pytest

from tests.test_track import A, Counting, command, sensed
from tests.tiny_bundle import CHEETAH, made
from wmctrl.runtime import bundle
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.delay import LEAST, LONGEST, DelayMeter
from wmctrl.runtime.pace import Pace
from wmctrl.runtime.track import LONGEST_WAIT, Follower, Track

NOISE = 0.02


@pytest.fixture(scope="module")
def loaded() -> Bundle:
    return bundle.load(made(*CHEETAH)[1])


class Plant:
    """Sums up commands that take effect some steps later; its sensor is noisy."""

    def __init__(self, loaded: Bundle) -> None:
        self.engine, pace = Counting(), Pace()
        self.follower = Follower(loaded.manifest, self.engine, pace)
        self.meter = DelayMeter(self.follower, pace, period=1000.0)  # there is time for every comparison
        self.generator = np.random.default_rng(0)
        self.track: Track = self.follower.start()
        self.place, self.sent, self.seen = 0.0, [0.0] * 10, list[float]()

    def drive(self, steps: int, delay: int, size: float = 1.0, late: int = 0) -> None:
        """Go on with random commands, observations coming some steps late."""
        for _ in range(steps):
            self.seen.append(self.place + NOISE * self.generator.standard_normal())
            taken = max(0, self.track.now - late)
            self.track, surprise = self.follower.corrected(self.track, sensed(self.seen[taken]), taken)
            self.meter.compare(self.track, surprise)
            value = size * float(self.generator.uniform(-1.0, 1.0))
            self.track = self.follower.advanced(self.track, command(value))
            self.sent.append(value)
            self.place += self.sent[-1 - delay]


@pytest.mark.parametrize("delay", [0, 1, 3, LONGEST])
def test_it_is_found_out_after_a_few_commands(loaded: Bundle, delay: int) -> None:
    plant = Plant(loaded)
    believed = 0 if delay else 2
    plant.follower.actuation = plant.follower.actuation._replace(delay=believed)
    plant.drive(3 * LEAST, delay)
    assert plant.follower.actuation.delay == delay


@pytest.mark.parametrize("late", [1, LONGEST_WAIT])
def test_it_is_found_out_by_observations_that_come_late(loaded: Bundle, late: int) -> None:
    plant = Plant(loaded)
    plant.drive(late + 3 * LEAST, delay=3, late=late)
    assert plant.follower.actuation.delay == 3


def test_it_is_followed_when_it_changes(loaded: Bundle) -> None:
    plant = Plant(loaded)
    found = []
    for delay in (2, 0, 4):
        plant.drive(60, delay)
        found.append(plant.follower.actuation.delay)
    assert found == [2, 0, 4]


def test_commands_that_do_not_change_tell_nothing(loaded: Bundle) -> None:
    plant = Plant(loaded)
    plant.follower.actuation = plant.follower.actuation._replace(delay=2)
    plant.drive(200, delay=0, size=0.0)
    assert plant.follower.actuation.delay == 2


def test_what_is_not_seen_tells_nothing(loaded: Bundle) -> None:
    plant = Plant(loaded)
    plant.drive(3, delay=2)
    for _ in range(3 * LEAST):
        plant.track, surprise = plant.follower.corrected(plant.track, {"proprio": None}, None)
        plant.engine.calls.clear()
        plant.meter.compare(plant.track, surprise)
        assert not plant.engine.calls
        plant.track = plant.follower.advanced(plant.track, np.zeros(A, np.float32))


def test_comparing_takes_a_small_share_of_the_period(loaded: Bundle) -> None:
    plant = Plant(loaded)
    plant.meter.period = 1e-9
    plant.drive(2, delay=0)
    plant.engine.calls.clear()
    plant.drive(1, delay=0)
    assert plant.engine.calls.count("observe") == 2  # the observation itself, and one comparison

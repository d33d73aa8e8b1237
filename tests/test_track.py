"""Beliefs in time: what is sensed late, in part or not at all, and commands that take effect later."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_bundle import CHEETAH, made
from wmctrl.runtime import bundle
from wmctrl.runtime.actuation import LONGEST_DELAY
from wmctrl.runtime.bundle import Bundle
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.pace import Pace
from wmctrl.runtime.track import LONGEST_WAIT, Follower, Track

O, A = 17, 6
"""Of a cheetah."""


class Counting:
    """Graphs by hand: a belief whose stochastic state sums up every command, and is set by whatever is observed."""

    provider = "hand"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by name."""
        self.calls.append(name)
        deter = feeds["deter"] + 1.0  # counts steps
        moved = feeds["stoch"] + feeds["action"][:1]
        if name == "imagine":
            return {"next_deter": deter, "next_stoch": moved, "next_proprio": np.full(O, moved[0], np.float32)}
        surprise = np.abs(feeds["proprio"] - moved[0]).mean()
        return {
            "next_deter": deter,
            "next_stoch": feeds["proprio"][:1] + 0.0 * moved,
            "surprise": np.asarray(surprise, np.float32),
        }


@pytest.fixture(scope="module")
def loaded() -> Bundle:
    return bundle.load(made(*CHEETAH)[1])


@pytest.fixture
def follower(loaded: Bundle) -> Follower:
    return Follower(loaded.manifest, Counting(), Pace())


def sensed(place: float) -> dict[str, NDArray[np.float32]]:
    """What the sensors show at a place: it, everywhere."""
    return {"proprio": np.full(O, place, np.float32)}


def command(value: float) -> NDArray[np.float32]:
    return np.full(A, value, np.float32)


def driven(follower: Follower, *commands: float, delay: int = 0) -> tuple[Track, list[float]]:
    """A track after a plant was driven by commands, seen at every step, and the places it was at."""
    follower.actuation = follower.actuation._replace(delay=delay)
    track, place, places = follower.start(), 0.0, []
    for number, value in enumerate(commands):
        places.append(place)
        track, surprise = follower.corrected(track, sensed(place), None)
        assert surprise == pytest.approx(0.0, abs=1e-6), number
        track = follower.advanced(track, command(value))
        place += commands[number - delay] if number >= delay else 0.0
    return track, [*places, place]


def test_what_is_seen_at_once_is_what_is_believed(follower: Follower) -> None:
    track, places = driven(follower, 0.5, 0.25, -1.0)
    track, surprise = follower.corrected(track, sensed(places[-1]), None)
    assert (track.at, track.seen, track.now) == (3, 3, 3)
    assert surprise == pytest.approx(0.0, abs=1e-6)
    assert isinstance(follower.engine, Counting)
    follower.engine.calls.clear()
    np.testing.assert_array_equal(follower.ahead(track).belief.stoch[0], np.float32(-0.25))
    assert not follower.engine.calls  # nothing is left to imagine


@pytest.mark.parametrize("delay", [1, 3])
def test_a_command_that_takes_effect_later_is_expected_to_do_so(follower: Follower, delay: int) -> None:
    commands = (0.5, 0.25, -1.0, 0.125, 0.75, -0.5)
    track, places = driven(follower, *commands, delay=delay)
    track, surprise = follower.corrected(track, sensed(places[-1]), None)
    assert surprise == pytest.approx(0.0, abs=1e-6)
    # The plan starts where all commands that are under way have had their effect.
    assert float(follower.ahead(track).belief.stoch[0]) == pytest.approx(sum(commands))


def test_an_undelayed_follower_is_surprised_by_a_delayed_plant(follower: Follower) -> None:
    track, _ = driven(follower, 0.5, delay=1)
    follower.actuation = follower.actuation._replace(delay=0)
    assert follower.corrected(track, sensed(0.0), None)[1] == pytest.approx(0.5)


def test_an_outlook_follows_all_commands_that_were_sent(follower: Follower) -> None:
    track, places = driven(follower, 0.5, 0.25, -1.0, delay=1)
    track, _ = follower.corrected(track, sensed(places[-1]), None)
    expected = follower.outlook(track, np.stack([command(0.125), command(0.5)]))
    assert expected.shape == (2, O)
    np.testing.assert_allclose(expected[:, 0], [-0.25 + 0.125, -0.25 + 0.125 + 0.5])


def test_while_nothing_is_seen_the_belief_goes_on_with_what_was_sent(follower: Follower) -> None:
    track, _ = driven(follower, 0.5, 0.25)
    for value in (1.0, -0.25):
        track, surprise = follower.corrected(track, {"proprio": None}, None)
        assert surprise is None
        track = follower.advanced(track, command(value))
    assert float(follower.ahead(track).belief.stoch[0]) == pytest.approx(0.5 + 0.25 + 1.0 - 0.25)
    assert track.seen == 1


def test_what_comes_late_corrects_the_past_and_what_was_sent_since_is_imagined(follower: Follower) -> None:
    track, _ = driven(follower, 0.5, 0.25)
    for value in (1.0, -0.25):
        track, _ = follower.corrected(track, {"proprio": None}, None)
        track = follower.advanced(track, command(value))
    track, surprise = follower.corrected(track, sensed(0.8), 2)  # it was 0.05 further then than expected
    assert surprise == pytest.approx(0.05, abs=1e-6)
    assert (track.at, track.now) == (2, 4)
    assert float(follower.ahead(track).belief.stoch[0]) == pytest.approx(0.8 + 1.0 - 0.25)


def test_what_comes_again_or_after_newer_ones_tells_nothing(follower: Follower) -> None:
    track, places = driven(follower, 0.5, 0.25, 1.0)
    track, _ = follower.corrected(track, sensed(places[-1]), None)
    for taken in (3, 2, 0):
        again, surprise = follower.corrected(track, sensed(99.0), taken)
        assert surprise is None
        assert again == track


@pytest.mark.parametrize("taken", [2, -1, 0.5, "now"])
def test_what_was_taken_at_no_step_so_far_is_refused(follower: Follower, taken: Any) -> None:
    track, _ = driven(follower, 0.5)
    with pytest.raises(ValueError, match=f"step, must be a whole number from 0 to 1, came {taken!r}"):
        follower.corrected(track, sensed(0.0), taken)


def test_of_what_is_not_finite_the_expectation_is_believed(follower: Follower) -> None:
    track, _ = driven(follower, 0.5, 0.25)
    partly = sensed(0.9)
    partly["proprio"][0] = np.nan
    track, surprise = follower.corrected(track, partly, None)
    assert float(track.belief.stoch[0]) == 0.75  # the first element is what was expected
    assert surprise == pytest.approx(0.15 * 16 / 17, rel=1e-3)  # the others are as they were sensed


def test_the_first_observation_must_be_whole(follower: Follower) -> None:
    partly = sensed(0.9)
    partly["proprio"][3] = np.inf
    with pytest.raises(ValueError, match="an episode's first observation must be whole and finite"):
        follower.corrected(follower.start(), partly, None)


def test_nothing_is_decided_before_anything_was_seen_and_the_first_starts_an_episode_whenever_it_comes(
    follower: Follower,
) -> None:
    track = follower.start()
    for _ in range(LONGEST_WAIT + 3):
        track, _ = follower.corrected(track, {"proprio": None}, None)
        with pytest.raises(ValueError, match="nothing was sensed yet"):
            follower.ahead(track)
        track = follower.advanced(track, command(0.5))
    track, surprise = follower.corrected(track, sensed(0.25), None)
    assert surprise == 0.25  # the commands before it are not held against it
    assert float(follower.ahead(track).belief.stoch[0]) == 0.25


def test_a_belief_that_saw_nothing_for_long_still_takes_bounded_time(follower: Follower) -> None:
    track, _ = driven(follower, 0.5, delay=LONGEST_DELAY)
    counting = follower.engine
    assert isinstance(counting, Counting)
    for _ in range(3 * LONGEST_WAIT):
        counting.calls.clear()
        track, _ = follower.corrected(track, {"proprio": None}, None)
        follower.ahead(track)
        assert len(counting.calls) <= LONGEST_WAIT + LONGEST_DELAY + 1
        track = follower.advanced(track, command(0.25))
    assert float(follower.ahead(track).belief.stoch[0]) == pytest.approx(0.5 + 3 * LONGEST_WAIT * 0.25)
    late, surprise = follower.corrected(track, sensed(9.0), track.now - LONGEST_WAIT - 1)
    assert surprise is None
    assert late.at == track.now - LONGEST_WAIT


SENSES = ("FetchReach-v4", "task.observe=[proprio,camera,goal]", "task.camera_size=16", "agent.model.camera_depth=2")


@pytest.mark.parametrize("lost", ["proprio", "camera"])
def test_of_a_sense_that_is_lost_what_was_expected_is_believed(lost: str) -> None:
    deployed = bundle.load(made(*SENSES)[1])
    follower = Follower(deployed.manifest, Engine(deployed.manifest.graphs, deployed.graphs, "cpu", 1), Pace())
    generator = np.random.default_rng(0)
    seen: dict[str, NDArray[Any]] = {
        "proprio": generator.normal(size=10).astype(np.float32),
        "camera": generator.integers(0, 256, (16, 16, 3), np.uint8),
    }
    track, _ = follower.corrected(follower.start(), seen, None)
    track = follower.advanced(track, np.full(4, 0.5, np.float32))
    after = follower.engine.run("imagine", {**track.belief._asdict(), "action": track.sent[-1]})
    picture = follower.engine.run("depict", {"deter": after["next_deter"], "stoch": after["next_stoch"]})
    expected = {"proprio": after["next_proprio"], "camera": np.rint(255 * picture["next_camera"]).astype(np.uint8)}
    found, _ = follower.corrected(track, seen | {lost: None}, None)
    wanted, _ = follower.corrected(track, seen | {lost: expected[lost]}, None)
    np.testing.assert_array_equal(found.belief.stoch, wanted.belief.stoch)
    other, _ = follower.corrected(track, seen, None)
    assert np.abs(other.belief.stoch - wanted.belief.stoch).max() > 1e-3


@pytest.mark.parametrize("delay", [0, LONGEST_DELAY])
@pytest.mark.parametrize("gap", [16, 17, 18, 400])
def test_after_any_gap_what_is_sensed_is_believed_again(follower: Follower, gap: int, delay: int) -> None:
    track, _ = driven(follower, 0.5, 0.25)
    follower.actuation = follower.actuation._replace(delay=delay)
    for _ in range(gap):  # ticks that were missed: nothing was read
        track = follower.advanced(track, command(0.125))
    assert np.isfinite(follower.ahead(track).belief.stoch).all()
    for taken in (track.now, track.now - LONGEST_WAIT):
        again, surprise = follower.corrected(track, sensed(3.0), taken)
        assert surprise is not None
        assert again.seen == taken
    again, surprise = follower.corrected(track, sensed(3.0), track.now - LONGEST_WAIT - 1)
    assert surprise is None, "too long ago for what was sent since to be known"
    assert again.at == track.now - LONGEST_WAIT

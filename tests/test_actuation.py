"""What commands do: effects and commands are each other's inverse, and recorded steps tell gains and offsets."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_bundle import CHEETAH, made
from wmctrl.runtime import golden
from wmctrl.runtime.actuation import FURTHEST, LEAST, LONGEST_DELAY, MOST, ROUNDS, Actuation, Residuals, improved
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.limits import Limits


def actuation(gain: tuple[float, ...], offset: tuple[float, ...], delay: int = 0) -> Actuation:
    return Actuation(np.array(gain, np.float32), np.array(offset, np.float32), delay)


WEAK = actuation((0.5, 2.0), (0.25, -0.125))


def plant(truth: Actuation, steps: int, noise: float, moved: tuple[float, ...] = (1.0, 1.0)) -> Residuals:
    """Errors of a plant whose two readings are the effects, after commands that reach as far as `moved`."""
    rng = np.random.default_rng(0)
    commands = np.array(moved, np.float32) * rng.uniform(-0.4, 0.4, (steps, 2)).astype(np.float32)
    commands = np.clip(commands, np.float32(-1.0), np.float32(1.0))
    seen = truth.effect(commands) + noise * rng.standard_normal((steps, 2)).astype(np.float32)

    def residuals(believed: Actuation) -> NDArray[np.float32]:
        found: NDArray[np.float32] = 5.0 * (believed.effect(commands) - seen)
        return found

    return residuals


def found(residuals: Residuals, rounds: int = ROUNDS) -> Actuation:
    believed = Actuation.plain(2)
    for _ in range(rounds):
        believed = improved(believed, residuals)
    return believed


def test_effects_are_by_hand() -> None:
    np.testing.assert_allclose(WEAK.effect(np.array([0.5, 0.25], np.float32)), [0.5, 0.375])
    np.testing.assert_allclose(WEAK.effect(np.array([[1.0, 1.0]], np.float32)), [[0.75, 1.0]], err_msg="as far as any")


def test_what_is_sent_has_the_effect() -> None:
    effect = np.array([0.3, -0.6], np.float32)
    np.testing.assert_allclose(WEAK.effect(WEAK.command(effect)), effect, atol=1e-6)


def test_what_was_done_is_by_hand() -> None:
    """An episode begins at rest, and of what was sent before the first step the oldest known is taken."""
    sent = np.array([0.25, 0.5, 1.0, 0.0, -0.5, 0.75], np.float32)[:, None]
    first = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0], np.float32)
    late = Actuation.plain(1)._replace(delay=1)
    np.testing.assert_array_equal(late.done(sent, first)[:, 0], [0.25, 0.25, 0.5, 0.0, 0.0, -0.5])
    later = Actuation(np.array([0.5], np.float32), np.array([0.25], np.float32), 2)
    np.testing.assert_array_equal(later.done(sent, first)[:, 0], [0.375, 0.375, 0.375, 0.25, 0.25, 0.25])
    several = later.done(np.stack([sent, -sent]), np.stack([first, 0.0 * first]))
    np.testing.assert_array_equal(several[1, :, 0], [0.125, 0.125, 0.125, 0.0, -0.25, 0.25])
    np.testing.assert_array_equal(several[0], later.done(sent, first))


def test_plain_commands_are_their_effects_to_the_last_bit() -> None:
    given = np.random.default_rng(0).uniform(-1.0, 1.0, 3).astype(np.float32)
    assert (Actuation.plain(3).effect(given) == given).all()
    assert (Actuation.plain(3).command(given) == given).all()


def test_effects_within_their_limits_need_commands_within_theirs() -> None:
    commands = Limits.none(2).changed(low=[-0.5, -1.0], high=[1.0, 0.5], rate=[0.5, 0.5])
    effects = WEAK.limits(commands)
    np.testing.assert_allclose(effects.low, [0.0, -1.0])
    np.testing.assert_allclose(effects.high, [0.75, 0.875])
    np.testing.assert_allclose(effects.rate, [0.25, 1.0])
    for effect in (effects.low, effects.high):
        sent = WEAK.command(effect)
        assert ((sent >= commands.low - 1e-6) & (sent <= commands.high + 1e-6)).all()


def test_recorded_steps_tell_gains_and_offsets() -> None:
    told = found(plant(WEAK, 60, noise=0.01))
    np.testing.assert_allclose(told.gain, WEAK.gain, atol=0.05)
    np.testing.assert_allclose(told.offset, WEAK.offset, atol=0.02)


def test_commands_that_go_as_far_as_they_can_tell_it_too() -> None:
    truth = actuation((0.5, 0.6), (0.0, 0.0))
    told = found(plant(truth, 60, noise=0.01, moved=(1e9, 1e9)))
    np.testing.assert_allclose(told.gain, truth.gain, atol=0.05)
    np.testing.assert_allclose(told.offset, truth.offset, atol=0.05)


def test_what_steps_do_not_tell_stays_as_it_was() -> None:
    told = found(plant(WEAK, 60, noise=0.01, moved=(1.0, 0.0)))
    assert told.gain[0] == pytest.approx(0.5, abs=0.05)
    assert told.gain[1] == pytest.approx(1.0, abs=0.05)


def test_a_few_readings_that_are_wrong_do_not_mislead() -> None:
    honest = plant(WEAK, 60, noise=0.01)

    def broken(believed: Actuation) -> NDArray[np.float32]:
        errors = honest(believed).copy()
        errors[::10] = 10.0
        return errors

    told = found(broken, rounds=8)
    np.testing.assert_allclose(told.gain, WEAK.gain, atol=0.1)
    np.testing.assert_allclose(told.offset, WEAK.offset, atol=0.05)


def test_gains_stay_among_those_that_are_considered() -> None:
    told = found(plant(actuation((0.05, 1.0), (0.0, 0.0)), 60, noise=0.0), rounds=8)
    assert told.gain[0] == pytest.approx(LEAST)
    told.require_sound(2)
    told = found(plant(actuation((1.0, 1.0), (0.0, 0.7)), 60, noise=0.0), rounds=8)
    assert told.offset[1] == pytest.approx(FURTHEST)
    told.require_sound(2)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (actuation((1.0,), (0.0, 0.0)), "gain must be 2 numbers"),
        (actuation((1.0, MOST + 1.0), (0.0, 0.0)), "gain must be 2 numbers from 0.2 to 3"),
        (actuation((1.0, 1.0), (0.0, float("nan"))), "offset must be 2 numbers"),
        (actuation((1.0, 1.0), (0.0, 0.0), LONGEST_DELAY + 1), "the delay must be a whole number from 0 to 8"),
    ],
)
def test_what_is_not_considered_is_refused(refused: Actuation, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        refused.require_sound(2)


def test_who_knows_that_motors_are_weak_has_them_do_what_others_do_by_half_the_command() -> None:
    plain, weak = (Controller.load(made(*CHEETAH)[1], provider="cpu", in_time=False) for _ in range(2))
    half = np.full(plain.follower.actions, 0.5, np.float32)
    plain.set_limits(low=-half, high=half)
    weak.set_actuation(Actuation(half, 0.0 * half))
    for seen in golden.observations(plain.bundle)[:5]:
        done = plain.act(seen).command
        assert done.any()
        np.testing.assert_allclose(weak.act(seen).command, 2.0 * done, atol=1e-5)
        followed, other = plain.followed(), weak.followed()
        assert followed is not None
        assert other is not None
        np.testing.assert_allclose(other.command, 2.0 * followed.command, atol=1e-5)
    np.testing.assert_allclose(weak.state.belief.deter, plain.state.belief.deter, atol=1e-5)

"""Planners on closed-form objectives, with refits worked by hand."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from wmctrl.planning.planner import CEM, ICEM, MPPI, Limits, Objective, Plan, Planner, Worth
from wmctrl.runtime.noise import coloured_noise

H, A, N = 5, 2, 61
TARGET = torch.linspace(-0.8, 0.9, H * A).reshape(H, A)
HAND = Planner(horizon=1, samples=3, elites=2, kept=0, min_std=0.0, momentum=0.0)


Returns = Callable[[Tensor], Tensor]


def safe(returns: Returns) -> Objective:
    """The worth of plans that earn something and cannot fail."""

    def objective(actions: Tensor) -> Worth:
        earned = returns(actions)
        return Worth(earned, torch.zeros_like(earned))

    return objective


def quadratic(actions: Tensor) -> Tensor:
    return -((actions - TARGET) ** 2).sum((1, 2))


def total(actions: Tensor) -> Tensor:
    return actions.sum((1, 2))


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planned(planner: Planner, returns: Returns, iterations: int, seed: int = 0) -> Plan:
    """The plan after some refits from nothing, with noise of the planner's colour."""
    generator = np.random.default_rng(seed)
    plan = planner.initial(torch.zeros(A))
    for _ in range(iterations):
        noise = coloured_noise(planner.samples, planner.horizon, A, planner.noise_exponent, generator)
        plan, _ = planner.refine(plan, safe(returns), torch.from_numpy(noise))
    return plan


def hand_plan(elites: int = 2) -> Plan:
    """One action of one step, around 0 with std 1."""
    return Plan(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(elites, 1, 1))


def column(*values: float) -> Tensor:
    """One-step, one-element candidates (N, 1, 1)."""
    return torch.tensor(values).reshape(-1, 1, 1)


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI], ids=["cem", "icem", "mppi"])
def test_every_planner_finds_the_optimum_of_a_quadratic(planner: Planner) -> None:
    plan = planned(replace(planner, horizon=H, samples=256), quadratic, iterations=20)
    torch.testing.assert_close(plan.mean, TARGET, rtol=0.0, atol=0.05)


def test_refit_takes_mean_and_std_of_the_elites() -> None:
    # Candidates 0.2, 0.6, -0.5 and the mean 0; the elites are 0.6 and 0.2: mean 0.4, std (not variance) 0.2.
    plan, health = HAND.refine(hand_plan(), safe(total), column(0.2, 0.6, -0.5))
    torch.testing.assert_close(plan.elites, column(0.6, 0.2))
    torch.testing.assert_close((plan.mean, plan.std), (torch.tensor([[0.4]]), torch.tensor([[0.2]])))
    torch.testing.assert_close(torch.stack(health), torch.tensor([0.6, 0.2, 1.0, 0.2, 0.0]))


def test_momentum_keeps_a_share_of_the_old_mean_and_std() -> None:
    plan, _ = replace(HAND, momentum=0.25).refine(hand_plan(), safe(total), column(0.2, 0.6, -0.5))
    # 0.75 * 0.4 + 0.25 * 0 and 0.75 * 0.2 + 0.25 * 1
    torch.testing.assert_close((plan.mean, plan.std), (torch.tensor([[0.3]]), torch.tensor([[0.4]])))


def test_temperature_weighs_elites_by_their_return() -> None:
    planner = replace(HAND, temperature=1.0 / math.log(3.0))
    plan, _ = planner.refine(hand_plan(), safe(total), column(0.2, 0.6, -0.5))
    # The worst elite weighs exp(-ln 3) = 1/3 of the best: 3/4 and 1/4. Mean 0.5, var 3/4 * 0.01 + 1/4 * 0.09 = 0.03.
    torch.testing.assert_close(plan.mean, torch.tensor([[0.5]]))
    torch.testing.assert_close(plan.std, torch.tensor([[math.sqrt(0.03)]]))


def test_weights_do_not_change_with_the_scale_or_offset_of_returns() -> None:
    planner, noise = replace(MPPI, horizon=H, samples=N), white(N, H, A)
    plan = planner.initial(torch.zeros(A))
    plain, _ = planner.refine(plan, safe(quadratic), noise)
    scaled, _ = planner.refine(plan, safe(lambda actions: 40.0 * quadratic(actions) - 700.0), noise)
    torch.testing.assert_close(plain.mean, scaled.mean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e7])
def test_candidates_that_are_not_finite_are_never_elite(bad: float) -> None:
    def tempting(actions: Tensor) -> Tensor:
        return torch.where(actions[:, 0, 0] > 0.3, bad, total(actions))

    plan, health = HAND.refine(hand_plan(), safe(tempting), column(0.9, 0.6, -0.2))
    torch.testing.assert_close(plan.elites, column(0.0, -0.2))
    torch.testing.assert_close(plan.mean, torch.tensor([[-0.1]]))
    assert float(health.finite) == 0.5


@pytest.mark.parametrize("temperature", [math.inf, 0.5])
def test_too_few_finite_candidates_leave_the_others_without_weight(temperature: float) -> None:
    planner = replace(HAND, samples=4, elites=4, temperature=temperature)

    def tempting(actions: Tensor) -> Tensor:
        return torch.where(actions[:, 0, 0] > 0.3, math.nan, 0.0)

    plan, _ = planner.refine(hand_plan(4), safe(tempting), column(0.9, 0.6, -0.2, -0.4))
    torch.testing.assert_close(plan.mean, torch.tensor([[-0.2]]))  # of 0, -0.2 and -0.4


def test_a_candidate_without_a_score_does_not_flatten_the_others_weights() -> None:
    planner = replace(HAND, elites=4, temperature=1.0 / math.log(3.0))

    def objective(actions: Tensor) -> Tensor:
        return torch.where(actions[:, 0, 0] < -0.3, math.nan, total(actions))

    plan, _ = planner.refine(hand_plan(4), safe(objective), column(0.2, 0.6, -0.5))
    # Returns 0.6, 0.2 and 0 weigh 1, 3^(-2/3) and 1/3, whatever became of -0.5.
    middle = 3.0 ** (-2.0 / 3.0)
    torch.testing.assert_close(plan.mean, torch.tensor([[(0.6 + 0.2 * middle) / (1.0 + middle + 1.0 / 3.0)]]))


def test_a_proposal_that_is_not_a_number_does_not_reach_the_plan() -> None:
    planner = replace(HAND, elites=5)
    plan, _ = planner.refine(hand_plan(5), safe(total), column(0.2, 0.6, -0.5), proposals=column(math.nan))
    assert all(bool(part.isfinite().all()) for part in plan)
    torch.testing.assert_close(plan.mean, torch.tensor([[0.075]]))  # of 0.2, 0.6, -0.5 and 0


def test_a_plan_without_any_finite_candidate_stays_as_it_was() -> None:
    planner = replace(ICEM, horizon=H, samples=N)
    plan = Plan(white(H, A), white(H, A, seed=1).abs(), white(24, H, A, seed=2))
    after, health = planner.refine(
        plan, safe(lambda actions: actions.new_full((len(actions),), math.nan)), white(N, H, A)
    )
    torch.testing.assert_close(after, plan, rtol=0.0, atol=0.0)
    assert float(health.finite) == 0.0


def test_std_never_falls_below_its_floor() -> None:
    planner = replace(CEM, horizon=H, samples=N, min_std=0.11)
    assert float(planned(planner, quadratic, iterations=30).std.min()) == pytest.approx(0.11, abs=1e-3)


def test_every_candidate_is_within_the_action_limits() -> None:
    seen: list[Tensor] = []

    def watched(actions: Tensor) -> Tensor:
        seen.append(actions)
        return total(actions)

    planner = replace(ICEM, horizon=H, samples=N)
    plan, _ = planner.refine(planner.initial(torch.zeros(A)), safe(watched), 9.0 * white(N, H, A), 5.0 * white(3, H, A))
    assert seen[0].shape == (N + 1 + planner.kept + 3, H, A)
    assert float(seen[0].abs().max()) == 1.0
    assert float(plan.mean.abs().max()) <= 1.0


def limits(actions: int = A, rate: float = 2.0, risk: float = 1.0) -> Limits:
    """The whole range, an action of zeros having been sent last."""
    ones = torch.ones(actions)
    return Limits(-ones, ones, rate * ones, 0.0 * ones, torch.tensor(risk))


def test_no_candidate_changes_faster_than_it_may_from_the_last_action_on() -> None:
    seen: list[Tensor] = []

    def watched(actions: Tensor) -> Tensor:
        seen.append(actions)
        return total(actions)

    planner, proposals = replace(ICEM, horizon=H, samples=N), 5.0 * white(3, H, A)
    last = torch.tensor([0.9, -0.3])
    held = limits(rate=0.125)._replace(previous=last)
    planner.refine(planner.initial(last), safe(watched), 9.0 * white(N, H, A), proposals, held)
    change = torch.diff(seen[0], dim=1, prepend=last.expand(len(seen[0]), 1, A))
    assert float(change.abs().max()) == pytest.approx(0.125)
    assert float(seen[0].abs().max()) == 1.0


def test_a_rate_does_not_keep_an_action_beyond_its_limits() -> None:
    held = limits(1, rate=0.25)._replace(low=torch.tensor([-0.5]), high=torch.tensor([0.5]), previous=torch.ones(1))
    reached = held.reachable(torch.tensor([[[-1.0], [-1.0], [1.0]]]))
    assert reached.flatten().tolist() == [0.5, 0.25, 0.5]


def test_limits_that_hold_nothing_back_change_nothing() -> None:
    planner, noise = replace(ICEM, horizon=H, samples=N), white(N, H, A)
    free = planner.refine(planner.initial(torch.zeros(A)), safe(quadratic), noise)
    held = planner.refine(planner.initial(torch.zeros(A)), safe(quadratic), noise, limits=limits())
    torch.testing.assert_close(held, free, rtol=0.0, atol=0.0)


def risky(actions: Tensor) -> Worth:
    """The larger the action, the better, and the likelier to fail."""
    return Worth(total(actions), actions[:, 0, 0].clamp_min(0.0))


def test_plans_that_are_too_likely_to_fail_are_no_elites_however_good() -> None:
    # Candidates 0.9, 0.6, 0.2 and the mean 0, the first two of which fail more often than 0.5.
    plan, health = HAND.refine(hand_plan(), risky, column(0.9, 0.6, 0.2), limits=limits(1, risk=0.5))
    torch.testing.assert_close(plan.elites, column(0.2, 0.0))
    assert float(health.failure) == pytest.approx(0.1)


def test_without_limits_only_returns_count() -> None:
    plan, health = HAND.refine(hand_plan(), risky, column(0.9, 0.6, 0.2))
    torch.testing.assert_close(plan.elites, column(0.9, 0.6))
    assert float(health.failure) == pytest.approx(0.75)


def test_where_few_plans_are_safe_enough_the_others_have_no_weight() -> None:
    plan, _ = HAND.refine(hand_plan(), risky, column(0.9, 0.6, 0.7), limits=limits(1, risk=0.5))
    torch.testing.assert_close(plan.mean, torch.tensor([[0.0]]))  # of 0 alone


def test_where_no_plan_is_safe_enough_the_safest_are_followed() -> None:
    def doomed(actions: Tensor) -> Worth:
        return risky(actions)._replace(failure=0.5 + 0.5 * actions[:, 0, 0].abs())

    plan, _ = HAND.refine(hand_plan(), doomed, column(0.9, -0.6, 0.2), limits=limits(1, risk=0.25))
    torch.testing.assert_close(plan.elites, column(0.0, 0.2))


def test_shift_moves_every_action_up_and_holds_the_last() -> None:
    plan = Plan(torch.tensor([[1.0], [2.0], [3.0]]), torch.full((3, 1), 0.1), torch.tensor([[[4.0], [5.0], [6.0]]]))
    shifted = Planner(horizon=3, elites=1, kept=1, init_std=0.7).shift(plan)
    assert shifted.mean.flatten().tolist() == [2.0, 3.0, 3.0]
    assert shifted.elites.flatten().tolist() == [5.0, 6.0, 6.0]
    torch.testing.assert_close(shifted.std, torch.full((3, 1), 0.7))
    wider = Planner(horizon=3, elites=1, kept=1, init_std=0.7).shift(plan, 0.9)
    torch.testing.assert_close(wider.std, torch.full((3, 1), 0.9))


@pytest.mark.parametrize(("iterations", "expected"), [(1, (0.35, 0.5, 0.5)), (2, (0.4625, 0.575, 0.575))])
def test_the_search_opens_up_by_its_share_for_every_iteration(iterations: int, expected: tuple[float, ...]) -> None:
    plan = Plan(torch.zeros(3, 1), torch.tensor([[0.1], [0.2], [0.4]]), torch.zeros(1, 3, 1))
    planner = Planner(horizon=3, elites=1, kept=1, init_std=0.8, reopening=0.25, iterations=iterations)
    # 1/4 of 0.8 and 3/4 of what was; for two iterations 7/16 and 9/16
    torch.testing.assert_close(planner.shift(plan).std.flatten(), torch.tensor(expected))


def test_a_good_proposal_wins() -> None:
    planner = replace(ICEM, horizon=H, samples=N)
    plan, health = planner.refine(planner.initial(torch.zeros(A)), safe(quadratic), white(N, H, A), TARGET.unsqueeze(0))
    torch.testing.assert_close(plan.elites[0], TARGET)
    assert float(health.best) == 0.0


def test_the_best_of_kept_elites_is_never_lost() -> None:
    planner = replace(ICEM, horizon=H, samples=N)
    plan, best = planner.initial(torch.zeros(A)), -math.inf
    for seed in range(6):
        plan, health = planner.refine(plan, safe(quadratic), white(N, H, A, seed=seed))
        assert float(health.best) >= best - 1e-6
        best = float(health.best)


def test_the_same_noise_gives_the_same_plan() -> None:
    planner = replace(ICEM, horizon=H, samples=N)
    torch.testing.assert_close(planned(planner, quadratic, 3), planned(planner, quadratic, 3), rtol=0.0, atol=0.0)
    assert not torch.equal(planned(planner, quadratic, 3).mean, planned(planner, quadratic, 3, seed=1).mean)


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI], ids=["cem", "icem", "mppi"])
def test_more_iterations_are_better_on_average(planner: Planner) -> None:
    planner = replace(planner, horizon=H, samples=N)
    scores = [
        np.mean([float(quadratic(planned(planner, quadratic, count, seed).mean[None])[0]) for seed in range(10)])
        for count in (1, 2, 4, 8)
    ]
    assert scores == sorted(scores)


def test_coloured_noise_reaches_a_place_that_white_noise_misses() -> None:
    def distance_from_afar(actions: Tensor) -> Tensor:
        """A walker that each action moves by itself must arrive at 7 after 15 steps."""
        return -(actions[..., 0].sum(1) - 7.0).abs()

    def missed_by(exponent: float) -> float:
        planner = Planner(horizon=15, samples=N, noise_exponent=exponent)
        plans = [planned(planner, distance_from_afar, iterations=1, seed=seed) for seed in range(10)]
        return -float(np.mean([float(distance_from_afar(plan.elites)[0]) for plan in plans]))

    # A sum of 15 white steps of std 0.5 is below 1.9 two times in three; a wandering one goes much further.
    assert missed_by(0.0) > 2.0
    assert missed_by(2.0) < 1.0


def test_a_fresh_plan_rests_and_searches_widely() -> None:
    plan = Planner(horizon=H, elites=7, kept=7, init_std=0.4).initial(torch.ones(A, dtype=torch.float64))
    assert (plan.mean.shape, plan.elites.shape, plan.mean.dtype) == ((H, A), (7, H, A), torch.float64)
    assert float(plan.mean.abs().max()) == 0.0
    assert float(plan.std.min()) == float(plan.std.max()) == 0.4

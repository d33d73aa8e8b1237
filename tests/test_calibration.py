"""What is ordinary is told by what was recorded, and not across the borders of episodes."""

import numpy as np
import pytest
import torch
from wmctrl_export.calibration import calibrated, high, longest

from tests.tiny_run import tiny
from wmctrl.commands import training
from wmctrl.learning.agent import Agent
from wmctrl.model.rssm import Belief
from wmctrl.model.world_model import Batch
from wmctrl.runtime.senses import Senses

T, O, A = 40, 3, 1
"""Of a pendulum's recording."""


@pytest.fixture(scope="module")
def agent() -> Agent:
    config = tiny("Pendulum-v1")
    torch.manual_seed(0)
    return Agent.for_task(training.spec_of(config.task), config.agent)


def recording(*starts: int, seed: int = 0) -> Batch:
    """Random readings, in episodes that start where told."""
    generator = torch.Generator().manual_seed(seed)
    zeros, is_first = torch.zeros(1, T), torch.zeros(1, T)
    is_first[0, [0, *starts]] = 1.0
    action = torch.rand(1, T, A, generator=generator)
    return Batch(action, zeros, zeros, zeros, is_first, proprio=torch.randn(1, T, O, generator=generator))


def test_the_same_readings_in_a_row_are_counted_with_the_first_of_them() -> None:
    assert longest(np.array([False, True, True, False])) == 3
    assert longest(np.array([False, False])) == 1
    assert longest(np.array([True, True])) == 3
    assert longest(np.zeros(0, bool)) == 1


def test_one_in_a_thousand_is_not_ordinary() -> None:
    assert high(np.arange(1001, dtype=np.float32)) == pytest.approx(999.0)
    assert high(np.zeros(0, np.float32)) == 0.0


def test_errors_are_those_of_one_step_from_what_was_believed(agent: Agent) -> None:
    batch = recording()
    found = calibrated(agent, batch)
    assert batch.proprio is not None
    with torch.no_grad():
        rollout = agent.model.believe(batch, torch.zeros(1, T, agent.config.model.stoch))
        errors = []
        for step in range(1, T):
            before = Belief(*(part[0, step - 1] for part in rollout.belief))
            after = agent.model.rssm.imagine(before, batch.action[0, step], noise=None)
            errors.append((agent.model.decode_proprio(after.features) - batch.proprio[0, step]).abs())
    wanted = np.quantile(torch.stack(errors).numpy(), 0.999, axis=0)
    np.testing.assert_allclose([one.error for one in found.proprio], wanted, rtol=1e-4)
    np.testing.assert_allclose([one.least for one in found.proprio], batch.proprio[0].min(0).values)
    np.testing.assert_allclose([one.most for one in found.proprio], batch.proprio[0].max(0).values)
    assert [one.still for one in found.proprio] == [1] * O


def test_what_begins_an_episode_was_not_to_be_expected(agent: Agent) -> None:
    batch = recording(20)
    assert batch.proprio is not None
    leaping = batch.proprio.clone()
    leaping[0, 20:] += 50.0
    whole = calibrated(agent, batch._replace(proprio=leaping, is_first=recording().is_first))
    apart = calibrated(agent, batch._replace(proprio=leaping))
    assert all(one.error > other.error for one, other in zip(whole.proprio, apart.proprio, strict=True))
    assert whole.surprise > apart.surprise


def test_readings_that_rest_from_one_episode_to_the_next_do_not_count_as_one_rest(agent: Agent) -> None:
    batch = recording(20)
    assert batch.proprio is not None
    resting = batch.proprio.clone()
    resting[0, 15:25, 1] = 0.5
    found = calibrated(agent, batch._replace(proprio=resting))
    assert [one.still for one in found.proprio] == [1, 5, 1]


def test_what_was_recorded_is_believed(agent: Agent) -> None:
    batch = recording()
    assert batch.proprio is not None
    senses = Senses(O, calibrated(agent, batch))
    doubt = senses.start()
    for reading in batch.proprio[0].numpy():
        doubt, trusted = senses.judged(doubt, {"proprio": reading}, None)
        assert trusted["proprio"].all()

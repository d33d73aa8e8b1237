"""What the replay gives back: aligned windows, honest hindsight, and the same after a restart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wmctrl.learning.checkpoint import CheckpointFolder
from wmctrl.learning.replay import Hindsight, Replay, ReplayConfig
from wmctrl.model.world_model import Batch, Sizes

SIZES = Sizes(proprio=3, goal=2, action=1)
LENGTH = 5
EPISODE = 7
CPU = torch.device("cpu")
NO_GOAL = -1.0


def distance_reward(achieved: NDArray[Any], goal: NDArray[Any]) -> NDArray[Any]:
    assert achieved.shape == goal.shape, "as gymnasium-robotics demands"
    return np.asarray(-np.abs(achieved - goal).sum(-1))


HINDSIGHT = Hindsight((2, 0), distance_reward)


def step(number: int, plant: int = 0) -> dict[str, Any]:
    """Step `number` of a plant whose every field tells its number: proprio (n, plant, 10 n), action n - 1."""
    return {
        "action": np.array([number - 1], np.float32),
        "reward": np.float32(number),
        "terminated": False,
        "failure": number % EPISODE == EPISODE - 1,
        "is_first": number % EPISODE == 0,
        "proprio": np.array([number, plant, 10 * number], np.float32),
        "goal": np.array([NO_GOAL, NO_GOAL], np.float32),
    }


def filled(
    steps: int, *, capacity: int = 100, hindsight: Hindsight | None = None, plants: int = 1, share: float = 1.0
) -> Replay:
    config = ReplayConfig(capacity=capacity, batch=64, length=LENGTH, hindsight=share)
    replay = Replay(SIZES, config, plants, hindsight)
    for number in range(steps):
        for plant in range(plants):
            replay.add(plant, step(number, plant))
    return replay


def sampled(replay: Replay, seed: int = 0) -> Batch:
    return replay.sample(np.random.default_rng(seed), CPU)


def proprio(batch: Batch) -> torch.Tensor:
    assert batch.proprio is not None
    return batch.proprio


def goals(batch: Batch) -> torch.Tensor:
    assert batch.goal is not None
    return batch.goal


def test_every_window_is_consecutive_and_every_action_led_to_its_observation() -> None:
    batch = sampled(filled(40))
    number = proprio(batch)[..., 0]
    assert number.shape == (64, LENGTH)
    torch.testing.assert_close(torch.diff(number, dim=1), torch.ones(64, LENGTH - 1))
    torch.testing.assert_close(batch.action[..., 0], number - 1.0)
    torch.testing.assert_close(batch.reward, number)
    torch.testing.assert_close(batch.is_first, (number % EPISODE == 0).float())
    torch.testing.assert_close(batch.failure, (number % EPISODE == EPISODE - 1).float())


def test_every_start_is_sampled() -> None:
    replay = filled(12)
    starts = {int(proprio(sampled(replay, seed))[n, 0, 0]) for seed in range(3) for n in range(64)}
    assert starts == set(range(12 - LENGTH + 1))


def test_a_ring_that_is_full_forgets_the_oldest_and_never_joins_new_to_old() -> None:
    replay = filled(83, capacity=20)
    assert len(replay) == 20
    for seed in range(5):
        number = proprio(sampled(replay, seed))[..., 0]
        assert float(number.min()) >= 63.0
        torch.testing.assert_close(torch.diff(number, dim=1), torch.ones(64, LENGTH - 1))


def test_plants_are_never_mixed_within_a_window() -> None:
    plant = proprio(sampled(filled(30, plants=3)))[..., 1]
    assert set(plant.flatten().tolist()) == {0.0, 1.0, 2.0}
    assert bool((plant == plant[:, :1]).all())


def test_replay_is_ready_when_one_window_fits() -> None:
    assert not filled(LENGTH - 1).ready
    assert filled(LENGTH).ready


def test_the_same_generator_samples_the_same_batch() -> None:
    replay = filled(40, hindsight=HINDSIGHT)
    torch.testing.assert_close(sampled(replay, 3), sampled(replay, 3), rtol=0.0, atol=0.0)


@pytest.mark.parametrize(("steps", "capacity"), [(40, 100), (83, 20), (100, 23)])
def test_hindsight_goals_were_reached_later_in_the_same_episode(steps: int, capacity: int) -> None:
    replay = filled(steps, capacity=capacity, hindsight=HINDSIGHT)
    for seed in range(3):
        batch = sampled(replay, seed)
        number, goal = proprio(batch)[..., 0], goals(batch)
        reached = goal[..., 1]  # the goal is (10 n, n) of the step n that reached it
        torch.testing.assert_close(goal[..., 0], 10.0 * reached)
        assert bool((reached // EPISODE == number // EPISODE).all())
        first = torch.maximum(number[:, :1], number // EPISODE * EPISODE)  # the episode's first step in the window
        assert bool((reached >= first).all())
        assert float(reached.max()) < steps


def test_hindsight_keeps_one_goal_per_episode() -> None:
    batch = sampled(filled(40, hindsight=HINDSIGHT))
    changes = (torch.diff(goals(batch)[..., 1], dim=1) != 0.0) & (batch.is_first[:, 1:] == 0.0)
    assert not bool(changes.any())


def test_hindsight_changes_the_goals_part_of_the_reward_and_nothing_else() -> None:
    batch = sampled(filled(40, hindsight=HINDSIGHT))
    achieved, goal = proprio(batch)[..., [2, 0]].numpy(), goals(batch).numpy()
    given = proprio(batch)[..., 0].numpy() - distance_reward(achieved, np.full_like(goal, NO_GOAL))
    np.testing.assert_allclose(batch.reward.numpy(), given + distance_reward(achieved, goal), rtol=1e-5)


def test_hindsight_reaches_every_later_step_of_an_episode() -> None:
    replay = filled(EPISODE, hindsight=HINDSIGHT)
    ahead = [goals(b)[:, 0, 1] - proprio(b)[:, 0, 0] for b in (sampled(replay, seed) for seed in range(4))]
    assert {float(value) for value in torch.cat(ahead)} == set(range(EPISODE))


def test_hindsight_takes_its_share_of_the_sequences_and_leaves_the_store_alone() -> None:
    replay = filled(40, hindsight=HINDSIGHT, share=0.25)
    relabelled = [float((goals(sampled(replay, seed))[:, 0, 0] != NO_GOAL).float().mean()) for seed in range(20)]
    assert float(np.mean(relabelled)) == pytest.approx(0.25, abs=0.05)  # 4 sigma
    assert bool((replay.streams[0].arrays["goal"][:40] == NO_GOAL).all())


def reloaded(folder: Path, like: Replay, plants: int = 1) -> Replay:
    checkpoint = CheckpointFolder(folder)
    checkpoint.open()
    replay = Replay(SIZES, like.config, plants, like.hindsight)
    replay.load(checkpoint)
    return replay


def saved_as_it_fills(folder: Path) -> tuple[Replay, CheckpointFolder]:
    """A replay of the last 20 of 60 steps that was saved after every ten, and its checkpoint."""
    replay, checkpoint = filled(0, capacity=20), CheckpointFolder(folder)
    for number in range(60):
        replay.add(0, step(number))
        if number % 10 == 9:
            replay.save(checkpoint)
            checkpoint.commit({})
    return replay, checkpoint


@pytest.mark.parametrize("capacity", [14, 23, 100])
def test_a_restart_changes_no_sample(tmp_path: Path, capacity: int) -> None:
    """Saved again and again while the ring turns, each time the checkpoint samples as the living replay does."""
    checkpoint = CheckpointFolder(tmp_path)
    replay = filled(0, capacity=capacity, hindsight=HINDSIGHT)
    for number in range(75):
        replay.add(0, step(number))
        if number % 11 == 9:
            replay.save(checkpoint)
            checkpoint.commit({})
            other = reloaded(tmp_path, replay)
            assert len(other) == len(replay)
            torch.testing.assert_close(sampled(other, number), sampled(replay, number), rtol=0.0, atol=0.0)


def test_a_recording_that_had_forgotten_its_beginning_is_adopted_without_it(tmp_path: Path) -> None:
    recording, checkpoint = saved_as_it_fills(tmp_path)
    checkpoint.open()
    larger = filled(0, capacity=100)
    larger.adopt(checkpoint)
    assert len(larger) == len(recording) == 20
    column = larger.column("proprio")
    assert column is not None
    assert column[:, 0].tolist() == list(range(40, 60))
    numbers = {float(n) for seed in range(5) for n in proprio(sampled(larger, seed))[..., 0].flatten()}
    assert numbers == set(range(40, 60))
    own = CheckpointFolder(tmp_path / "own")
    larger.save(own)
    own.commit({})
    torch.testing.assert_close(sampled(reloaded(tmp_path / "own", larger)), sampled(larger), rtol=0.0, atol=0.0)


def test_a_restarted_replay_goes_on_like_the_one_that_never_stopped(tmp_path: Path) -> None:
    checkpoint = CheckpointFolder(tmp_path)
    replay = filled(31, capacity=40, hindsight=HINDSIGHT, plants=2)
    replay.save(checkpoint)
    checkpoint.commit({})
    other = reloaded(tmp_path, replay, plants=2)
    resumed = CheckpointFolder(tmp_path)
    resumed.open()
    for number in range(31, 60):
        for plant in range(2):
            replay.add(plant, step(number, plant))
            other.add(plant, step(number, plant))
    torch.testing.assert_close(sampled(other), sampled(replay), rtol=0.0, atol=0.0)
    other.save(resumed)
    resumed.commit({})
    torch.testing.assert_close(sampled(reloaded(tmp_path, replay, plants=2)), sampled(replay), rtol=0.0, atol=0.0)


def test_only_new_steps_are_written_and_forgotten_files_deleted(tmp_path: Path) -> None:
    saved_as_it_fills(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("replay-*"))
    assert names == ["replay-000-0000000040.safetensors", "replay-000-0000000050.safetensors"]


def test_camera_frames_are_kept_as_bytes() -> None:
    replay = Replay(Sizes(0, 0, 1, (2, 3, 1)), ReplayConfig(capacity=10, batch=2, length=2), 1)
    for number in range(4):
        frame = np.full((2, 3, 1), number, np.uint8)
        replay.add(0, {name: value for name, value in step(number).items() if name != "proprio"} | {"camera": frame})
    batch = sampled(replay)
    assert batch.camera is not None
    assert (batch.proprio, batch.goal, batch.camera.dtype) == (None, None, torch.uint8)
    torch.testing.assert_close(batch.camera[..., 0, 0, 0].float(), batch.reward)

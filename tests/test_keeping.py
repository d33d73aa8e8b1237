"""What was learned is kept: whole at every moment, gone on from, and refused where it is of another or damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.test_adapter import LAYOUT, NOMINAL, World, gain
from wmctrl.runtime import keeping, tensors
from wmctrl.runtime.actuation import LONGEST_DELAY, Actuation
from wmctrl.runtime.adaptation import Regime
from wmctrl.runtime.adapter import RETRIED
from wmctrl.runtime.experience import step_of
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.keeping import LOG, SLOTS, STATE, Keeper, Known
from wmctrl.runtime.replay_log import HEADER, segments

PLAIN, BENT = Actuation.plain(1), Actuation(np.array([0.5], np.float32), np.array([0.25], np.float32), 2)


def kept(folder: Path, *gains: float, active: int = 0) -> None:
    keeper = Keeper(folder, LAYOUT, "bundle")
    keeper.known()
    keeper.keep(Known(tuple(Regime(gain(one), PLAIN) for one in gains), active))
    keeper.close()


def known(folder: Path, origin: str = "bundle") -> tuple[list[float], int] | None:
    keeper = Keeper(folder, LAYOUT, origin)
    try:
        found = keeper.known()
    finally:
        keeper.close()
    return found and ([float(one.parameters["model.gain"][0]) for one in found.plants], found.active)


def test_what_is_kept_is_known_again(tmp_path: Path) -> None:
    assert known(tmp_path) is None
    kept(tmp_path, 1.0, 0.5, 2.0, active=1)
    assert known(tmp_path) == ([1.0, 0.5, 2.0], 1)


def test_how_much_parameters_matter_is_kept_where_it_was_told(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, LAYOUT, "bundle")
    keeper.keep(Known((Regime(gain(0.5), BENT, gain(4.0)), Regime(gain(2.0), PLAIN)), 2))
    found = keeper.known()
    keeper.close()
    assert found is not None
    assert [plant.importance for plant in found.plants] == [gain(4.0), None]
    assert [plant.actuation for plant in found.plants] == [BENT, PLAIN]
    assert found.active == 2


def test_the_slot_that_counts_is_never_written_to(tmp_path: Path) -> None:
    kept(tmp_path, 1.0)
    first = (tmp_path / SLOTS[1]).read_bytes()
    kept(tmp_path, 1.0, 0.5, active=1)
    assert (tmp_path / SLOTS[1]).read_bytes() == first
    assert known(tmp_path) == ([1.0, 0.5], 1)
    kept(tmp_path, 1.0, 0.7, active=1)
    assert known(tmp_path) == ([1.0, pytest.approx(0.7)], 1)


class Disk:
    """Takes files until it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, full: Callable[[Path], bool]) -> None:
        self.full, self.refused = full, 0
        monkeypatch.setattr(keeping, "write_atomic", self.write)

    def write(self, path: Path, content: bytes) -> str:
        """As `write_atomic`."""
        if self.full(path):
            self.refused += 1
            raise OSError(28, "No space left on device")
        return write_atomic(path, content)


def test_until_the_state_is_replaced_the_old_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, 1.0, 0.5, active=1)
    Disk(monkeypatch, full=lambda path: path.name == STATE)
    keeper = Keeper(tmp_path, LAYOUT, "bundle")
    keeper.known()
    assert not keeper.keep(Known((Regime(gain(1.0), PLAIN), Regime(gain(3.0), PLAIN)), 1))
    assert "No space left on device" in keeper.problem
    keeper.close()
    assert known(tmp_path) == ([1.0, 0.5], 1)


def test_what_another_bundle_learned_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    kept(tmp_path, 1.0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ValueError, match="holds what another bundle learned; name another folder, or delete"):
        known(tmp_path, "another")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_is_kept_in_by_one_at_a_time(tmp_path: Path) -> None:
    first = Keeper(tmp_path, LAYOUT, "bundle")
    with pytest.raises(ValueError, match="is where another process keeps what it learns; name another folder"):
        Keeper(tmp_path, LAYOUT, "bundle")
    first.close()
    Keeper(tmp_path, LAYOUT, "bundle").close()


@pytest.mark.parametrize("damage", ["slot", "state", "gone"])
def test_what_is_damaged_is_refused_with_what_to_do(tmp_path: Path, damage: str) -> None:
    kept(tmp_path, 1.0)
    slot, state = tmp_path / SLOTS[1], tmp_path / STATE
    if damage == "slot":
        slot.write_bytes(slot.read_bytes()[:-1] + b"\xff")
    elif damage == "state":
        state.write_text(state.read_text().replace(SLOTS[1], "slot-c"))
    else:
        slot.unlink()
    with pytest.raises(ValueError, match=r"is damaged .*; delete .* to begin anew"):
        known(tmp_path)


def test_arrays_are_written_as_they_are_read() -> None:
    arrays: dict[str, NDArray[Any]] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(3, np.int64),
        "c": np.array([True, False]),
        "empty": np.zeros((0, 4), np.float32),
    }
    found = tensors.parse(tensors.written(arrays), "arrays")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def logged(folder: Path, count: int, damaged: tuple[int, ...]) -> None:
    """Steps of one episode, which pay their number; some of them are damaged on the disk."""
    keeper = Keeper(folder, LAYOUT, "bundle")
    for number in range(count):
        seen = {"proprio": np.zeros(2, np.float32)}
        step = step_of(seen, np.zeros(1, np.float32), first=number == 0, reward=number)
        keeper.log.append(LAYOUT.packed(step))
    keeper.close()
    (path,) = segments(folder / LOG)
    data = bytearray(path.read_bytes())
    for number in damaged:
        data[number * len(data) // count + HEADER.size] ^= 1
    path.write_bytes(data)


def test_behind_a_step_that_was_lost_nothing_has_a_cause_until_what_was_sent_since_has_its_effect(
    tmp_path: Path,
) -> None:
    logged(tmp_path, 40, damaged=(7, 8, 25, 28))
    keeper = Keeper(tmp_path, LAYOUT, "bundle")
    found = LAYOUT.unpacked(keeper.steps(100))
    last = LAYOUT.unpacked(keeper.steps(20))
    keeper.close()
    unknown = 1 + LONGEST_DELAY
    begun = {0, *range(9, 9 + unknown), 26, 27, *range(29, 29 + unknown)}
    assert found["reward"].tolist() == [number for number in range(40) if number not in (7, 8, 25, 28)]
    assert set(found["reward"][found["is_first"] > 0.0]) == begun
    assert last["reward"].tolist() == found["reward"][-20:].tolist()


def again(world: World, folder: Path) -> World:
    """Whoever was switched off, switched on again."""
    world.adapter.close()
    return World(keeper=Keeper(folder, LAYOUT, "bundle"))


@pytest.mark.parametrize("steps", [0, RETRIED])
def test_what_a_full_disk_did_not_take_is_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    disk = Disk(monkeypatch, full=lambda path: True)
    world = World(keeper=Keeper(tmp_path, LAYOUT, "bundle"))
    keeper = world.adapter.keeper
    assert keeper is not None
    world.drive(300)
    happened = world.drive(300, gain=0.5)
    assert "promoted" in happened
    assert "No space left on device" in keeper.problem
    assert disk.refused == happened.count("promoted"), "and not at every step"
    disk.full = lambda path: False
    world.drive(steps, gain=0.5)
    assert (keeper.problem == "") is (steps > 0)
    world.adapter.close()
    assert keeper.problem == ""
    assert known(tmp_path) == ([world.engine.gain], 1)


def test_whoever_is_switched_off_goes_on_where_it_was(tmp_path: Path) -> None:
    first = World(keeper=Keeper(tmp_path, LAYOUT, "bundle"))
    first.drive(300)
    first.drive(300, gain=0.5)
    learned = first.engine.gain
    assert learned != NOMINAL
    second = again(first, tmp_path)
    assert second.adapter.memory.total == 600
    second.drive(1, gain=0.5)
    assert second.engine.gain == learned
    assert "alarm" not in second.drive(299, gain=0.5)
    assert "recognised" in second.drive(300)
    assert second.engine.gain == NOMINAL
    second.adapter.close()


def test_what_was_promoted_before_a_restart_is_consolidated_after_it(tmp_path: Path) -> None:
    first = World(keeper=Keeper(tmp_path, LAYOUT, "bundle"))
    first.drive(300)
    assert "consolidated" not in first.drive(300, gain=0.5)
    second = again(first, tmp_path)
    assert second.adapter.regimes == [second.adapter.nominal], "it is not known yet"
    assert "consolidated" in second.drive(600, gain=0.5)
    third = again(second, tmp_path)
    assert third.adapter.regimes[1:] == [third.adapter.active]
    assert not third.adapter.state.learning
    assert "recognised" in third.drive(300)
    assert "recognised" in third.drive(200, gain=0.5)
    third.adapter.close()


def test_after_a_restart_another_change_is_learned_from_where_it_began(tmp_path: Path) -> None:
    first = World(keeper=Keeper(tmp_path, LAYOUT, "bundle"))
    first.drive(300)
    first.drive(200, gain=0.5)
    second = again(first, tmp_path)
    assert second.drive(20, gain=0.5) == []
    assert set(second.drive(10, gain=2.0)) == {"alarm"}
    assert second.adapter.state.since >= 515
    second.drive(300, gain=2.0)
    assert second.engine.gain == pytest.approx(2.0, abs=0.1)
    second.adapter.close()


def test_a_calibrated_plant_has_the_first_ones_parameters_after_a_restart_as_before(tmp_path: Path) -> None:
    bent = Regime(gain(NOMINAL), BENT, gain(1.0))
    keeper = Keeper(tmp_path, LAYOUT, "bundle")
    keeper.keep(Known((bent, Regime(gain(0.5), PLAIN, gain(4.0))), 1))
    keeper.close()
    world = World(keeper=Keeper(tmp_path, LAYOUT, "bundle"))
    _, calibrated, learned = world.adapter.regimes
    assert world.adapter.active is calibrated
    assert calibrated.parameters is world.adapter.nominal.parameters
    assert (calibrated.actuation, calibrated.importance) == (BENT, gain(1.0))
    assert learned.parameters == gain(0.5)
    world.adapter.close()

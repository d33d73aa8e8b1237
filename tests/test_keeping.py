"""What was learned is kept: whole at every moment, gone on from, and refused where it is of another or damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.test_adapter import LAYOUT, NOMINAL, World, gain
from wmctrl.runtime import keeping, tensors
from wmctrl.runtime.actuation import Actuation
from wmctrl.runtime.adaptation import Regime
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.keeping import SLOTS, STATE, Keeper, Known

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


def test_until_the_state_is_replaced_the_old_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, 1.0, 0.5, active=1)

    def failing(path: Path, content: bytes) -> str:
        if path.name == STATE:
            raise OSError(28, "No space left on device")
        return write_atomic(path, content)

    monkeypatch.setattr(keeping, "write_atomic", failing)
    keeper = Keeper(tmp_path, LAYOUT, "bundle")
    keeper.known()
    keeper.keep(Known((Regime(gain(1.0), PLAIN), Regime(gain(3.0), PLAIN)), 1))
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


def test_whoever_is_switched_off_goes_on_where_it_was(tmp_path: Path) -> None:
    first = World(keeper=Keeper(tmp_path, LAYOUT, "bundle"))
    first.drive(300)
    first.drive(300, gain=0.5)
    learned = first.engine.gain
    assert learned != NOMINAL
    assert first.adapter.keeper is not None
    first.adapter.keeper.close()
    second = World(keeper=Keeper(tmp_path, LAYOUT, "bundle"))
    assert second.adapter.memory.total == 600
    second.drive(1, gain=0.5)
    assert second.engine.gain == learned
    assert "alarm" not in second.drive(300, gain=0.5)
    assert "recognised" in second.drive(300)
    assert second.engine.gain == NOMINAL
    assert second.adapter.keeper is not None
    second.adapter.keeper.close()

"""What is remembered of steps: bytes and back, a ring of the last ones, and sequences by how much they surprise."""

from typing import Any

import numpy as np
import pytest

from wmctrl.runtime.experience import Layout, Memory, batch_of, step_of
from wmctrl.runtime.plant import Element, Task

TASK = Task(
    id="Cart-v0",
    control_period=0.1,
    proprio=(Element("x", "m", -1.0, 1.0), Element("v", "m/s", None, None)),
    goal=(Element("target x", "m", -1.0, 1.0),),
    action=(Element("force", "N", -1.0, 1.0),),
    camera=(2, 3, 1),
    safe=(),
    observe=None,
    config={},
)
LAYOUT = Layout.of(TASK)


def step(number: int, *, first: bool = False) -> dict[str, Any]:
    """A step that tells its number everywhere."""
    seen = {
        "proprio": np.full(2, number, np.float32),
        "goal": np.full(1, -number, np.float32),
        "camera": np.full((2, 3, 1), number % 256, np.uint8),
    }
    return step_of(seen, np.full(1, 0.5 * number, np.float32), first=first, reward=2.0 * number, failure=True)


def filled(count: int, capacity: int) -> Memory:
    memory = Memory(LAYOUT, capacity)
    for number in range(count):
        memory.add(LAYOUT.packed(step(number, first=number % 10 == 0) | {"surprise": float(number)}))
    return memory


def test_a_step_comes_back_from_its_bytes() -> None:
    columns = LAYOUT.columns([step(3, first=True), step(4)])
    assert columns["proprio"].tolist() == [[3.0, 3.0], [4.0, 4.0]]
    assert columns["goal"].tolist() == [[-3.0], [-4.0]]
    assert columns["action"].tolist() == [[1.5], [2.0]]
    assert columns["reward"].tolist() == [6.0, 8.0]
    assert columns["camera"][1].tolist() == np.full((2, 3, 1), 4).tolist()
    assert columns["is_first"].tolist() == [1.0, 0.0]
    assert columns["failure"].tolist() == [1.0, 1.0]
    assert columns["terminated"].tolist() == [1.0, 1.0]


def test_of_a_plant_with_goals_failing_alone_is_an_ending() -> None:
    def ends(seen: dict[str, Any], **outcome: float) -> float:
        return float(step_of(seen, np.zeros(1, np.float32), first=False, **outcome)["terminated"])

    plain, aimed = {"proprio": np.zeros(2, np.float32)}, {"proprio": np.zeros(2), "goal": np.zeros(1)}
    assert ends(aimed, terminated=True) == 0.0, "another goal would not have been reached"
    assert ends(aimed, terminated=True, failure=True) == 1.0
    assert ends(plain, terminated=True) == 1.0
    assert ends(plain, terminated=False) == 0.0


def test_bytes_of_another_length_are_no_step() -> None:
    packed = LAYOUT.packed(step(1))
    assert len(LAYOUT.unpacked([packed, packed[:-1], packed + b"x"])["reward"]) == 1


def test_layouts_of_other_tasks_are_of_another_kind() -> None:
    other = Task(**{**TASK.__dict__, "id": "Cart-v1"})
    bare = Task(**{**TASK.__dict__, "goal": (), "camera": None})
    assert len({LAYOUT.kind, Layout.of(other).kind, Layout.of(bare).kind}) == 3
    assert {field.name for field in Layout.of(bare).fields}.isdisjoint({"goal", "camera"})


def test_a_memory_keeps_the_last_steps_in_order() -> None:
    memory = filled(25, capacity=10)
    assert len(memory) == 10
    assert memory.steps(0, 100)["reward"].tolist() == [2.0 * number for number in range(15, 25)]
    assert memory.steps(18, 20)["reward"].tolist() == [36.0, 38.0]


def test_sequences_are_of_steps_that_followed_each_other_within_what_is_asked() -> None:
    memory = filled(45, capacity=20)  # the ring has gone around, so the oldest lie behind the newest
    rows = memory.drawn(200, 4, np.random.default_rng(0), since=30, until=43)
    numbers = batch_of(rows)["reward"] / 2.0
    assert numbers.shape == (200, 4)
    assert (np.diff(numbers, axis=1) == 1.0).all()
    assert numbers.min() == 30
    assert numbers.max() == 42


def test_what_is_forgotten_is_not_drawn() -> None:
    numbers = batch_of(filled(45, capacity=20).drawn(200, 4, np.random.default_rng(0)))["reward"] / 2.0
    assert numbers.min() >= 25


def test_surprising_sequences_are_drawn_more_often_but_not_for_one_broken_reading() -> None:
    memory = Memory(LAYOUT, 400)
    for number in range(400):
        surprise = 1e9 if number == 50 else 8.0 if 200 <= number < 240 else 1.0
        memory.add(LAYOUT.packed(step(number) | {"surprise": surprise}))
    numbers = batch_of(memory.drawn(4000, 4, np.random.default_rng(0)))["reward"][:, 0] / 2.0
    surprising = np.mean((numbers >= 200) & (numbers < 237))
    broken = np.mean((numbers >= 47) & (numbers <= 50))
    assert surprising == pytest.approx(37 * 8.1 / (37 * 8.1 + 357 * 1.1), rel=0.15)
    assert broken < 0.05


def test_too_few_steps_for_a_sequence_are_refused() -> None:
    with pytest.raises(ValueError, match="a sequence has 4 steps, came 3"):
        filled(3, 10).drawn(1, 4, np.random.default_rng(0))


def test_a_memory_of_recorded_steps_holds_them_all() -> None:
    steps = LAYOUT.columns([step(number) | {"surprise": 0.5 * number} for number in range(7)])
    memory = Memory.of(LAYOUT, steps)
    for name, column in steps.items():
        np.testing.assert_array_equal(memory.steps(0, 7)[name], column)

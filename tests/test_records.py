"""Records refuse what they do not hold, by the name of the field."""

from dataclasses import dataclass

import pytest

from wmctrl.runtime import records


@dataclass(frozen=True)
class Wheel:
    radius: float
    spokes: int

    def __post_init__(self) -> None:
        if self.radius <= 0.0:
            raise ValueError(f"radius must be above 0, came {self.radius:g}")


@dataclass(frozen=True)
class Cart:
    name: str
    wheels: tuple[Wheel, ...]
    size: tuple[int, int] | None
    loads: dict[str, float]
    braked: bool


CART = {
    "name": "c",
    "wheels": [{"radius": 0.5, "spokes": 7}],
    "size": [3, 5],
    "loads": {"sand": 2},
    "braked": False,
}


def test_a_record_comes_back_from_what_it_became() -> None:
    cart = records.read(Cart, CART, "cart")
    assert cart == Cart("c", (Wheel(0.5, 7),), (3, 5), {"sand": 2.0}, False)
    assert records.plain(cart) == CART


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": 3}, "cart: name must be text, came 3"),
        ({"name": "x" * 5000}, "cart: name must have at most 4,096 characters, has 5,000"),
        ({"wheels": [{"radius": 0.5}]}, r"cart: wheels\[0\]: spokes is missing"),
        ({"wheels": [{"radius": -1, "spokes": 7}]}, r"cart: wheels\[0\]: radius must be above 0, came -1"),
        ({"wheels": [{"radius": float("nan"), "spokes": 7}]}, r"radius must be a finite number, came nan"),
        ({"wheels": [{"radius": True, "spokes": 7}]}, r"radius must be a finite number, came True"),
        ({"wheels": [{"radius": 1, "spokes": 7.5}]}, r"spokes must be a whole number, came 7\.5"),
        ({"wheels": {"radius": 1}}, "cart: wheels must be a list"),
        ({"size": [3]}, "cart: size must be a list of 2, came 1"),
        ({"loads": [1.0]}, "cart: loads must be an object"),
        ({"loads": {"sand": None}}, r"cart: loads\.sand must be a finite number, came None"),
        ({"braked": 0}, "cart: braked must be true or false, came 0"),
        ({"horse": 1}, "cart: 'horse' is not a field here; known: name, wheels, size, loads, braked"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        records.read(Cart, CART | changes, "cart")


def test_what_may_be_left_out_is_none() -> None:
    assert records.read(Cart, CART | {"size": None}, "cart").size is None


def test_what_is_no_object_is_no_record() -> None:
    with pytest.raises(ValueError, match=r"cart: must be an object, came \[\]"):
        records.read(Cart, [], "cart")

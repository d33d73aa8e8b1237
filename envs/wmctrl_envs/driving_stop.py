"""How a car is stopped, or kept in its lane, by what it senses alone: for when nothing better is known."""

from collections.abc import Sequence

from wmctrl_envs.task import Element, Gain

PURSUED = 8.0
"""Least distance of the place on the road that is steered for [m]."""
PURSUIT, ALIGNMENT, CENTRING = 1.25, 1.0, 0.2
"""Steering angle for an angle to that place, for one to the road's heading, and for the sine of the place across a lane
[rad]."""
CENTRING_SLIPPING = 0.1
"""The last of these for a car whose tyres slip, which would sway [rad]."""


def gains_to_stop(
    proprio: Sequence[Element], actions: Sequence[Element], period: float, *, slips: bool
) -> tuple[Gain, ...]:
    """Brakes where there is a brake, and steers along the road where there is one.

    Args:
        period: Time between two actions [s].
        slips: Whether the tyres do.
    """
    places = {element.name: index for index, element in enumerate(proprio)}
    found = []
    for number, action in enumerate(actions):
        if action.name == "acceleration" and "speed" in places:
            # A speed that one period can brake away is braked away; more at full force.
            found.append(Gain(number, places["speed"], -1.0 / (action.high * period)))
        if action.name == "steering" and "heading error" in places:
            turns = {"heading error": -ALIGNMENT, "across lane, sine": -(CENTRING_SLIPPING if slips else CENTRING)}
            turns |= pursuit(places)
            found += [Gain(number, places[name], turn / action.high) for name, turn in turns.items()]
    return tuple(found)


def pursuit(places: dict[str, int]) -> dict[str, float]:
    """Steering angle for the way to the right of the nearest place on the road that is far enough [rad/m]."""
    sides = {float(name.split()[1]): name for name in places if name.startswith("road ") and name.endswith("right")}
    distance = min((distance for distance in sides if distance >= PURSUED), default=None)
    return {} if distance is None else {sides[distance]: PURSUIT / distance}

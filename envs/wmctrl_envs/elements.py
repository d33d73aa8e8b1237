"""Elements of vectors that share a unit and a range."""

from wmctrl_envs.task import Element


def elements(names: str, unit: str, low: float, high: float) -> tuple[Element, ...]:
    """One element for each of the comma-separated names."""
    return tuple(Element(name.strip(), unit, low, high) for name in names.split(","))


def along(axes: str, what: str, unit: str, low: float, high: float) -> tuple[Element, ...]:
    """One element for each axis, such as `gripper x`."""
    return tuple(Element(f"{what} {axis}", unit, low, high) for axis in axes)

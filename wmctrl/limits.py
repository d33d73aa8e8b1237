"""Refusing settings that no run could go on with."""


def require_at_least(settings: object, **least: float) -> None:
    """Hold settings to their smallest values, given by name.

    Raises:
        ValueError: Names the first that is smaller.
    """
    for name, smallest in least.items():
        value = getattr(settings, name)
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest:g}, came {value!r}")


def require_positive(settings: object, *names: str, or_null: bool = False) -> None:
    """Hold settings to numbers above 0.

    Args:
        or_null: Whether they may also be left out.

    Raises:
        ValueError: Names the first that is not.
    """
    choice = ", or null to do without" if or_null else ""
    for name in names:
        value = getattr(settings, name)
        if not (or_null and value is None) and value <= 0.0:
            raise ValueError(f"{name} must be above 0{choice}, came {value:g}")


def require_share(settings: object, *names: str) -> None:
    """Hold settings to numbers above 0, and at most 1.

    Raises:
        ValueError: Names the first that is not.
    """
    require_positive(settings, *names)
    for name in names:
        value = getattr(settings, name)
        if value > 1.0:
            raise ValueError(f"{name} must be at most 1, came {value:g}")

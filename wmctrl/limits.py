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


def require_positive(settings: object, *names: str) -> None:
    """Hold settings to numbers above 0.

    Raises:
        ValueError: Names the first that is not.
    """
    for name in names:
        value = getattr(settings, name)
        if value <= 0.0:
            raise ValueError(f"{name} must be above 0, came {value:g}")


def require_positive_or_null(settings: object, *names: str) -> None:
    """Hold settings that may also be left out to numbers above 0.

    Raises:
        ValueError: Names the first that is neither.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and value <= 0.0:
            raise ValueError(f"{name} must be above 0, or null to do without, came {value:g}")

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

"""Model-based control of robot arms and vehicles: learn the plant, and plan through what was learned."""

__version__ = "0.1.0"

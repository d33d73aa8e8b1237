"""Model-based control of robot arms and vehicles: learn the plant, plan before a deadline, keep learning."""

__version__ = "0.1.0"

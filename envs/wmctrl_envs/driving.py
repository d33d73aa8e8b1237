"""Driving plants on highway-env with steering and throttle. Cheap to import: the simulator is loaded by `build`."""

from collections.abc import Mapping, Sequence
from typing import Any

from wmctrl_envs.task import Task

IDS: dict[str, str] = {
    "parking-v0": "reverse or drive into a given spot of a walled car park",
    "racetrack-v1": "steer round a closed two-lane track past slower traffic",
    "highway-v0": "drive fast among 15 vehicles on four lanes, without collisions",
    "highway-fast-v0": "drive fast among 20 vehicles on three lanes, coarser simulation",
    "lane-keeping-v0": "keep to a winding lane with tyres that slip",
    "merge-v0": "pass an access ramp while another vehicle merges",
    "roundabout-v0": "enter a busy roundabout and leave at the second exit",
    "intersection-v1": "turn left across an unregulated intersection, with tyres that slip",
}
"""What `build` takes, with one line on each."""


def build(
    task_id: str, observe: Sequence[str] | None = None, camera_size: int = 64, config: Mapping[str, Any] | None = None
) -> Task:
    """Make one of the driving tasks.

    Args:
        task_id: One of `IDS`.
        observe: Some of `proprio`, `goal`, `camera`; everything but the camera when None.
        camera_size: Height and width of the picture [px].
        config: Entries of highway-env's own configuration, plus `dynamical` for a vehicle whose tyres slip.

    Raises:
        ValueError: Unknown id, observation part or config key.
    """
    from wmctrl_envs.driving_task import DrivingTask  # highway-env takes a second to import

    return DrivingTask(task_id, observe, camera_size, dict(config or {}))

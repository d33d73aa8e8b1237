"""The arms of a stress test: ways to learn while driving, from none to all."""

from collections.abc import Mapping
from dataclasses import dataclass

from wmctrl.runtime.adaptation import Adaptation
from wmctrl.runtime.adapter import STRENGTH, Adapter
from wmctrl.runtime.controller import Controller


@dataclass(frozen=True)
class Arm:
    """A way to learn."""

    adaptation: Adaptation
    strength: float = 0.0
    """Of elastic weight consolidation."""

    def adapter(self, controller: Controller) -> Adapter:
        """What learns for a controller."""
        return Adapter.of(controller, self.adaptation, strength=self.strength)


ARMS: Mapping[str, Arm | None] = {
    "frozen": None,
    "fine-tune": Arm(Adaptation(calibrate=False, replay=0.0, gate=False)),
    "replay": Arm(Adaptation(calibrate=False, gate=False)),
    "EWC": Arm(Adaptation(calibrate=False, replay=0.0, gate=False), STRENGTH),
    "EWC + replay": Arm(Adaptation(calibrate=False, gate=False), STRENGTH),
    "EWC + replay + gate": Arm(Adaptation(calibrate=False), STRENGTH),
    "calibration": Arm(Adaptation(learn=False)),
    "all": Arm(Adaptation(), STRENGTH),
}
"""By name; None learns nothing. All begin to learn when drift is noticed."""

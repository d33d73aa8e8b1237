"""A controller that an adapter drives with what it learned."""

from wmctrl.runtime.actuation import Actuation
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.descent import Parameters
from wmctrl.runtime.engine import Engine, Prepared


class Driven:
    """A controller that drives with other parameters, and commands that do something else."""

    def __init__(self, controller: Controller) -> None:
        assert isinstance(controller.engine, Engine), "what drives takes other parameters"
        self.controller, self.engine = controller, controller.engine

    @property
    def actuation(self) -> Actuation:
        """What is known of what commands do."""
        return self.controller.follower.actuation

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of those that it takes."""
        return self.engine.parameters()

    def prepared(self, values: Parameters) -> Prepared:
        """Parameters as it takes them."""
        return self.engine.prepared(values)

    def take(self, prepared: Prepared, actuation: Actuation) -> None:
        """Drive with prepared parameters from now on, commands doing what is told."""
        self.engine.take(prepared)
        self.controller.set_actuation(actuation)

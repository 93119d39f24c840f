"""Exponential moving average of the whole floating-point state (official ModelEMA)."""

from jittor import Var, nn

from frameworks.jittor_rtdetr.native import update as native_update
from frameworks.jittor_rtdetr.native.kernel import in_use
from frameworks.jittor_rtdetr.operators import constant


class ModelEMA:
    """Averages parameters and running statistics; integer counters keep their initial value."""

    def __init__(self, model: nn.Module) -> None:
        self.average = {name: value.detach().clone().stop_grad() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, decay: float) -> None:
        """average = decay * average + (1 - decay) * state, in place."""
        for name, value in model.state_dict().items():
            average = self.average[name]
            if in_use():
                average.update(native_update.averaged(average, value.detach(), decay))
            else:
                average.update(constant(decay, average) * average + constant(1 - decay, average) * value.detach())

    def state(self) -> dict[str, Var]:
        """The averaged entries under canonical names."""
        return self.average

    def load(self, state: dict[str, Var]) -> None:
        """Restore the averages from ``state()``."""
        for name, value in self.average.items():
            value.update(state[name])

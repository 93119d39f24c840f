"""Exponential moving average of the whole floating-point state (official ModelEMA)."""

from jittor import Var, nn

from frameworks.jittor_rtdetr.operators import weighted_mean


class ModelEMA:
    """Averages parameters and running statistics; integer counters keep their initial value."""

    def __init__(self, model: nn.Module) -> None:
        self.average = {name: value.detach().clone().stop_grad() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, decay: float) -> None:
        """average = decay * average + (1 - decay) * state, in place."""
        for name, value in model.state_dict().items():
            average = self.average[name]
            average.update(weighted_mean(average, value.detach(), decay))

    def state(self) -> dict[str, Var]:
        """The averaged entries under canonical names."""
        return self.average

    def load(self, state: dict[str, Var]) -> None:
        """Restore the averages from ``state()``."""
        for name, value in self.average.items():
            value.update(state[name])

"""Exponential moving average of the whole floating-point state (official ModelEMA)."""

import torch
from torch import Tensor, nn


class ModelEMA:
    """Averages parameters and running statistics; integer counters keep their initial value."""

    def __init__(self, model: nn.Module) -> None:
        self.average = {
            name: value.detach().clone()
            for name, value in model.state_dict().items()
            if value.dtype.is_floating_point
        }

    @torch.no_grad()
    def update(self, model: nn.Module, decay: float) -> None:
        """average = decay * average + (1 - decay) * state, in place."""
        state = model.state_dict()
        values = [state[name] for name in self.average]
        averages = list(self.average.values())
        torch._foreach_lerp_(averages, values, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def state(self) -> dict[str, Tensor]:
        """The averaged entries under canonical names."""
        return self.average

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore the averages from ``state()``."""
        for name, value in self.average.items():
            value.copy_(state[name])

"""The training run inside a worker, used like one in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from frameworks.arrays import Arrays
from frameworks.protocol import Detections, StepRecord


@dataclass(frozen=True)
class WorkerStepper:
    """The training run inside a worker, behind the members of ``frameworks.protocol.Stepper``."""

    request: Callable[..., tuple[Any, Arrays]]  # that of a ``client.Worker``
    process: int

    def step(
        self, batch: Arrays, learning_rates: list[float], ema_decay: float, update: bool = True, share: float = 1.0
    ) -> StepRecord:
        """As in ``Stepper``."""
        numbers = {"learning_rates": learning_rates, "ema_decay": ema_decay, "update": update, "share": share}
        record, _ = self.request("stepper.step", {"batch": batch}, **numbers)
        return StepRecord(**record)

    def predict(self, images: Arrays) -> Detections:
        """As in ``Stepper``."""
        values, arrays = self.request("stepper.predict", {"images": images})
        return Detections(arrays, **values)

    def state(self) -> Arrays:
        """As in ``Stepper``."""
        return self.request("stepper.state")[1]

    def load(self, state: Arrays) -> None:
        """As in ``Stepper``."""
        self.request("stepper.load", {"state": state})

    def peak_memory_mb(self) -> float:
        """As in ``Stepper``."""
        return self.request("stepper.peak_memory_mb")[0]

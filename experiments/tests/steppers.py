"""Frameworks that compute nothing, to test the loop around them, and what a fault in one of them does."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.protocol import Case, Detections, StepRecord

Fault = Callable[[int], None]  # called before every step with its number in this process


class CountingStepper:
    """Its state is a running sum over everything it is given, so that any other input gives another state."""

    def __init__(
        self,
        fault: Fault | None = None,
        total: float = 3.0,
        norm: float = 1.0,
        overflow: bool = False,
        error: float = 0.0,
    ) -> None:
        self.fault, self.total, self.norm, self.overflow, self.error = fault, total, norm, overflow, error
        self.sum = np.zeros((), np.float64)
        self.calls: list[tuple[Arrays, list[float], float]] = []
        self.parts: list[tuple[bool, float]] = []  # of updates

    def trace(self, case: Case, dtype: str) -> Arrays:
        """One number for each kind of answer, which is off by ``error``."""
        kinds = ("loss/vfl", "gradient/encoder") if case.question == "loss" else ("moment1/encoder",)
        return {name: np.full(1, 1.0 + self.error, dtype) for name in kinds} | {
            "select/topk": np.zeros((1, 1), np.int64)
        }

    def step(
        self, batch: Arrays, learning_rates: list[float], ema_decay: float, update: bool = True, share: float = 1.0
    ) -> StepRecord:
        if self.fault:
            self.fault(len(self.calls))
        self.calls.append((batch, learning_rates, ema_decay))
        self.parts.append((update, share))
        seen = sum(float(array.astype(np.float64).sum()) for array in batch.values())
        self.sum = np.asarray(0.5 * self.sum + seen + sum(learning_rates) + ema_decay)
        losses, matching = {"loss_vfl": self.total}, f"{float(self.sum):.6f}"
        return StepRecord(losses, self.total, self.norm, 0.25, matching, overflow=self.overflow)

    def predict(self, images: Arrays) -> Detections:
        count = len(images["images"])
        boxes_xyxy_BQ4 = np.tile(np.array([10, 10, 50, 40], np.float32), (count, 2, 1))
        labels_BQ = np.zeros((count, 2), np.int64)
        return Detections({"labels": labels_BQ, "boxes": boxes_xyxy_BQ4, "scores": np.full((count, 2), 0.5)}, 0.1)

    def state(self) -> Arrays:
        return {"parameter/sum": self.sum}

    def load(self, state: Arrays) -> None:
        self.sum = state["parameter/sum"]

    def peak_memory_mb(self) -> float:
        return 12.5


class CountingFramework:
    """A framework whose training runs are the stepper given here."""

    name = "counting"

    def __init__(self, stepper: CountingStepper) -> None:
        self.stepper = stepper

    def supports(self, device: str, dtype: str) -> str | None:
        return None

    def environment(self, device: str) -> Mapping[str, Any]:
        return {"framework": "counting", "version": "0"}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        return self.stepper.trace(case, dtype)

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str) -> CountingStepper:
        return self.stepper


def opener(steppers: Mapping[str, CountingStepper]) -> Callable[..., Any]:
    """A stand-in for ``open_framework`` that opens these."""

    @contextlib.contextmanager
    def open_counting(name: str, **settings: Any) -> Iterator[CountingFramework]:
        yield CountingFramework(steppers[name])

    return open_counting

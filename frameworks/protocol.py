"""The boundary between a framework and everything else: cases in, traces out, NumPy arrays only.

A framework is any object with the members of ``Framework``. ``parity_tests/test_contract.py`` tells the
author of a third one what is missing.

Array names of a trace (each twin writes the same ones):

- ``forward/...`` predictions; ``select/topk``, ``select/scores`` query selection
- ``loss/TERM``, ``loss/total``; ``match/C/B/queries`` and ``targets`` of matching C, image B
- ``gradient/PARAMETER``, ``gradient_input/images``, ``gradient_norm/total`` before clipping
- ``statistic/NAME`` running statistics after the forward pass
- ``capture/MODULE/{input,output,cotangent}/K`` what a module received, answered, and got back
- ``output/K``, ``gradient_input/K`` of a module run alone
- ``stepT/...`` the above at optimizer step T; ``parameter/NAME``, ``moment1/NAME``, ``moment2/NAME``,
  ``steps/NAME``, ``ema/NAME`` after the last one
- ``postprocess/{labels,boxes,scores}``; ``denoising/{labels,boxes_unact,blocked,groups}`` and
  ``denoising/positive/B`` for image B
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec

# Device of a worker process, set before its framework is imported: some decide at import.
DEVICE_VARIABLE = "TWIN_DETR_DEVICE"
QUESTIONS = ("forward", "loss", "steps", "module", "criterion", "postprocess", "denoising", "optimizer")


@dataclass(frozen=True)
class Case:
    """One question to a framework.

    Inputs by question: ``images`` [B, 3, H, W]; targets as ``labels`` [N], ``boxes`` [N, 4] cxcywh,
    ``counts`` [B]; denoising noise as ``noise/...`` (see frameworks.shared.noise); ``sizes_wh`` [B, 2];
    ``forced/topk`` [B, Q] and ``forced/match/C/B/{queries,targets}`` replace discrete decisions (of optimizer
    step T: ``stepT/forced/...``);
    ``input/K`` and ``cotangent/K`` for a module; ``prediction/...`` for criterion and postprocess;
    ``gradient/T/NAME`` for the optimizer alone.
    """

    question: str
    spec: ExperimentSpec
    training: bool = False  # batch statistics, every decoder layer, denoising
    deploy: bool = False  # norms folded into convolutions, RepVGG branches merged; for "forward" in evaluation
    module: str = ""  # canonical path, for the question "module"
    capture: tuple[str, ...] = ()  # module paths to record, with cotangents where there is a loss
    steps: int = 0  # optimizer steps, for "steps" and "optimizer"
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.question not in QUESTIONS:
            raise ValueError(f"unknown question {self.question!r}; expected one of {', '.join(QUESTIONS)}")
        if self.deploy and (self.training or self.question != "forward"):
            raise ValueError("the deploy form is for inference: ask 'forward' with training=False")


@dataclass(frozen=True)
class StepRecord:
    """What one training step reports."""

    losses: dict[str, float]  # weighted terms
    total: float
    gradient_norm: float  # before clipping
    seconds: float  # forward to EMA, synchronised
    matching: str  # hash of every matching, to see when the twins part


@dataclass(frozen=True)
class Detections:
    """Scored boxes of a batch: labels [B, Q] int64, boxes [B, Q, 4] xyxy in pixels, scores [B, Q]."""

    arrays: Arrays
    seconds: float


@runtime_checkable
class Stepper(Protocol):
    """A model in training. The loop around it is framework-neutral and exists once."""

    def step(self, batch: Arrays, learning_rates: list[float], ema_decay: float) -> StepRecord: ...

    def predict(self, images: Arrays) -> Detections:
        """Detections of the averaged (EMA) model; ``images`` and ``sizes_wh``."""
        ...

    def state(self) -> Arrays:
        """Everything needed to go on: ``parameter/``, ``moment1/``, ``moment2/``, ``steps/``, ``ema/``."""
        ...

    def load(self, state: Arrays) -> None: ...

    def peak_memory_mb(self) -> float:
        """Peak resident (CPU) or allocated (GPU) memory of the process so far, in MB."""
        ...


@runtime_checkable
class Framework(Protocol):
    """Everything that a port must offer to be compared."""

    name: str

    def supports(self, device: str, dtype: str) -> str | None:
        """None, or the reason why this device or dtype cannot be used here."""
        ...

    def environment(self, device: str) -> Mapping[str, Any]:
        """Versions, flags and threads, as plain values for the records."""
        ...

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        """Canonical state names and shapes of the model as this framework really builds it."""
        ...

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays: ...

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str) -> Stepper: ...

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        """Detections of one batch: ``images`` [B, 3, H, W] and ``sizes_wh`` [B, 2]."""
        ...

"""The boundary between a framework and everything else: cases in, traces out, NumPy arrays only.

A framework is any object with the members of ``Framework``; ``parity_tests/test_contract.py`` tests them.
A trace is a dictionary of named arrays, with the same names in every framework:

    framework = frameworks.load("torch")
    case = Case("loss", preset("tiny"), training=True)
    trace = framework.trace(case, weights, inputs, device="cpu", dtype="float64")
    trace["loss/total"], trace["gradient/decoder.enc_score_head.bias"]

Names of a trace:

- ``forward/...`` predictions; ``select/topk`` [B, Q] and ``select/scores`` [B, Q] of query selection
- ``loss/TERM`` and ``loss/total``; of matching C (main, auxiliary layers, encoder) and image B the costs
  ``cost/C/B`` [Q, T] and the pairs ``match/C/B/queries`` and ``match/C/B/targets``
- ``gradient/PARAMETER``, ``gradient_input/images``, ``gradient_norm/total`` before clipping
- ``statistic/NAME``: running statistics of norms after the forward pass
- ``capture/MODULE/{input,output,cotangent}/K``: a module's inputs, outputs and gradients of its outputs
- ``output/K``, ``gradient_input/K`` of a module run alone
- ``stepT/...``: the above at optimizer step T; ``parameter/NAME``, ``moment1/NAME``, ``moment2/NAME``,
  ``steps/NAME`` (SGD: ``moment1/NAME`` alone), ``ema/NAME`` after the last step
- ``postprocess/{labels,boxes,scores}``; ``denoising/{labels,boxes_unact,blocked,groups}`` and
  ``denoising/positive/B`` for image B
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec

# Device of a worker process. It is set before the framework is imported: Jittor chooses its device at import.
DEVICE_VARIABLE = "TWIN_DETR_DEVICE"
QUESTIONS = ("forward", "loss", "steps", "module", "criterion", "postprocess", "denoising", "optimizer")


@dataclass(frozen=True)
class Case:
    """What a framework computes for one trace: a question, a spec, and what to record.

    ``question`` selects the computation and the inputs that it reads:

    - "forward", "loss", "steps": ``images`` [B, 3, H, W] in [0, 1]; with a loss also the targets ``labels`` [N],
      ``boxes`` [N, 4] cxcywh in [0, 1] and ``counts`` [B], and the denoising noise ``noise/...``
      (frameworks.shared.noise)
    - "module": ``input/K``, and ``cotangent/K`` for gradients
    - "criterion": targets, ``prediction/...`` and noise; "denoising": targets and noise
    - "postprocess": ``prediction/...`` and ``sizes_wh`` [B, 2] in pixels
    - "optimizer": ``gradient/T/NAME`` for step T

    "loss", "steps" and "optimizer" run the functions of ``Stepper``, in ``dtype``, so that what is compared is what
    trains. ``forced/topk`` [B, Q] and ``forced/match/C/B/{queries,targets}`` replace the discrete decisions, and
    ``stepT/forced/...`` those of optimizer step T.

    Raises:
        ValueError: an unknown question, the deploy form of anything but a forward pass in evaluation, or training
            steps in evaluation.
    """

    question: str
    spec: ExperimentSpec
    training: bool = False  # batch statistics, every decoder layer, denoising
    deploy: bool = False  # norms folded into convolutions, RepVGG branches merged; "forward" in evaluation only
    module: str = ""  # canonical path, for "module"
    capture: tuple[str, ...] = ()  # paths of modules to record; with a loss, the gradients of their outputs too
    steps: int = 0  # optimizer steps, for "steps" and "optimizer"
    lr_scale: float = 1.0  # factor on every learning rate, for "steps" and "optimizer"

    def __post_init__(self) -> None:
        if self.question not in QUESTIONS:
            raise ValueError(f"unknown question {self.question!r}; expected one of {', '.join(QUESTIONS)}")
        if self.deploy and (self.training or self.question != "forward"):
            raise ValueError("the deploy form is for inference: use the question 'forward' with training=False")
        if self.question in ("loss", "steps") and not self.training:
            raise ValueError(f"the question {self.question!r} is about training: use it with training=True")


@dataclass(frozen=True)
class StepRecord:
    """Losses, gradient norm, time and matching of one training step, and what was compiled for it."""

    losses: dict[str, float]  # weighted terms
    total: float
    gradient_norm: float  # before clipping
    seconds: float  # from the forward pass to the EMA update, synchronised
    matching: str  # hash of every matching: shows the step at which two frameworks begin to differ
    kernels_compiled: int = 0  # since the last step or prediction; for frameworks that compile while they run
    compile_seconds: float = 0.0  # the part of ``seconds`` that this took
    overflow: bool = False  # beyond float16: the norm is not finite, and loss scaling skips the update


@dataclass(frozen=True)
class Detections:
    """Scored boxes of a batch: ``labels`` [B, Q] int64, ``boxes`` [B, Q, 4] xyxy in pixels, ``scores`` [B, Q]."""

    arrays: Arrays
    seconds: float
    kernels_compiled: int = 0  # as in StepRecord
    compile_seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)  # weighted terms, where targets were given


@runtime_checkable
class Stepper(Protocol):
    """A model in training. The loop around it is experiments/runs/training_loop.py, for every framework."""

    def step(
        self, batch: Arrays, learning_rates: list[float], ema_decay: float, update: bool = True, share: float = 1.0
    ) -> StepRecord:
        """Run one training step: forward, losses, backward, clip, optimizer, EMA.

        The gradients of several batches can be averaged for one update: every batch is a step with its share, all
        but the last without update. Parameters of groups with the learning rate 0 are frozen.

        Args:
            batch: ``images``, targets and noise, as a ``Case`` "loss" reads them.
            learning_rates: one for each parameter group of the spec.
            ema_decay: share of the old average that is kept.
            update: whether clipping, optimizer and EMA follow, with all gradients since the last update; otherwise
                rates and decay are not read.
            share: factor of this batch's gradients. ``gradient_norm`` is that of the sum so far.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        ...

    def predict(self, images: Arrays) -> Detections:
        """Detections of the averaged (EMA) model for ``images`` [B, 3, H, W] and ``sizes_wh`` [B, 2] in pixels.

        With ``labels``, ``boxes`` and ``counts`` [b], the targets of the first b images, also the losses of these
        images: the terms of the final predictions, without auxiliary and denoising terms.
        """
        ...

    def state(self) -> Arrays:
        """Everything that continuing needs: ``parameter/``, ``moment1/``, ``moment2/``, ``steps/``, ``ema/``.

        Between the batches of an update also their gradients so far, ``accumulated/``. SGD has ``moment1/`` alone.
        Training with a scaled loss adds ``scaler/``; accumulated gradients are then multiples of the scale.
        """
        ...

    def load(self, state: Arrays) -> None:
        """Restore a state from ``state()``; the next step is then the same to the bit."""
        ...

    def peak_memory_mb(self) -> float:
        """Peak resident (CPU) or allocated (GPU) memory of the process so far, in MB."""
        ...


@runtime_checkable
class Framework(Protocol):
    """Everything that a port must offer to be compared. Its adapter module defines one as ``FRAMEWORK``."""

    name: str

    def supports(self, device: str, dtype: str) -> str | None:
        """None, or the reason why this device or dtype cannot be used here."""
        ...

    def environment(self, device: str) -> Mapping[str, Any]:
        """Versions, flags and threads, as plain values for the records."""
        ...

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        """Canonical names and shapes of the state of the model that this framework builds."""
        ...

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """Run one case and return what it computed.

        Args:
            case: what to compute and record.
            weights: the whole state by canonical name (float32, counters int64), loaded strictly.
            inputs: the arrays that ``Case`` lists for the question.
            device: "cpu" or "cuda".
            dtype: "float32" or "float64"; weights and floating inputs are converted to it.

        Returns:
            named arrays (see the top of this file): floating ones in ``dtype``, indices int64.

        Raises:
            UserError: ``supports`` gives a reason against this device or dtype.
            ValueError: names or shapes of the weights are not exactly the model's.
        """
        ...

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str, dtype: str = "float32") -> Stepper:
        """Build a model with these weights, its optimizer and its average, and return them ready to train.

        Training is in ``dtype`` ("float64" is for comparisons), with ``recipe.amp`` in mixed precision. ``spec``
        gives model, losses and optimizer; learning rates and EMA decay come with each step. ``weights`` is the
        whole state by canonical name, loaded strictly.

        Raises:
            UserError: ``supports`` gives a reason against this device, or there is no mixed precision here.
            ValueError: names or shapes of the weights are not exactly the model's.
        """
        ...

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        """Detections of a batch in float32: ``images`` [B, 3, H, W] in [0, 1] and ``sizes_wh`` [B, 2] in pixels."""
        ...


@runtime_checkable
class InferenceProfiler(Protocol):
    """A framework that can also say where the time of an inference goes. A port may leave it out."""

    def profile_inference(
        self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str, repeats: int
    ) -> dict[str, Any]:
        """Time the modules of the deploy form on ``images``, as ``predict`` takes them.

        Returns:
            plain values: ``modules``, median seconds by path of ``state.module_paths.separate_modules``, and
            ``others``; the reference also ``operations``, floating-point operations of one image by path, "" being
            the whole model.
        """
        ...


@runtime_checkable
class Profiler(Protocol):
    """A framework that can also say where the time of its training step goes. A port may leave it out."""

    def profile(self, spec: ExperimentSpec, weights: Arrays, batch: Arrays, *, device: str) -> dict[str, Any]:
        """Profile training steps on ``batch``, as ``Stepper.step`` takes it.

        Returns:
            plain values: ``parts``, seconds by part of a step; ``operators``, ``seconds`` and ``calls`` by
            operator; the reference also ``operations``, floating-point operations of a ``step`` and
            an ``inference``.
        """
        ...

"""The PyTorch twin behind the framework protocol."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from frameworks import require_precision
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec
from frameworks.errors import UserError
from frameworks.protocol import Case, Detections
from frameworks.shared import kernels
from frameworks.threads import thread_count
from frameworks.torch_rtdetr import deformable, tracing
from frameworks.torch_rtdetr.deploy import deploy
from frameworks.torch_rtdetr.exchange import build, set_training
from frameworks.torch_rtdetr.model import RTDETR
from frameworks.torch_rtdetr.training import TrainingRun, inference_model, predict

QUESTIONS = {
    "forward": tracing.trace_forward,
    "module": tracing.trace_module,
    "criterion": tracing.trace_criterion,
    "postprocess": tracing.trace_postprocess,
    "denoising": tracing.trace_denoising,
}
TRAINING_QUESTIONS = {
    "loss": tracing.trace_loss,
    "steps": tracing.trace_steps,
    "optimizer": tracing.trace_optimizer,
}
TF32 = "TWIN_DETR_TF32"  # variable: "1" lets a GPU round float32 to TF32, to measure what that does
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchFramework:
    """The members of ``frameworks.protocol.Framework``."""

    name = "torch"

    def __init__(self) -> None:
        # TF32 on one side and float32 on the other has spoilt published comparisons.
        tf32 = os.environ.get(TF32) == "1"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.set_num_threads(thread_count())

    def supports(self, device: str, dtype: str) -> str | None:
        """None, or the reason why this device or dtype cannot be used here."""
        if dtype not in DTYPES:
            return f"dtype {dtype!r} is not one of {', '.join(DTYPES)}"
        if device == "cuda" and not torch.cuda.is_available():
            return f"torch {torch.__version__} sees no CUDA device"
        return None if device in ("cpu", "cuda") else f"device {device!r} is not 'cpu' or 'cuda'"

    def environment(self, device: str) -> Mapping[str, Any]:
        """Version, threads and numerical flags, for the records."""
        compiled = device == "cpu" and deformable.available(torch.empty(0))
        return {
            "framework": "torch",
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
            "fast_math": False,
            "kernels": kernels.choice(),
            "deformable_attention": "C++" if compiled else "formula",
            "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "cuda": torch.version.cuda,
        }

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        """Canonical names and shapes of the model's state, from the model itself."""
        return {name: tuple(value.shape) for name, value in RTDETR(spec).state_dict().items()}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """Run one case; the arrays of the trace have the names of ``frameworks.protocol``."""
        self._require(device, dtype)
        if trace := TRAINING_QUESTIONS.get(case.question):
            spec = replace(case.spec, recipe=replace(case.spec.recipe, amp=False))  # a trace has one dtype
            return trace(case, TrainingRun(spec, weights, device, dtype), inputs)
        model = build(case.spec.model, weights, device, DTYPES[dtype])
        set_training(model, case.training)
        if case.deploy:
            deploy(model)
        return QUESTIONS[case.question](case, model, inputs)

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str, dtype: str = "float32") -> TrainingRun:
        """A training run that starts from these weights; in ``dtype``, or as ``recipe.amp`` says."""
        self._require(device, dtype)
        require_precision(spec.recipe, self.name)
        return TrainingRun(spec, weights, device, dtype)

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        """Scored boxes of ``images`` [B, 3, H, W], in pixels of ``sizes_wh`` [B, 2]."""
        self._require(device, "float32")
        model = inference_model(spec.model, weights, device)
        return predict(model, images, spec)

    def profile(self, spec: ExperimentSpec, weights: Arrays, batch: Arrays, *, device: str) -> dict[str, Any]:
        """Where the time of a training step on ``batch`` goes, as ``profiling.profile_step`` returns it."""
        from frameworks.torch_rtdetr.profiling import profile_step  # only here: no run needs profilers

        return profile_step(self.trainer(spec, weights, device=device), batch, repeats=3)

    def profile_inference(
        self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str, repeats: int
    ) -> dict[str, Any]:
        """Where the time of an inference goes, as ``profiling.profile_inference`` returns it."""
        from frameworks.torch_rtdetr.profiling import profile_inference  # only here: no run needs profilers

        self._require(device, "float32")
        model = inference_model(spec.model, weights, device)
        return profile_inference(model, images, spec, repeats)

    def _require(self, device: str, dtype: str) -> None:
        if reason := self.supports(device, dtype):
            raise UserError(f"{self.name} cannot run on {device} in {dtype}: {reason}")


FRAMEWORK = TorchFramework()

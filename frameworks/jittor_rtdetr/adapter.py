"""The Jittor twin behind the framework protocol. Importing this file prepares and starts Jittor."""

import gc
import os
from collections.abc import Mapping
from typing import Any

from frameworks import require_precision
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec
from frameworks.errors import UserError
from frameworks.jittor_rtdetr.runtime import environment
from frameworks.protocol import DEVICE_VARIABLE, Case, Detections
from frameworks.shared import kernels

# Jittor reads environment variables while it is imported, so this comes before everything that imports it.
DEVICE = os.environ.get(DEVICE_VARIABLE, "cpu")
jt = environment.import_jittor(DEVICE)

from frameworks.jittor_rtdetr import tracing  # noqa: E402
from frameworks.jittor_rtdetr.deploy import deploy  # noqa: E402
from frameworks.jittor_rtdetr.exchange import build, set_training, state_arrays  # noqa: E402
from frameworks.jittor_rtdetr.model import RTDETR  # noqa: E402
from frameworks.jittor_rtdetr.training import TrainingRun, inference_model, predict  # noqa: E402

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
DTYPES = {"float32": "float32", "float64": "float64"}


LARGE_BYTES = 10**8  # of weights; below, collecting freed memory costs more time than it is worth


class JittorFramework:
    """The members of ``frameworks.protocol.Framework``."""

    name = "jittor"

    def supports(self, device: str, dtype: str) -> str | None:
        """None, or the reason why this device or dtype cannot be used here."""
        if dtype not in DTYPES:
            return f"dtype {dtype!r} is not one of {', '.join(DTYPES)}"
        if device not in ("cpu", "cuda"):
            return f"device {device!r} is not 'cpu' or 'cuda'"
        if device != DEVICE:
            return f"this process started Jittor for {DEVICE}; another device needs a process of its own"
        return None

    def environment(self, device: str) -> Mapping[str, Any]:
        """Version, threads and numerical flags, for the records."""
        record = environment.prepare(DEVICE).record()
        return {"framework": "jittor", "version": jt.__version__, "kernels": kernels.choice(), **record}

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        """Canonical names and shapes of the model's state, from the model itself."""
        return {name: array.shape for name, array in state_arrays(RTDETR(spec)).items()}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """Run one case; the arrays of the trace have the names of ``frameworks.protocol``."""
        self._require(device, dtype)
        trace = self._trace(case, weights, inputs, device, dtype)
        if sum(array.nbytes for array in weights.values()) > LARGE_BYTES:
            # Jittor keeps freed memory: without this a worker grows with every large model.
            gc.collect()
            jt.gc()
        return trace

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str, dtype: str = "float32") -> TrainingRun:
        """A training run in ``dtype`` that starts from these weights."""
        self._require(device, dtype)
        require_precision(spec.recipe, self.name)
        return TrainingRun(spec, weights, device, dtype)

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        """Scored boxes of ``images`` [B, 3, H, W], in pixels of ``sizes_wh`` [B, 2]."""
        self._require(device, "float32")
        model = inference_model(spec.model, weights)
        return predict(model, images, spec)

    def profile(self, spec: ExperimentSpec, weights: Arrays, batch: Arrays, *, device: str) -> dict[str, Any]:
        """Where the time of a training step on ``batch`` goes, as ``profiling.profile_step`` returns it."""
        from frameworks.jittor_rtdetr.profiling import profile_step  # only here: no run needs profilers

        return profile_step(self.trainer(spec, weights, device=device), batch, repeats=3)

    def profile_inference(
        self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str, repeats: int
    ) -> dict[str, Any]:
        """Where the time of an inference goes, as ``profiling.profile_inference`` returns it."""
        from frameworks.jittor_rtdetr.profiling import profile_inference  # only here: no run needs profilers

        self._require(device, "float32")
        model = inference_model(spec.model, weights)
        return profile_inference(model, images, spec, repeats)

    def _trace(self, case: Case, weights: Arrays, inputs: Arrays, device: str, dtype: str) -> Arrays:
        if trace := TRAINING_QUESTIONS.get(case.question):
            return trace(case, TrainingRun(case.spec, weights, device, dtype), inputs)
        model = build(case.spec.model, weights, DTYPES[dtype])
        set_training(model, case.training)
        if case.deploy:
            deploy(model)
        return QUESTIONS[case.question](case, model, inputs)

    def _require(self, device: str, dtype: str) -> None:
        if reason := self.supports(device, dtype):
            raise UserError(f"{self.name} cannot run on {device} in {dtype}: {reason}")


FRAMEWORK = JittorFramework()

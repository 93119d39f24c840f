"""Adapter for Hugging Face's RT-DETR: the part of the framework protocol that a comparison with the twins needs.

It is an independent implementation, not a twin: model, loss and denoising queries are transformers' own code.
"""

import importlib.metadata
import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from frameworks import require_precision
from frameworks.arrays import Arrays
from frameworks.config import CriterionSpec, ExperimentSpec, ModelSpec
from frameworks.errors import UserError
from frameworks.hf_rtdetr import tracing
from frameworks.hf_rtdetr.model import Model, build, empty
from frameworks.hf_rtdetr.names import NAME, from_huggingface, name_table
from frameworks.protocol import Case, Detections, StepRecord
from frameworks.shared import trace_names
from frameworks.shared.memory import peak_resident_mb
from frameworks.state.parameters import state_shapes, trainable_names
from frameworks.torch_rtdetr.adapter import DTYPES
from frameworks.torch_rtdetr.adapter import FRAMEWORK as TORCH  # importing it sets torch's threads and flags
from frameworks.torch_rtdetr.ema import ModelEMA
from frameworks.torch_rtdetr.exchange import to_numpy, to_tensor
from frameworks.torch_rtdetr.postprocess import postprocess

QUESTIONS = {
    "forward": tracing.trace_forward,
    "loss": tracing.trace_loss,
    "denoising": tracing.trace_denoising,
    "postprocess": tracing.trace_postprocess,
}


class TrainingRun:
    """Train Hugging Face's model and loss in float32, with the recipe's clipping, AdamW groups and EMA."""

    def __init__(self, spec: ExperimentSpec, weights: Arrays, device: str) -> None:
        self.spec, self.device = spec, device
        arguments = (spec.model, spec.criterion, weights, device, torch.float32)
        self.model, self.averaged = build(*arguments), build(*arguments)
        self.ema = ModelEMA(self.model)
        self.optimizer = self._optimizer()

    def step(
        self, batch: Arrays, learning_rates: list[float], ema_decay: float, update: bool = True, share: float = 1.0
    ) -> StepRecord:
        """Run one training step: forward, loss, backward, clip, update, average.

        transformers draws the denoising noise itself, and its loss does not return the matching.

        Args:
            batch: ``images`` [B, 3, H, W] and the targets of ``frameworks.protocol.Case``.
            learning_rates: one for each parameter group.
            ema_decay, update, share: as in ``frameworks.protocol.Stepper``.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        start = time.perf_counter()
        self.model.train()
        images = to_tensor(batch["images"], self.model)
        outputs = self.model(pixel_values=images, labels=tracing.labels(batch, self.model))
        (outputs.loss * share).backward()
        norm = self._clip(self.spec.recipe.clip_max_norm if update else 0.0)
        losses = {name: float(value.detach()) for name, value in outputs.loss_dict.items()}
        total = float(outputs.loss.detach())
        if not math.isfinite(total):
            raise FloatingPointError(f"total loss is {total}; terms: {losses}")
        for group, rate in zip(self.optimizer.param_groups, learning_rates, strict=True):
            group["lr"] = rate
        if update:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.ema.update(self.model, ema_decay)
        self._synchronise()
        seconds = time.perf_counter() - start
        return StepRecord(losses, total, norm, seconds, matching="")

    def predict(self, images: Arrays) -> Detections:
        """Detections of the averaged model on ``images`` [B, 3, H, W] of ``sizes_wh`` [B, 2]."""
        self.averaged.load_state_dict(self.ema.state(), strict=False)  # the average has no integer counters
        self._synchronise()
        return predict(self.averaged, images, self.spec)

    def state(self) -> Arrays:
        """Parameters and averages under canonical names, for tests; without moments, so a run cannot resume."""
        names = list(state_shapes(self.spec.model))
        state = {name: to_numpy(value) for name, value in self.model.state_dict().items()}
        averages = {name: to_numpy(value) for name, value in self.ema.state().items()}
        canonical = from_huggingface(state, names)
        averaged = from_huggingface(state | averages, names)
        return {f"parameter/{n}": a for n, a in canonical.items()} | {f"ema/{n}": a for n, a in averaged.items()}

    def load(self, state: Arrays) -> None:
        """Raise NotImplementedError: a comparison starts from weights and is never resumed."""
        raise NotImplementedError("a comparison starts from weights and is never resumed")

    def peak_memory_mb(self) -> float:
        """Peak resident memory on CPU, peak allocated memory on GPU, in MB."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return peak_resident_mb()

    def _optimizer(self) -> torch.optim.AdamW:
        """AdamW over the recipe's groups, whose patterns match canonical names; untrained parameters are frozen."""
        recipe, model = self.spec.recipe, self.spec.model
        if recipe.optimizer != "adamw":
            raise UserError(f"recipe.optimizer is {recipe.optimizer!r}, but {NAME} is trained with adamw alone")
        groups: list[dict[str, Any]] = [
            {"params": [], "lr": group.lr, "weight_decay": group.weight_decay} for group in recipe.groups
        ]
        table = name_table(list(state_shapes(model)))
        trained = set(trainable_names(model))
        for name, parameter in self.model.named_parameters():
            canonical, _ = table[name]
            parameter.requires_grad_(canonical in trained and not recipe.is_frozen(canonical))
            if parameter.requires_grad:
                groups[recipe.group_of(canonical)]["params"].append(parameter)
        return torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps)

    def _clip(self, limit: float) -> float:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return float(torch.nn.utils.clip_grad_norm_(parameters, limit or float("inf")))  # 0 is "no clipping"

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def predict(model: Model, images: Arrays, spec: ExperimentSpec) -> Detections:
    """Scored boxes of one batch: Hugging Face's forward pass, then the PyTorch twin's post-processing.

    Args:
        images: ``images`` [B, 3, H, W] and ``sizes_wh`` [B, 2] in pixels.
    """
    start = time.perf_counter()
    model.eval()
    with torch.no_grad():
        outputs = model(pixel_values=to_tensor(images["images"], model))
        prediction = tracing.prediction(outputs, spec.model.decoder.eval_layer)
        sizes_wh_B2, queries = to_tensor(images["sizes_wh"], model), spec.model.decoder.num_queries
        focal = spec.criterion.matcher.use_focal_loss
        results = postprocess(prediction, sizes_wh_B2, queries, use_focal_loss=focal)
    return Detections(trace_names.detections(*map(to_numpy, results)), time.perf_counter() - start)


class HuggingFace:
    """The members of ``frameworks.protocol.Framework`` that a comparison uses; see there."""

    name = NAME

    def supports(self, device: str, dtype: str) -> str | None:
        """None, or why this device or dtype cannot be used: the PyTorch twin's reasons."""
        return TORCH.supports(device, dtype)

    def environment(self, device: str) -> Mapping[str, Any]:
        """Versions, flags and threads, as plain values."""
        return {
            "framework": NAME,
            "version": importlib.metadata.version("transformers"),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
            "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        }

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        """Canonical names and shapes of the model that transformers builds for ``spec``."""
        state = empty(spec, CriterionSpec()).state_dict()
        arrays = {name: to_numpy(value) for name, value in state.items()}
        return {n: a.shape for n, a in from_huggingface(arrays, list(state_shapes(spec))).items()}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """The arrays of ``tracing``; for cases of ``QUESTIONS`` only, without optimizer steps and single modules.

        Raises:
            UserError: another case, or Hugging Face's configuration cannot represent the model.
        """
        if case.question not in QUESTIONS:
            raise UserError(f"{NAME} traces only {', '.join(map(repr, QUESTIONS))}, not {case.question!r}")
        model = build(case.spec.model, case.spec.criterion, weights, device, DTYPES[dtype])
        return QUESTIONS[case.question](case, model, inputs)

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str) -> TrainingRun:
        """A model in training, started from canonical ``weights``."""
        require_precision(spec.recipe, self.name)
        return TrainingRun(spec, weights, device)

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        """Detections of one batch: ``images`` [B, 3, H, W] and ``sizes_wh`` [B, 2]."""
        model = build(spec.model, spec.criterion, weights, device, torch.float32)
        return predict(model, images, spec)

    def profile_inference(
        self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str, repeats: int
    ) -> dict[str, Any]:
        """Where the time of an inference goes, as ``profiling.profile_inference`` returns it."""
        from frameworks.hf_rtdetr.profiling import profile_inference  # only here: no comparison needs it

        model = build(spec.model, spec.criterion, weights, device, torch.float32)
        return profile_inference(model, spec.model, lambda: predict(model, images, spec), repeats)


FRAMEWORK = HuggingFace()

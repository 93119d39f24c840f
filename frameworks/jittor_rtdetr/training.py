"""One training step and its state: what this framework gives to the common training loop."""

import time
from dataclasses import replace
from pathlib import Path

import jittor as jt
import numpy as np
from jittor import Var

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec
from frameworks.jittor_rtdetr.criterion import criterion, total_loss
from frameworks.jittor_rtdetr.decoder import Outputs, Prediction
from frameworks.jittor_rtdetr.denoising import Targets
from frameworks.jittor_rtdetr.deploy import deploy
from frameworks.jittor_rtdetr.ema import ModelEMA
from frameworks.jittor_rtdetr.exchange import (
    COUNTER,
    build,
    connected,
    freeze,
    read_noise,
    read_targets,
    set_training,
    state_arrays,
    to_arrays,
    to_numpy,
    to_tensor,
    trainable,
)
from frameworks.jittor_rtdetr.model import RTDETR
from frameworks.jittor_rtdetr.optimizer import Optimizer, add_gradients, clip_gradients
from frameworks.jittor_rtdetr.postprocess import postprocess
from frameworks.jittor_rtdetr.runtime.compiled import CompiledKernels
from frameworks.protocol import Detections, StepRecord
from frameworks.shared import trace_names
from frameworks.shared.memory import peak_resident_mb

TOTAL = "total"  # name of the sum among the loss terms


class TrainingRun:
    """Model, optimizer and average of one run, in float32."""

    def __init__(self, spec: ExperimentSpec, weights: Arrays, device: str) -> None:
        self.spec = spec
        self.device = device
        self.model = build(spec.model, weights, "float32")
        freeze(self.model, spec.recipe)
        self.optimizer = Optimizer(trainable(self.model), spec.recipe)
        self.accumulated: dict[str, Var] = {}  # gradients of the batches since the last update
        self.ema = ModelEMA(self.model)
        self.kernels = CompiledKernels(Path(jt.flags.cache_path) / "jit")
        self.averaged: RTDETR | None = None  # the average as a model, from a prediction until the next step

    def step(
        self, batch: Arrays, learning_rates: list[float], ema_decay: float, update: bool = True, share: float = 1.0
    ) -> StepRecord:
        """One training step on one batch (inputs of ``protocol.Case`` for training), see ``protocol.Stepper``.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        start = time.perf_counter()
        self.averaged = None
        terms, gradients, matching = self._loss_and_gradients(batch)
        self.accumulated = add_gradients(self.accumulated, gradients, share)
        clipped, norm = clip_gradients(self.accumulated, self.spec.recipe.clip_max_norm)
        losses = {name: float(value.item()) for name, value in terms.items()}
        total = losses.pop(TOTAL)
        if not np.isfinite(total):
            raise FloatingPointError(f"total loss is {total}; terms: {losses}")
        if update:
            self.accumulated = {}
            self.optimizer.step(clipped, learning_rates)
            self.ema.update(self.model, ema_decay)
        self._synchronise()
        seconds, compiled = time.perf_counter() - start, self.kernels.count_new()
        return StepRecord(losses, total, float(norm.item()), seconds, matching, *compiled)

    def _loss_and_gradients(self, batch: Arrays) -> tuple[dict[str, Var], dict[str, Var], str]:
        """Loss terms with their sum, gradients by parameter, hash of matchings; none holds on to the graph.

        Jittor frees an intermediate result after its last use only if nothing that depends on it can still be
        differentiated: with the outputs alive, every activation would stay until the step ends.
        """
        set_training(self.model, True)
        targets = read_targets(batch, self.model)
        images = to_tensor(batch["images"], self.model).stop_grad()
        outputs = self.model(images, targets, read_noise(batch, self.model))
        terms, matchings = criterion(outputs, targets, self.spec.criterion)
        total = total_loss(terms)
        parameters = connected(self.model, outputs, self.spec.criterion)
        gradients = jt.grad(total, list(parameters.values()), retain_graph=False)
        values = {name: value.detach() for name, value in (terms | {TOTAL: total}).items()}
        return values, dict(zip(parameters, gradients, strict=True)), trace_names.matching_hash(matchings)

    def predict(self, images: Arrays) -> Detections:
        """Detections of the averaged (EMA) model; ``images`` [B, 3, H, W] and ``sizes_wh`` [B, 2]."""
        if self.averaged is None:
            state = state_arrays(self.model) | to_arrays(self.ema.state())  # the average has no counters
            self.averaged = inference_model(self.spec.model, state)
        found = predict(self.averaged, images, self.spec)
        kernels, seconds = self.kernels.count_new()
        return replace(found, kernels_compiled=kernels, compile_seconds=seconds)

    def state(self) -> Arrays:
        """Parameters, moments, averages and accumulated gradients under the names of the protocol."""
        pending = trace_names.prefixed("accumulated", to_arrays(self.accumulated))
        return training_state(self.model, self.optimizer, self.ema) | pending

    def load(self, state: Arrays) -> None:
        """Restore a run from ``state()``."""
        self.averaged = None
        modules = dict(self.model.named_modules())
        parameters = self.model.state_dict()
        for name, array in trace_names.below("parameter", state).items():
            if name.endswith(COUNTER):
                modules[name.rpartition(".")[0]].num_batches_tracked = int(array)
            else:
                parameters[name].update(jt.array(array))
        self.optimizer.load({name: jt.array(np.atleast_1d(array)) for name, array in state.items()})
        self.ema.load({name: jt.array(array) for name, array in trace_names.below("ema", state).items()})
        pending = trace_names.below("accumulated", state)
        self.accumulated = {name: to_tensor(array, self.model).stop_grad() for name, array in pending.items()}

    def peak_memory_mb(self) -> float:
        """Peak memory in MB: resident on CPU, allocated on GPU."""
        if self.device == "cuda":
            return jt.get_mem_info().total_cuda_used / 2**20
        return peak_resident_mb()

    def _synchronise(self) -> None:
        jt.sync_all(True)


def training_state(model: RTDETR, optimizer: Optimizer, ema: ModelEMA) -> Arrays:
    """Parameters, moments and averages under the names of the protocol."""
    return trace_names.training_state(state_arrays(model), to_arrays(optimizer.state()), to_arrays(ema.state()))


def inference_model(spec: ModelSpec, weights: Arrays) -> RTDETR:
    """The model of a spec in evaluation mode and deploy form: same results to rounding, sooner."""
    model = build(spec, weights, "float32")
    set_training(model, False)
    deploy(model)
    return model


def predict(model: RTDETR, images: Arrays, spec: ExperimentSpec) -> Detections:
    """Scored boxes of one batch by an ``inference_model``; ``images`` [B, 3, H, W] and ``sizes_wh`` [B, 2].

    With ``labels``, ``boxes`` and ``counts`` of the first images, also the losses of these images.
    """
    start = time.perf_counter()
    with jt.no_grad():
        outputs = model(to_tensor(images["images"], model))
        sizes_wh_B2, queries = to_tensor(images["sizes_wh"], model), spec.model.decoder.num_queries
        focal = spec.criterion.matcher.use_focal_loss
        results = postprocess(outputs.layers[-1], sizes_wh_B2, queries, use_focal_loss=focal)
        found = trace_names.detections(*map(to_numpy, results))
        seconds = time.perf_counter() - start
        losses = final_losses(outputs, read_targets(images, model), spec) if "counts" in images else {}
    return Detections(found, seconds, losses=losses)


def final_losses(outputs: Outputs, targets: Targets, spec: ExperimentSpec) -> dict[str, float]:
    """Weighted loss terms of the final predictions of the first images, those that have targets."""
    count, final = len(targets.labels), outputs.layers[-1]
    first = Prediction(final.logits[:count], final.boxes_cxcywh[:count])
    terms, _ = criterion(replace(outputs, layers=[first]), targets, replace(spec.criterion, aux_loss=False))
    return {name: float(value.item()) for name, value in terms.items()}

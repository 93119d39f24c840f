"""Adapter for a user's checkout of the official RT-DETR code: what a benchmark needs of the framework protocol.

Model, losses, denoising queries and average are the official code's own, its parameter names the canonical ones.
Nothing of it is part of this project: ``frameworks.official_rtdetr.source`` says where it is looked for.
"""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from frameworks import require_precision
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, ModelSpec, preset
from frameworks.errors import UserError
from frameworks.official_rtdetr.source import NAME, checkout, configuration_file
from frameworks.protocol import Case, Detections, StepRecord
from frameworks.shared import trace_names
from frameworks.shared.memory import peak_resident_mb
from frameworks.torch_rtdetr.adapter import DTYPES
from frameworks.torch_rtdetr.adapter import FRAMEWORK as TORCH  # importing it sets torch's threads and flags
from frameworks.torch_rtdetr.decoder import Prediction
from frameworks.torch_rtdetr.exchange import load_strictly, read_targets, to_numpy, to_tensor
from frameworks.torch_rtdetr.postprocess import postprocess

COMPUTED = ("num_points_scale", "anchors", "valid_mask")  # entries of RT-DETRv2's state that are not weights
SETTINGS = {"pretrained": False, "multi_scale": None}  # no download, no other size than the batch's


def configuration(spec: ExperimentSpec) -> Any:
    """The official configuration object of the spec's preset, without downloads and for images of any size.

    Raises:
        UserError: no checkout, no configuration file of this preset, losses other than that file's, or a package
            that the official code needs.
    """
    folder = checkout()
    path = configuration_file(folder, spec.name)
    if spec.criterion != preset(spec.name).criterion:
        raise UserError(
            f"{NAME} trains with the losses of its own file for {spec.name}, not with these; leave it out"
        )
    sys.path.insert(0, str(folder))
    try:
        from src.core import YAMLConfig  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UserError(f"the official code in {folder} needs the package {error.name!r}: pip install it") from None
    found = YAMLConfig(str(path))
    found.yaml_cfg["eval_spatial_size"] = None  # else positions and anchors are those of 640 pixels
    for section in found.yaml_cfg.values():
        if isinstance(section, dict):
            section.update({key: value for key, value in SETTINGS.items() if key in section})
    return found


def fill(model: torch.nn.Module, weights: Arrays, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """``model`` with canonical weights. Raises ValueError if names or shapes differ."""
    model.to(device=device, dtype=dtype)
    computed = {name: to_numpy(value) for name, value in model.state_dict().items() if name.endswith(COMPUTED)}
    with torch.no_grad():
        load_strictly(model, weights | computed)
    return model


class TrainingRun:
    """Train the official model with its loss and its average in float32; clipping and groups are the recipe's."""

    def __init__(self, spec: ExperimentSpec, weights: Arrays, device: str) -> None:
        self.spec, self.device = spec, device
        official = configuration(spec)
        self.model = fill(official.model, weights, device, torch.float32)
        self.criterion, self.ema = official.criterion.to(device), official.ema
        groups: list[dict[str, Any]] = [
            {"params": [], "lr": group.lr, "weight_decay": group.weight_decay} for group in spec.recipe.groups
        ]
        if spec.recipe.optimizer != "adamw":
            raise UserError(
                f"recipe.optimizer is {spec.recipe.optimizer!r}, but {NAME} is trained with adamw alone"
            )
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and not spec.recipe.is_frozen(name))
            if parameter.requires_grad:
                groups[spec.recipe.group_of(name)]["params"].append(parameter)
        self.optimizer = torch.optim.AdamW(groups, betas=spec.recipe.betas, eps=spec.recipe.eps)

    def step(
        self, batch: Arrays, learning_rates: list[float], ema_decay: float, update: bool = True, share: float = 1.0
    ) -> StepRecord:
        """Run one training step: forward, loss, backward, clip, update, average.

        The official code draws the denoising noise itself, has its own decay and does not return the matching.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        start = time.perf_counter()
        self.model.train()
        self.criterion.train()
        given = read_targets(batch, self.model)
        pairs = zip(given.labels, given.boxes_cxcywh, strict=True)
        targets = [{"labels": labels, "boxes": boxes} for labels, boxes in pairs]
        outputs = self.model(to_tensor(batch["images"], self.model), targets)
        terms: dict[str, Tensor] = self.criterion(outputs, targets)
        total = torch.stack(list(terms.values())).sum()
        (total * share).backward()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        limit = (self.spec.recipe.clip_max_norm if update else 0.0) or float(
            "inf"
        )  # 0 is "no clipping" in the spec
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        losses = {name: float(value.detach()) for name, value in terms.items()}
        if not math.isfinite(float(total.detach())):
            raise FloatingPointError(f"total loss is {float(total.detach())}; terms: {losses}")
        for group, rate in zip(self.optimizer.param_groups, learning_rates, strict=True):
            group["lr"] = rate
        if update:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.ema.update(self.model)
        seconds = time.perf_counter() - start
        return StepRecord(losses, float(total.detach()), norm, seconds, matching="")

    def predict(self, images: Arrays) -> Detections:
        """Detections of the averaged model on ``images`` [B, 3, H, W] of ``sizes_wh`` [B, 2]."""
        return predict(self.ema.module, images, self.spec.model)

    def peak_memory_mb(self) -> float:
        """Peak resident memory on CPU, peak allocated memory on GPU, in MB."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else peak_resident_mb()


def predict(model: torch.nn.Module, images: Arrays, spec: ModelSpec) -> Detections:
    """Scored boxes of one batch: the official forward pass, then the PyTorch twin's post-processing."""
    start = time.perf_counter()
    model.eval()
    with torch.no_grad():
        outputs = model(to_tensor(images["images"], model))
        prediction = Prediction(outputs["pred_logits"], outputs["pred_boxes"])
        results = postprocess(prediction, to_tensor(images["sizes_wh"], model), spec.decoder.num_queries)
    return Detections(trace_names.detections(*map(to_numpy, results)), time.perf_counter() - start)


class Official:
    """The members of ``frameworks.protocol.Framework`` that a benchmark uses; see there."""

    name = NAME

    def supports(self, device: str, dtype: str) -> str | None:
        """None, or why this device or dtype cannot be used: the PyTorch twin's reasons."""
        return TORCH.supports(device, dtype)

    def environment(self, device: str) -> Mapping[str, Any]:
        """Versions and threads, as plain values."""
        return dict(TORCH.environment(device)) | {"framework": NAME, "version": checkout().name}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """Predictions in evaluation mode. Raises UserError for another case."""
        if case.question != "forward" or case.training or case.deploy:
            raise UserError(f"{NAME} traces only 'forward' in evaluation mode, not {case.question!r}")
        model = fill(configuration(case.spec).model, weights, device, DTYPES[dtype]).eval()
        with torch.no_grad():
            outputs = model(to_tensor(inputs["images"], model))
        return {f"forward/{name}": to_numpy(outputs[name]) for name in ("pred_logits", "pred_boxes")}

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str) -> TrainingRun:
        """A model in training, started from canonical ``weights``."""
        require_precision(spec.recipe, self.name)
        return TrainingRun(spec, weights, device)


FRAMEWORK = Official()

"""Hugging Face's RT-DETR with our weights, behind as much of the framework protocol as a comparison needs.

It is a third implementation to compare with, not a twin: its modelling, loss and denoising code stay its own.
Nothing is downloaded: the model is built from a configuration and filled from canonical arrays.
"""

import functools
import math
import os
import resource
import time
from collections.abc import Mapping
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before the import: a benchmark must not wait for a network

import numpy as np
import torch
import transformers  # pyright: ignore[reportMissingImports]
from torch import Tensor
from transformers import (  # pyright: ignore[reportMissingImports]
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
)

from experiments.hf_names import Rule, from_hf, name_table, read_rules, require_supported, to_hf
from frameworks.arrays import Arrays
from frameworks.errors import UserError
from frameworks.parameters import state_shapes, trainable_names
from frameworks.protocol import Case, Detections, StepRecord
from frameworks.spec import CriterionSpec, ExperimentSpec, ModelSpec
from frameworks.torch_rtdetr.adapter import FRAMEWORK as TORCH  # sets its threads and flags here too
from frameworks.torch_rtdetr.decoder import Prediction
from frameworks.torch_rtdetr.ema import ModelEMA
from frameworks.torch_rtdetr.exchange import read_targets, to_numpy, to_tensor
from frameworks.torch_rtdetr.postprocess import postprocess

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def configuration(spec: ModelSpec, criterion: CriterionSpec) -> RTDetrConfig:
    """The whole configuration, explicit where Hugging Face's default is another model's.

    Raises:
        UserError: the model cannot be expressed.
    """
    require_supported(spec)
    encoder, decoder, matcher = spec.encoder, spec.decoder, criterion.matcher
    return RTDetrConfig(
        backbone_config=_backbone(spec),
        num_labels=spec.num_classes,  # pyright: ignore[reportCallIssue]
        freeze_backbone_batch_norms=spec.backbone.freeze_norm,  # their default freezes even where none should be
        d_model=encoder.hidden_dim, encoder_hidden_dim=encoder.hidden_dim,
        encoder_in_channels=list(spec.backbone.out_channels), feat_strides=list(spec.backbone.out_strides),
        encode_proj_layers=list(encoder.use_encoder_idx), encoder_layers=encoder.num_encoder_layers,
        encoder_attention_heads=encoder.nhead, encoder_ffn_dim=encoder.dim_feedforward,
        encoder_activation_function=encoder.enc_act, activation_function=encoder.act,
        hidden_expansion=encoder.expansion, positional_encoding_temperature=int(encoder.pe_temperature),
        eval_size=None, anchor_image_size=None, normalize_before=False,
        dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
        decoder_in_channels=[encoder.hidden_dim] * spec.num_levels, num_feature_levels=spec.num_levels,
        num_queries=decoder.num_queries, decoder_layers=decoder.num_layers,
        decoder_attention_heads=decoder.nhead, decoder_n_points=decoder.num_points,
        decoder_ffn_dim=decoder.dim_feedforward, decoder_activation_function=decoder.activation,
        num_denoising=decoder.num_denoising, label_noise_ratio=decoder.label_noise_ratio,
        box_noise_scale=decoder.box_noise_scale, learn_initial_query=False, with_box_refine=True,
        matcher_class_cost=matcher.cost_class, matcher_bbox_cost=matcher.cost_bbox,
        matcher_giou_cost=matcher.cost_giou, matcher_alpha=matcher.alpha, matcher_gamma=matcher.gamma,
        auxiliary_loss=criterion.aux_loss, focal_loss_alpha=criterion.alpha, focal_loss_gamma=criterion.gamma,
        weight_loss_vfl=criterion.weight_vfl, weight_loss_bbox=criterion.weight_bbox,
        weight_loss_giou=criterion.weight_giou,
    )  # fmt: skip


def _backbone(spec: ModelSpec) -> RTDetrResNetConfig:
    backbone = spec.backbone
    return RTDetrResNetConfig(
        embedding_size=backbone.stem_channels[-1],
        hidden_sizes=[width * backbone.expansion for width in backbone.stage_channels],
        depths=list(backbone.blocks),
        layer_type=backbone.block,
        hidden_act="relu",
        downsample_in_first_stage=False,
        downsample_in_bottleneck=False,
        out_features=[f"stage{index + 1}" for index in backbone.return_idx],  # pyright: ignore[reportCallIssue]
    )


def build(
    spec: ModelSpec, criterion: CriterionSpec, weights: Arrays, device: str, dtype: torch.dtype,
    rules: list[Rule] | None = None,
) -> RTDetrForObjectDetection:  # fmt: skip
    """The model with these weights, loaded strictly: nothing missing, nothing left over.

    Raises:
        UserError: the model cannot be expressed.
        ValueError: a name is not mapped, or names or shapes differ.
    """
    model: Any = RTDetrForObjectDetection(configuration(spec, criterion))
    model.to(device=device, dtype=dtype)
    state = model.state_dict()
    mapped = to_hf(weights, read_rules() if rules is None else rules)
    if wrong := sorted(mapped.keys() ^ state.keys()):
        raise ValueError(f"mapped weights and model differ in {len(wrong)} names, first {wrong[:3]}")
    for name, value in state.items():
        if tuple(value.shape) != mapped[name].shape:
            raise ValueError(f"{name}: weights have shape {mapped[name].shape}, the model {tuple(value.shape)}")
        value.copy_(torch.from_numpy(np.array(mapped[name])))
    return model


class TrainingRun:
    """Hugging Face's model and loss with the recipe's clipping, AdamW groups and EMA, in float32."""

    def __init__(self, spec: ExperimentSpec, weights: Arrays, device: str) -> None:
        self.spec = spec
        self.device = device
        make = functools.partial(build, spec.model, spec.criterion, weights, device, torch.float32)
        self.model, self.averaged = make(), make()
        self.ema = ModelEMA(self.model)
        self.optimizer = self._optimizer()

    def step(self, batch: Arrays, learning_rates: list[float], ema_decay: float) -> StepRecord:
        """Forward, their loss, backward, clip, update, average; denoising noise is their own draw.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        start = time.perf_counter()
        self.model.train()
        images = to_tensor(batch["images"], self.model)
        outputs = self.model(pixel_values=images, labels=_labels(batch, self.model))
        self.optimizer.zero_grad(set_to_none=True)
        outputs.loss.backward()
        norm = self._clip()
        losses = {name: float(value.detach()) for name, value in outputs.loss_dict.items()}
        total = float(outputs.loss.detach())
        if not math.isfinite(total):
            raise FloatingPointError(f"total loss is {total}; terms: {losses}")
        for group, rate in zip(self.optimizer.param_groups, learning_rates, strict=True):
            group["lr"] = rate
        self.optimizer.step()
        self.ema.update(self.model, ema_decay)
        self._synchronise()
        seconds = time.perf_counter() - start
        return StepRecord(losses, total, norm, seconds, matching="")  # their loss keeps it to itself

    def predict(self, images: Arrays) -> Detections:
        """Detections of the averaged model."""
        state = self.averaged.state_dict()
        for name, value in self.ema.state().items():
            state[name].copy_(value)
        self._synchronise()
        return predict(self.averaged, images, self.spec.model.decoder.num_queries)

    def state(self) -> Arrays:
        """Parameters and averages under canonical names, for tests; no moments, so nothing can be resumed."""
        names, rules = list(state_shapes(self.spec.model)), read_rules()
        state = {name: to_numpy(value) for name, value in self.model.state_dict().items()}
        averages = {name: to_numpy(value) for name, value in self.ema.state().items()}
        canonical = from_hf(state, names, rules)
        averaged = from_hf(state | averages, names, rules)
        return {f"parameter/{n}": a for n, a in canonical.items()} | {f"ema/{n}": a for n, a in averaged.items()}

    def load(self, state: Arrays) -> None:
        raise NotImplementedError("a comparison starts from weights and is never resumed")

    def peak_memory_mb(self) -> float:
        """Peak resident memory on CPU, peak allocated memory on GPU."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def _optimizer(self) -> torch.optim.AdamW:
        """The recipe's groups are patterns over canonical names: look every parameter up in the map."""
        recipe, model = self.spec.recipe, self.spec.model
        groups: list[dict[str, Any]] = [
            {"params": [], "lr": group.lr, "weight_decay": group.weight_decay} for group in recipe.groups
        ]
        table = name_table(list(state_shapes(model)), read_rules())
        trained = set(trainable_names(model))
        for name, parameter in self.model.named_parameters():
            canonical, _ = table[name]
            parameter.requires_grad_(canonical in trained)
            if canonical in trained:
                groups[recipe.group_of(canonical)]["params"].append(parameter)
        return torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps)

    def _clip(self) -> float:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        limit = self.spec.recipe.clip_max_norm or float("inf")  # 0 is "no clipping" in the spec
        return float(torch.nn.utils.clip_grad_norm_(parameters, limit))

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def predict(model: RTDetrForObjectDetection, images: Arrays, num_queries: int) -> Detections:
    """Scored boxes of one batch: their forward pass, then the torch twin's post-processing."""
    start = time.perf_counter()
    model.eval()
    with torch.no_grad():
        outputs = model(pixel_values=to_tensor(images["images"], model))
        prediction = Prediction(outputs.logits, outputs.pred_boxes)
        results = postprocess(prediction, to_tensor(images["sizes_wh"], model), num_queries)
    arrays = {n: to_numpy(v) for n, v in zip(("labels", "boxes", "scores"), results, strict=True)}
    return Detections(arrays, time.perf_counter() - start)


def _labels(batch: Arrays, model: RTDetrForObjectDetection) -> list[dict[str, Tensor]]:
    targets = read_targets(batch, model)
    pairs = zip(targets.labels, targets.boxes_cxcywh, strict=True)
    return [{"class_labels": labels, "boxes": boxes} for labels, boxes in pairs]


class HuggingFace:
    """The members of ``frameworks.protocol.Framework`` that a comparison uses."""

    name = "hf"

    def supports(self, device: str, dtype: str) -> str | None:
        return TORCH.supports(device, dtype)

    def environment(self, device: str) -> Mapping[str, Any]:
        return {
            "framework": "hf",
            "version": transformers.__version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
            "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        }

    def parameter_shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        state = RTDetrForObjectDetection(configuration(spec, CriterionSpec())).state_dict()
        arrays = {name: to_numpy(value) for name, value in state.items()}
        return {n: a.shape for n, a in from_hf(arrays, list(state_shapes(spec)), read_rules()).items()}

    def trace(self, case: Case, weights: Arrays, inputs: Arrays, *, device: str, dtype: str) -> Arrays:
        """Evaluation-mode logits and boxes; nothing else is asked of a model that is only timed."""
        if case.question != "forward" or case.training:
            raise UserError(f"hf answers only 'forward' in evaluation mode, not {case.question!r}")
        model = build(case.spec.model, case.spec.criterion, weights, device, DTYPES[dtype]).eval()
        with torch.no_grad():
            outputs = model(pixel_values=to_tensor(inputs["images"], model))
        return {
            "forward/pred_logits": to_numpy(outputs.logits),
            "forward/pred_boxes": to_numpy(outputs.pred_boxes),
        }

    def trainer(self, spec: ExperimentSpec, weights: Arrays, *, device: str) -> TrainingRun:
        return TrainingRun(spec, weights, device)

    def predict(self, spec: ExperimentSpec, weights: Arrays, images: Arrays, *, device: str) -> Detections:
        model = build(spec.model, spec.criterion, weights, device, torch.float32)
        return predict(model, images, spec.model.decoder.num_queries)


FRAMEWORK = HuggingFace()

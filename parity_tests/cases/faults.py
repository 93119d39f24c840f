"""Common porting mistakes, each with the stage and module that the judge must report.

They are planted in the PyTorch twin, which is fast, by patching names during one trace. test_judge.py plants the
one that only Jittor can have, ``stop_grad`` in place of ``detach``.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec, MatcherSpec
from frameworks.torch_rtdetr import attention, criterion, decoder, denoising, encoder, layers
from frameworks.torch_rtdetr.backbones import dla, hgnetv2, regnet

Patch = Callable[[], AbstractContextManager[Any]]


def _nothing() -> AbstractContextManager[Any]:
    return contextlib.nullcontext()


def _same(value: Any) -> Any:
    return value


class Report(NamedTuple):
    """What the judge must report about a fault."""

    stage: str  # of the failing comparison
    module: str  # that blame must name
    where: str  # see blame.Culprit


@dataclass(frozen=True)
class Fault:
    """A porting mistake, how it is planted, and what the judge must report."""

    name: str
    expected: Report
    subject: str = "tiny"  # see cases.subject
    patch: Patch = _nothing
    weights: Callable[[Arrays], Arrays] = _same
    spec: Callable[[ExperimentSpec], ExperimentSpec] = _same
    trace: Callable[[Arrays], Arrays] = _same


def _changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: change(arrays[name])}


def _with_criterion(**fields: Any) -> Callable[[ExperimentSpec], ExperimentSpec]:
    return lambda spec: replace(spec, criterion=replace(spec.criterion, **fields))


def _norm_with(**attributes: float) -> Patch:
    """Every batch norm built with other constants."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        original = layers.BatchNorm2d.__init__

        def init(self: layers.BatchNorm2d, channels: int) -> None:
            original(self, channels)
            for name, value in attributes.items():
                setattr(self, name, value)

        with mock.patch.object(layers.BatchNorm2d, "__init__", init):
            yield

    return patch


def _within(owner: Any, method: str, inside: Callable[[], AbstractContextManager[Any]]) -> Patch:
    """Another context manager, active only while ``owner.method`` runs."""

    def patch() -> AbstractContextManager[Any]:
        original = getattr(owner, method)

        def wrapped(*arguments: Any) -> Any:
            with inside():
                return original(*arguments)

        return mock.patch.object(owner, method, wrapped)

    return patch


def _no_detach() -> AbstractContextManager[Any]:
    return mock.patch.object(torch.Tensor, "detach", lambda tensor: tensor)


def _wrong_gelu(name: str, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate="tanh") if name == "gelu" else layers.activation(name, x)


def _no_gradient_through_powers() -> AbstractContextManager[Any]:
    original = torch.Tensor.__pow__
    return mock.patch.object(torch.Tensor, "__pow__", lambda x, exponent: original(x.detach(), exponent))


def _swapped_corners(cxcywh: torch.Tensor) -> torch.Tensor:
    cx, cy, w, h = cxcywh.unbind(-1)  # width and height exchanged
    return torch.stack([cx - 0.5 * h, cy - 0.5 * w, cx + 0.5 * h, cy + 0.5 * w], dim=-1)


def _ascending_topk(x: torch.Tensor, k: int, dim: int) -> Any:
    values, indices = torch.sort(x, dim=dim, descending=True)
    return torch.return_types.topk((values[:, :k].flip(1), indices[:, :k].flip(1)))


def _row_major_positions(h: int, w: int, dim: int, temperature: float, like: torch.Tensor) -> torch.Tensor:
    grid = ORIGINAL_POSITIONS(h, w, dim, temperature, like).reshape(1, w, h, dim)
    return grid.transpose(1, 2).reshape(1, h * w, dim)


def _aligned_sample(image: torch.Tensor, grid: torch.Tensor, **options: Any) -> torch.Tensor:
    return ORIGINAL_SAMPLE(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _no_offsets_gradient() -> AbstractContextManager[Any]:
    original = attention.sample_levels

    def sample(value: torch.Tensor, locations: torch.Tensor, *rest: Any) -> torch.Tensor:
        return original(value, locations.detach(), *rest)

    return mock.patch.object(attention, "sample_levels", sample)


def _clamped_to_width(value: torch.Tensor, locations: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Discrete sampling as it should have been: the official code clamps x to the height."""
    h, w = size_hw
    x = (locations[..., 0] * w + 0.5).long().clamp(0, w - 1)
    y = (locations[..., 1] * h + 0.5).long().clamp(0, h - 1)
    flat_BHQP = (y * w + x).transpose(1, 2)
    batch, heads, queries, points = flat_BHQP.shape
    index = flat_BHQP.reshape(batch, heads, 1, -1).expand(-1, -1, value.shape[-1], -1)
    return value.permute(0, 2, 3, 1).gather(3, index).unflatten(-1, (queries, points))


def _reversed_cat() -> AbstractContextManager[Any]:
    original = torch.cat
    return mock.patch.object(torch, "cat", lambda tensors, dim: original(list(tensors)[::-1], dim=dim))


def _with_model(part: str, **fields: Any) -> Callable[[ExperimentSpec], ExperimentSpec]:
    def change(spec: ExperimentSpec) -> ExperimentSpec:
        changed = replace(getattr(spec.model, part), **fields)
        return replace(spec, model=replace(spec.model, **{part: changed}))

    return change


def _focal_cost(logits_QK: torch.Tensor, labels_T: torch.Tensor, spec: MatcherSpec) -> torch.Tensor:
    return ORIGINAL_COST(logits_QK, labels_T, replace(spec, use_focal_loss=True))


def _seen_by_all(*arguments: Any) -> torch.Tensor:
    return torch.zeros_like(ORIGINAL_MASK(*arguments))


def _moved_anchors(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    anchors, valid = ORIGINAL_ANCHORS(*arguments)
    return anchors + 0.01, valid


ORIGINAL_MASK, ORIGINAL_ANCHORS = denoising._attention_mask, decoder.make_anchors
ORIGINAL_COST = criterion._class_cost
ORIGINAL_POSITIONS, ORIGINAL_SAMPLE = encoder.position_embedding, F.grid_sample
OUT_PROJ = "encoder.encoder.0.layers.0.self_attn.out_proj.weight"
LATERAL = "encoder.lateral_convs.0.conv.weight"
HEAD_GRADIENT = "gradient/decoder.dec_score_head.0.weight"

FAULTS = [
    Fault(
        "transposed weight",
        Report("activations", "encoder.encoder.0.layers.0.self_attn", "forward"),
        weights=_changed(OUT_PROJ, np.transpose),
    ),
    Fault(
        "permuted channels",
        Report("activations", "encoder.lateral_convs.0", "forward"),
        weights=_changed(LATERAL, lambda w: np.roll(w, 1, axis=0)),
    ),
    Fault("norm eps 1e-3", Report("activations", "backbone.conv1", "forward"), patch=_norm_with(eps=1e-3)),
    Fault(
        "norm momentum 0.01",
        Report("norm statistics", "backbone.conv1", "norm statistics"),
        patch=_norm_with(momentum=0.01),
    ),
    Fault(
        "tanh GELU",
        Report("activations", "encoder.encoder.0", "forward"),
        patch=lambda: mock.patch.object(encoder, "activation", _wrong_gelu),
    ),
    Fault(
        "positions in row-major order",
        Report("activations", "encoder.encoder.0", "inputs"),
        patch=lambda: mock.patch.object(encoder, "position_embedding", _row_major_positions),
    ),
    Fault(
        "align_corners in sampling",
        Report("activations", "decoder.decoder.layers.0.cross_attn", "forward"),
        patch=lambda: mock.patch.object(attention.F, "grid_sample", _aligned_sample),
    ),
    Fault(
        "top-k in ascending order",
        Report("query selection", "decoder", "query selection"),
        patch=lambda: mock.patch.object(decoder.torch, "topk", _ascending_topk),
    ),
    Fault(
        "width and height exchanged in the loss",
        Report("losses", "criterion", "forward"),
        patch=lambda: mock.patch.object(criterion, "cxcywh_to_xyxy", _swapped_corners),
    ),
    Fault("wrong loss weight", Report("losses", "criterion", "forward"), spec=_with_criterion(weight_giou=2.5)),
    Fault("wrong focal exponent", Report("losses", "criterion", "forward"), spec=_with_criterion(gamma=1.5)),
    Fault(
        "dropped auxiliary losses", Report("losses", "criterion", "forward"), spec=_with_criterion(aux_loss=False)
    ),
    Fault(
        "weight of the focal loss without its gradient",
        Report("backward", "criterion", "backward"),
        subject="tiny_sigmoid",
        patch=_within(criterion, "focal_loss", _no_gradient_through_powers),
    ),
    Fault(
        "background of weight 1",
        Report("losses", "criterion", "forward"),
        subject="tiny_softmax",
        spec=_with_criterion(eos_coef=1.0),
    ),
    Fault(
        "focal cost where the matcher has softmax",
        Report("matching", "criterion", "forward"),
        subject="tiny_softmax",
        patch=lambda: mock.patch.object(criterion, "_class_cost", _focal_cost),
    ),
    Fault(
        "box losses weighted by the IoU, not by the GIoU",
        Report("losses", "criterion", "forward"),
        subject="tiny_giou",
        spec=_with_criterion(boxes_weight_format="iou"),
    ),
    Fault(
        "every layer matched by itself",
        Report("matching", "criterion", "forward"),
        subject="tiny_giou",
        spec=_with_criterion(share_matched_indices=False),
    ),
    Fault(
        "selected queries not detached",
        Report("backward", "decoder.enc_bbox_head", "gradient flow"),
        patch=_within(decoder.RTDETRTransformer, "_select", _no_detach),
    ),
    Fault(
        "reference boxes not detached",
        Report("backward", "decoder.dec_bbox_head.0", "gradient flow"),
        patch=_within(decoder.RTDETRTransformer, "_refine", _no_detach),
    ),
    Fault(
        "zero gradient through sampling",
        Report("backward", "decoder.decoder.layers.1.cross_attn", "backward"),
        patch=_no_offsets_gradient,
    ),
    Fault(
        "gradient zeroed on the way out",
        Report("backward", "decoder.dec_score_head.0", "backward"),
        trace=_changed(HEAD_GRADIENT, np.zeros_like),
    ),
    Fault(
        "NaN in one gradient",
        Report("backward", "decoder.dec_score_head.0", "backward"),
        trace=_changed(HEAD_GRADIENT, lambda g: np.where(np.arange(g.size).reshape(g.shape) == 7, np.nan, g)),
    ),
    Fault(
        "missing tensor",
        Report("backward", "decoder.dec_score_head.0", "backward"),
        trace=lambda trace: {name: array for name, array in trace.items() if name != HEAD_GRADIENT},
    ),
    Fault(
        "stem padded left and top",
        Report("activations", "backbone.stem", "forward"),
        subject="tiny_hgnetv2",
        patch=lambda: mock.patch.object(hgnetv2, "RIGHT_AND_BOTTOM", (1, 0, 1, 0)),
    ),
    Fault(
        "concatenated in the other order",
        Report("activations", "backbone.stages.0", "forward"),
        subject="tiny_hgnetv2",
        patch=_within(hgnetv2.Block, "forward", _reversed_cat),
    ),
    Fault(
        "points of the levels exchanged",
        Report("activations", "decoder.decoder.layers.0.cross_attn", "forward"),
        subject="tiny_hgnetv2",
        spec=_with_model("decoder", num_points=(2, 4, 3)),
    ),
    Fault(
        "discrete x clamped to the width",
        Report("activations", "decoder.decoder.layers.0.cross_attn", "forward"),
        subject="tiny_dla",
        patch=lambda: mock.patch.object(attention, "nearest_pixels", _clamped_to_width),
    ),
    Fault(
        "children of a tree in the other order",
        Report("activations", "backbone.model.level2", "forward"),
        subject="tiny_dla",
        patch=_within(dla.Root, "forward", _reversed_cat),
    ),
    Fault(
        "frozen stage trained",
        Report("backward", "backbone.model.level2", "backward"),
        subject="tiny_dla",
        spec=_with_model("backbone", freeze_at=-1),
    ),
    Fault(
        "denoising queries without a mask",
        Report("activations", "denoising", "forward"),
        patch=lambda: mock.patch.object(denoising, "_attention_mask", _seen_by_all),
    ),
    Fault(
        "denoising boxes with half the noise",
        Report("activations", "denoising", "forward"),
        spec=_with_model("decoder", box_noise_scale=0.5),
    ),
    Fault(
        "anchors moved",
        Report("forward", "decoder", "query selection"),
        patch=lambda: mock.patch.object(decoder, "make_anchors", _moved_anchors),
    ),
    Fault(
        "no squeeze and excitation",
        Report("activations", "backbone.model.encoder.stages.0", "forward"),
        subject="tiny_regnet",
        patch=lambda: mock.patch.object(regnet.SqueezeExcitation, "forward", lambda module, x: x),
    ),
]

"""Contrastive denoising queries: noised ground truth that the decoder must repair or reject (training only).

DINO (arXiv 2203.03605) 3.3, which RT-DETR (arXiv 2304.08069) 4.1 adopts. The noise comes as arrays, so that both
twins get the same.

Shape suffixes: B images, T padded targets, N = T * 2 * groups denoising queries, Q matching queries, S = N + Q.
"""

from dataclasses import dataclass

import jittor as jt
import numpy as np
from jittor import Var

from frameworks.config import ModelSpec
from frameworks.jittor_rtdetr.box_ops import cxcywh_to_xyxy, inverse_sigmoid, xyxy_to_cxcywh
from frameworks.jittor_rtdetr.operators import constant

DUMMY_BOX = (0.5, 0.5, 0.1, 0.1)  # cxcywh


@dataclass(frozen=True)
class Targets:
    """Ground truth of a batch, one entry per image; boxes are cxcywh in [0, 1]."""

    labels: list[Var]  # int64 [n]
    boxes_cxcywh: list[Var]  # [n, 4]


@dataclass(frozen=True)
class Noise:
    """Uniform draws for the denoising queries, in query order."""

    label_u_BN: Var  # in [0, 1): the label is replaced where it is below label_noise_ratio / 2
    new_label_BN: Var  # int64, the replacement
    sign_BN4: Var  # -1 or 1
    part_BN4: Var  # in [0, 1): share of half the box's size


@dataclass(frozen=True)
class DenoisingQueries:
    """Inputs of the decoder, and the positives' indices for the criterion."""

    labels_BN: Var  # int64; num_classes is padding
    boxes_unact_BN4: Var  # logits of cxcywh
    blocked_SS: Var  # bool, True where a query (row) must not see a key
    positive_idx: list[Var]  # per image: query index of each positive, group-major
    groups: int


def denoising_groups(num_denoising: int, max_targets: int) -> int:
    """Number of groups for the largest number of targets in an image: about ``num_denoising`` positives in all."""
    return max(1, num_denoising // max_targets) if max_targets else 1


def make_denoising_queries(targets: Targets, noise: Noise | None, spec: ModelSpec) -> DenoisingQueries | None:
    """Denoising queries of a batch, or None (official get_contrastive_denoising_training_group).

    Layout of a group: [T positives | T negatives], images padded to the largest target count. Where no image has
    a target, v1 makes no queries; v2 makes one pair around a dummy box, as background (docs/pitfalls.md E.8).

    Raises:
        ValueError: denoising queries are needed, but no noise was given.
    """
    max_targets = max((labels.shape[0] for labels in targets.labels), default=0)
    decoder = spec.decoder
    if decoder.num_denoising == 0 or (max_targets == 0 and spec.version == "v1"):
        return None
    if noise is None:
        raise ValueError("denoising is on (num_denoising > 0): the batch must have noise arrays")
    groups = denoising_groups(decoder.num_denoising, max_targets)
    labels_BT, boxes_BT4, real_BT = _pad(targets, max_targets, spec.num_classes)
    max_targets = max(max_targets, 1)
    labels_BN = np.tile(labels_BT, (1, 2 * groups))
    boxes_BN4 = jt.array(np.tile(boxes_BT4, (1, 2 * groups, 1)))
    real_BN = np.tile(real_BT, (1, 2 * groups))
    negative_N = np.arange(labels_BN.shape[1]) // max_targets % 2 == 1
    limit = constant(decoder.label_noise_ratio * 0.5, noise.label_u_BN)
    changed_BN = jt.logical_and(noise.label_u_BN < limit, jt.array(real_BN))
    return DenoisingQueries(
        labels_BN=jt.ternary(changed_BN, noise.new_label_BN, jt.array(labels_BN)).stop_grad(),
        boxes_unact_BN4=_noised_boxes(boxes_BN4, negative_N, noise, decoder.box_noise_scale).stop_grad(),
        blocked_SS=_attention_mask(max_targets, groups, decoder.num_queries),
        positive_idx=[jt.array(np.flatnonzero(real_N & ~negative_N)) for real_N in real_BN],
        groups=groups,
    )


def _pad(targets: Targets, max_targets: int, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = targets.boxes_cxcywh[0]
    labels_BT = np.full((len(targets.labels), max(max_targets, 1)), num_classes, np.int64)
    boxes_BT4 = np.zeros((*labels_BT.shape, 4), str(boxes.dtype))
    if max_targets == 0:
        boxes_BT4[:] = DUMMY_BOX
    real_BT = np.zeros(labels_BT.shape, bool)
    for i, (label, box) in enumerate(zip(targets.labels, targets.boxes_cxcywh, strict=True)):
        count = label.shape[0]
        if count:
            labels_BT[i, :count], boxes_BT4[i, :count] = label.numpy(), box.numpy()
        real_BT[i, :count] = True
    return labels_BT, boxes_BT4, real_BT


def _noised_boxes(boxes_BN4: Var, negative_N: np.ndarray, noise: Noise, scale: float) -> Var:
    """Each corner coordinate moves by up to half the box's size in positives, by half to all of it in negatives."""
    corners_BN4 = cxcywh_to_xyxy(boxes_BN4)
    half_size_BN4 = jt.concat([boxes_BN4[..., 2:]] * 2, dim=-1) * 0.5 * constant(scale, boxes_BN4)
    outer_N1 = jt.array(negative_N[:, None].astype(str(boxes_BN4.dtype)))
    part_BN4 = (noise.part_BN4 + outer_N1) * noise.sign_BN4
    moved_BN4 = jt.clamp(corners_BN4 + part_BN4 * half_size_BN4, 0, 1)
    return inverse_sigmoid(xyxy_to_cxcywh(moved_BN4))


def _attention_mask(max_targets: int, groups: int, num_queries: int) -> Var:
    """Bool [S, S]: matching queries see no denoising query; a group sees itself and the matching queries only."""
    denoising = max_targets * 2 * groups
    total = denoising + num_queries
    # Matching queries get group -1; blocked: a denoising key of another group.
    group_S = np.arange(total) // (2 * max_targets)
    group_S[denoising:] = -1
    return jt.array((group_S[:, None] != group_S[None, :]) & (group_S[None, :] >= 0)).stop_grad()

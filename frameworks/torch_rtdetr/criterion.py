"""Hungarian matching and the losses that the spec lists; main, auxiliary, encoder and denoising terms.

RT-DETR (arXiv 2304.08069) 4.3, official SetCriterion (v1) and RTDETRCriterionv2 (v2); matching and cross-entropy as
in DETR (arXiv 2005.12872) 3.1, varifocal loss of arXiv 2008.13367 with the overlap as target, focal loss of arXiv
1708.02002.

Shape suffixes: B batch, Q queries, K classes, T targets of an image, M matched pairs of the batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frameworks.config import CriterionSpec, MatcherSpec
from frameworks.shared.hungarian import Indices, Matching, hungarian
from frameworks.torch_rtdetr.box_ops import cxcywh_to_xyxy, generalized_iou, iou_and_union
from frameworks.torch_rtdetr.decoder import Outputs, Prediction
from frameworks.torch_rtdetr.denoising import DenoisingQueries, Targets


@dataclass(frozen=True)
class Matched:
    """Matched pairs of the whole batch: image [M] and query [M], label [M] and cxcywh box [M, 4] of the target."""

    image_M: Tensor
    query_M: Tensor
    labels_M: Tensor
    boxes_M4: Tensor


def matching_costs(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> list[Tensor]:
    """Weighted sum of class, L1 and GIoU costs: one matrix [Q, T] per image, without gradient."""
    costs = []
    with torch.no_grad():
        for logits_QK, boxes_Q4, labels_T, boxes_T4 in zip(
            prediction.logits, prediction.boxes_cxcywh, targets.labels, targets.boxes_cxcywh, strict=True
        ):
            class_QT = _class_cost(logits_QK, labels_T, spec)
            l1_QT = (boxes_Q4[:, None] - boxes_T4[None]).abs().sum(-1)
            giou_QT = generalized_iou(cxcywh_to_xyxy(boxes_Q4)[:, None], cxcywh_to_xyxy(boxes_T4)[None])
            costs.append(spec.cost_bbox * l1_QT + spec.cost_class * class_QT - spec.cost_giou * giou_QT)
    return costs


def match(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> Matching:
    """Hungarian matching of every image: its costs [Q, T], query indices [n] and target indices [n]."""
    costs_QT = [cost_QT.cpu().numpy() for cost_QT in matching_costs(prediction, targets, spec)]
    return Matching(costs_QT, hungarian(costs_QT))


def denoising_indices(queries: DenoisingQueries, targets: Targets) -> Indices:
    """Pairs of the denoising queries: the positives of every group belong to targets 0..n-1 in order."""
    return [
        (positives.cpu().numpy(), np.tile(np.arange(len(labels)), queries.groups))
        for positives, labels in zip(queries.positive_idx, targets.labels, strict=True)
    ]


def matched(targets: Targets, indices: Indices) -> Matched:
    """The pairs of a matching with their targets."""
    device = targets.labels[0].device
    image_M = np.concatenate([np.full(len(query), i) for i, (query, _) in enumerate(indices)])
    query_M = np.concatenate([query for query, _ in indices])
    chosen = [torch.from_numpy(target).to(device) for _, target in indices]
    labels_M = torch.cat([labels[target] for labels, target in zip(targets.labels, chosen, strict=True)])
    boxes_M4 = torch.cat([boxes[target] for boxes, target in zip(targets.boxes_cxcywh, chosen, strict=True)])
    return Matched(torch.from_numpy(image_M).to(device), torch.from_numpy(query_M).to(device), labels_M, boxes_M4)


def varifocal_loss(prediction: Prediction, pairs: Matched, num_boxes: float, spec: CriterionSpec) -> Tensor:
    """Sum of BCE towards the overlap of matched pairs, divided by ``num_boxes``; negatives weigh alpha * p^gamma.

    No gradient flows through the overlap or through p in the weight.
    """
    logits_BQK = prediction.logits
    with torch.no_grad():
        overlap_M = _overlap(prediction.boxes_cxcywh[pairs.image_M, pairs.query_M], pairs.boxes_M4, spec)
        score_BQK = _at_labels(logits_BQK, pairs, overlap_M)
        onehot_BQK = _onehot(prediction, pairs)
        weight_BQK = spec.alpha * logits_BQK.sigmoid() ** spec.gamma * (1 - onehot_BQK) + score_BQK
    loss_BQK = F.binary_cross_entropy_with_logits(logits_BQK, score_BQK, weight=weight_BQK, reduction="none")
    return loss_BQK.sum() / num_boxes


def focal_loss(prediction: Prediction, pairs: Matched, num_boxes: float, spec: CriterionSpec) -> Tensor:
    """Sum of BCE times (1 - score of the right answer)^gamma, divided by ``num_boxes``.

    Matched classes weigh alpha, all others 1 - alpha. The gradient flows through the score too.
    """
    logits_BQK = prediction.logits
    onehot_BQK = _onehot(prediction, pairs)
    score_BQK = logits_BQK.sigmoid()
    missed_BQK = (1 - score_BQK) * onehot_BQK + score_BQK * (1 - onehot_BQK)
    weight_BQK = spec.alpha * onehot_BQK + (1 - spec.alpha) * (1 - onehot_BQK)
    loss_BQK = F.binary_cross_entropy_with_logits(logits_BQK, onehot_BQK, reduction="none")
    return (weight_BQK * missed_BQK**spec.gamma * loss_BQK).sum() / num_boxes


def bce_loss(prediction: Prediction, pairs: Matched, num_boxes: float) -> Tensor:
    """Sum of BCE towards one at matched classes and zero elsewhere, divided by ``num_boxes``."""
    onehot_BQK = _onehot(prediction, pairs)
    return F.binary_cross_entropy_with_logits(prediction.logits, onehot_BQK, reduction="sum") / num_boxes


def cross_entropy(prediction: Prediction, pairs: Matched, spec: CriterionSpec) -> Tensor:
    """Weighted mean over all queries of -log softmax at the right class; the last class is the background.

    Unmatched queries are background and weigh ``eos_coef``, matched ones 1.
    """
    logits_BQK = prediction.logits
    background = logits_BQK.shape[-1] - 1
    classes_BQ = pairs.labels_M.new_full(logits_BQK.shape[:2], background)
    classes_BQ[pairs.image_M, pairs.query_M] = pairs.labels_M
    weight_K = logits_BQK.new_ones(background + 1)
    weight_K[background] = spec.eos_coef
    return F.cross_entropy(logits_BQK.flatten(0, 1), classes_BQ.flatten(), weight_K)


def box_losses(
    prediction: Prediction, pairs: Matched, num_boxes: float, spec: CriterionSpec
) -> tuple[Tensor, Tensor]:
    """L1 on cxcywh and 1 - GIoU, each summed over matched pairs and divided by ``num_boxes``.

    With a ``boxes_weight_format``, 1 - GIoU of each pair is weighted by its overlap, without gradient through it.
    """
    boxes_M4 = prediction.boxes_cxcywh[pairs.image_M, pairs.query_M]
    l1 = (boxes_M4 - pairs.boxes_M4).abs().sum() / num_boxes
    loss_M = 1 - generalized_iou(cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(pairs.boxes_M4))
    if spec.boxes_weight_format != "none":
        loss_M = loss_M * _overlap(boxes_M4.detach(), pairs.boxes_M4, spec)
    return l1, loss_M.sum() / num_boxes


def criterion(
    outputs: Outputs, targets: Targets, spec: CriterionSpec, forced: list[Indices] | None = None
) -> tuple[dict[str, Tensor], list[Matching]]:
    """Weighted loss terms in the official order, and the matchings they used.

    Args:
        forced: pairs to use in place of the solver's, in the order of the return value; for comparisons across a
            tie, never for training.

    Returns:
        terms ``loss_KIND{,_aux_I,_dn_I}``, the encoder being the last ``aux`` and the kinds those of the spec's
        losses (``config.LOSSES``), and the solver's matchings: main, auxiliary layers, encoder.
    """
    num_boxes = max(float(sum(len(labels) for labels in targets.labels)), 1.0)
    predictions = [("", outputs.layers[-1])]
    if spec.aux_loss:
        extra = [*outputs.layers[:-1], outputs.encoder]
        predictions += [(f"_aux_{i}", prediction) for i, prediction in enumerate(extra)]
    matchings = _matchings(outputs, targets, spec)
    used = [matching.indices for matching in matchings] if forced is None else forced
    terms: dict[str, Tensor] = {}
    for (suffix, prediction), indices in zip(predictions, used, strict=True):
        terms |= _terms(suffix, prediction, matched(targets, indices), num_boxes, spec)
    if outputs.queries is not None:
        pairs = matched(targets, denoising_indices(outputs.queries, targets))
        for i, prediction in enumerate(outputs.denoising):
            terms |= _terms(f"_dn_{i}", prediction, pairs, num_boxes * outputs.queries.groups, spec)
    return terms, matchings


def total_loss(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the weighted terms: the loss to differentiate."""
    return torch.stack(list(terms.values())).sum()


def _class_cost(logits_QK: Tensor, labels_T: Tensor, spec: MatcherSpec) -> Tensor:
    """Focal cost of the target's class, or minus its softmax score; [Q, T]."""
    if not spec.use_focal_loss:
        return -logits_QK.softmax(-1)[:, labels_T]
    score_QT = logits_QK.sigmoid()[:, labels_T]
    negative_QT = (1 - spec.alpha) * score_QT**spec.gamma * -(1 - score_QT + 1e-8).log()
    positive_QT = spec.alpha * (1 - score_QT) ** spec.gamma * -(score_QT + 1e-8).log()
    return positive_QT - negative_QT


def _matchings(outputs: Outputs, targets: Targets, spec: CriterionSpec) -> list[Matching]:
    """Of main prediction, auxiliary layers and encoder; layers may share the main one, the encoder has its own."""
    main = match(outputs.layers[-1], targets, spec.matcher)
    if not spec.aux_loss:
        return [main]
    layers = outputs.layers[:-1]
    if spec.share_matched_indices:
        others = [main] * len(layers)
    else:
        others = [match(layer, targets, spec.matcher) for layer in layers]
    return [main, *others, match(outputs.encoder, targets, spec.matcher)]


def _terms(
    suffix: str, prediction: Prediction, pairs: Matched, num_boxes: float, spec: CriterionSpec
) -> dict[str, Tensor]:
    """The weighted terms of one prediction, in the order of the spec's losses."""
    terms: dict[str, Tensor] = {}
    for loss in spec.losses:
        if loss == "labels":
            terms["ce"] = spec.weight_ce * cross_entropy(prediction, pairs, spec)
        elif loss == "bce":
            terms["bce"] = spec.weight_bce * bce_loss(prediction, pairs, num_boxes)
        elif loss == "focal":
            terms["focal"] = spec.weight_focal * focal_loss(prediction, pairs, num_boxes, spec)
        elif loss == "vfl":
            terms["vfl"] = spec.weight_vfl * varifocal_loss(prediction, pairs, num_boxes, spec)
        else:
            l1, giou = box_losses(prediction, pairs, num_boxes, spec)
            terms |= {"bbox": spec.weight_bbox * l1, "giou": spec.weight_giou * giou}
    return {f"loss_{kind}{suffix}": term for kind, term in terms.items()}


def _overlap(boxes_M4: Tensor, target_M4: Tensor, spec: CriterionSpec) -> Tensor:
    """IoU of matched cxcywh boxes, GIoU where ``boxes_weight_format`` says so; [M]."""
    boxes_xyxy, target_xyxy = cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(target_M4)
    if spec.boxes_weight_format == "giou":
        return generalized_iou(boxes_xyxy, target_xyxy)
    return iou_and_union(boxes_xyxy, target_xyxy)[0]


def _at_labels(like_BQK: Tensor, pairs: Matched, values_M: Tensor) -> Tensor:
    """``values_M`` at image, query and label of the matched pairs, else zero; [B, Q, K]."""
    filled_BQK = torch.zeros_like(like_BQK)
    filled_BQK[pairs.image_M, pairs.query_M, pairs.labels_M] = values_M
    return filled_BQK


def _onehot(prediction: Prediction, pairs: Matched) -> Tensor:
    """One at the class of every matched query, else zero; [B, Q, K]."""
    return _at_labels(prediction.logits, pairs, torch.ones_like(pairs.boxes_M4[:, 0]))

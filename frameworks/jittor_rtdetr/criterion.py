"""Hungarian matching and the losses that the spec lists; main, auxiliary, encoder and denoising terms.

RT-DETR (arXiv 2304.08069) 4.3, official SetCriterion (v1) and RTDETRCriterionv2 (v2); matching and cross-entropy as
in DETR (arXiv 2005.12872) 3.1, varifocal loss of arXiv 2008.13367 with the overlap as target, focal loss of arXiv
1708.02002.

Shape suffixes: B batch, Q queries, K classes, T targets of an image, M matched pairs of the batch.
"""

from dataclasses import dataclass

import jittor as jt
import numpy as np
from jittor import Var

from frameworks.config import CriterionSpec, MatcherSpec
from frameworks.jittor_rtdetr.box_ops import cxcywh_to_xyxy, generalized_iou, iou_and_union
from frameworks.jittor_rtdetr.decoder import Outputs, Prediction
from frameworks.jittor_rtdetr.denoising import DenoisingQueries, Targets
from frameworks.jittor_rtdetr.operators import (
    binary_cross_entropy,
    constant,
    full_sum,
    own_dtype_gradient,
    softmax,
)
from frameworks.shared.hungarian import Indices, Matching, hungarian


@dataclass(frozen=True)
class Matched:
    """Matched pairs of the whole batch: image [M] and query [M], label [M] and cxcywh box [M, 4] of the target."""

    image_M: Var
    query_M: Var
    labels_M: Var
    boxes_M4: Var


def matching_costs(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> list[Var]:
    """Weighted sum of class, L1 and GIoU costs: one matrix [Q, T] per image, without gradient."""
    costs = []
    for i, (labels_T, boxes_T4) in enumerate(zip(targets.labels, targets.boxes_cxcywh, strict=True)):
        logits_QK, boxes_Q4 = prediction.logits[i].detach(), prediction.boxes_cxcywh[i].detach()
        if labels_T.shape[0] == 0:
            costs.append(jt.zeros((boxes_Q4.shape[0], 0), dtype=boxes_Q4.dtype))
            continue
        class_QT = _class_cost(logits_QK, labels_T, spec)
        l1_QT = (boxes_Q4.unsqueeze(1) - boxes_T4.unsqueeze(0)).abs().sum(-1)
        giou_QT = generalized_iou(cxcywh_to_xyxy(boxes_Q4).unsqueeze(1), cxcywh_to_xyxy(boxes_T4).unsqueeze(0))
        costs.append(
            constant(spec.cost_bbox, l1_QT) * l1_QT
            + constant(spec.cost_class, l1_QT) * class_QT
            - constant(spec.cost_giou, l1_QT) * giou_QT
        )
    return costs


def match(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> Matching:
    """Hungarian matching of every image: its costs [Q, T], query indices [n] and target indices [n]."""
    costs_QT = [cost_QT.numpy() for cost_QT in matching_costs(prediction, targets, spec)]
    return Matching(costs_QT, hungarian(costs_QT))


def denoising_indices(queries: DenoisingQueries, targets: Targets) -> Indices:
    """Pairs of the denoising queries: the positives of every group belong to targets 0..n-1 in order."""
    return [
        (positives.numpy(), np.tile(np.arange(labels.shape[0]), queries.groups))
        for positives, labels in zip(queries.positive_idx, targets.labels, strict=True)
    ]


def matched(targets: Targets, indices: Indices) -> Matched:
    """The pairs of a matching with their targets."""
    image_M = np.concatenate([np.full(len(query), i) for i, (query, _) in enumerate(indices)])
    query_M = np.concatenate([query for query, _ in indices])
    starts = np.cumsum([0, *(labels.shape[0] for labels in targets.labels)])
    rows_M = np.concatenate([target + start for (_, target), start in zip(indices, starts[:-1], strict=True)])
    labels_M = jt.concat(targets.labels, dim=0)[jt.array(rows_M)]
    boxes_M4 = jt.concat(targets.boxes_cxcywh, dim=0)[jt.array(rows_M)]
    return Matched(jt.array(image_M), jt.array(query_M), labels_M, boxes_M4)


def varifocal_loss(prediction: Prediction, pairs: Matched, num_boxes: float, spec: CriterionSpec) -> Var:
    """Sum of BCE towards the overlap of matched pairs, divided by ``num_boxes``; negatives weigh alpha * p^gamma.

    No gradient flows through the overlap or through p in the weight.
    """
    logits_BQK = prediction.logits
    frozen_BQK = logits_BQK.detach()
    onehot_BQK, score_BQK = _onehot(prediction, pairs), jt.zeros_like(frozen_BQK)
    if pairs.image_M.shape[0]:
        boxes_M4 = prediction.boxes_cxcywh.detach()[pairs.image_M, pairs.query_M]
        overlap_M = _overlap(boxes_M4, pairs.boxes_M4, spec)
        score_BQK = _at_labels(frozen_BQK, pairs, overlap_M)
    alpha, gamma = constant(spec.alpha, frozen_BQK), constant(spec.gamma, frozen_BQK)
    weight_BQK = alpha * jt.pow(frozen_BQK.sigmoid(), gamma) * (1 - onehot_BQK) + score_BQK
    loss_BQK = binary_cross_entropy(logits_BQK, score_BQK.detach(), weight_BQK.detach())
    return full_sum(loss_BQK) * constant(1 / num_boxes, loss_BQK)


def focal_loss(prediction: Prediction, pairs: Matched, num_boxes: float, spec: CriterionSpec) -> Var:
    """Sum of BCE times (1 - score of the right answer)^gamma, divided by ``num_boxes``.

    Matched classes weigh alpha, all others 1 - alpha. The gradient flows through the score too.
    """
    logits_BQK, onehot_BQK = prediction.logits, _onehot(prediction, pairs)
    score_BQK = logits_BQK.sigmoid()
    missed_BQK = (1 - score_BQK) * onehot_BQK + score_BQK * (1 - onehot_BQK)
    alpha, rest = constant(spec.alpha, logits_BQK), constant(1 - spec.alpha, logits_BQK)
    weight_BQK = alpha * onehot_BQK + rest * (1 - onehot_BQK)
    loss_BQK = weight_BQK * jt.pow(missed_BQK, constant(spec.gamma, logits_BQK))
    loss_BQK = loss_BQK * binary_cross_entropy(logits_BQK, onehot_BQK, jt.ones_like(onehot_BQK))
    return full_sum(loss_BQK) * constant(1 / num_boxes, loss_BQK)


def bce_loss(prediction: Prediction, pairs: Matched, num_boxes: float) -> Var:
    """Sum of BCE towards one at matched classes and zero elsewhere, divided by ``num_boxes``."""
    onehot_BQK = _onehot(prediction, pairs)
    loss_BQK = binary_cross_entropy(prediction.logits, onehot_BQK, jt.ones_like(onehot_BQK))
    return full_sum(loss_BQK) * constant(1 / num_boxes, loss_BQK)


def cross_entropy(prediction: Prediction, pairs: Matched, spec: CriterionSpec) -> Var:
    """Weighted mean over all queries of -log softmax at the right class; the last class is the background.

    Unmatched queries are background and weigh ``eos_coef``, matched ones 1.
    """
    logits_BQK = prediction.logits
    dtype, classes = str(logits_BQK.dtype), logits_BQK.shape[-1]
    background_K = np.eye(classes, dtype=dtype)[-1]
    weight_K = jt.array(np.where(background_K, spec.eos_coef, 1.0).astype(dtype)).stop_grad()
    onehot_BQK = _onehot(prediction, pairs)
    unmatched_BQ1 = 1 - onehot_BQK.sum(-1, keepdims=True)
    right_BQK = onehot_BQK + unmatched_BQ1 * jt.array(background_K).stop_grad()
    weight_BQK = (right_BQK * weight_K).detach()
    shifted_BQK = logits_BQK - logits_BQK.detach().max(-1, keepdims=True)
    loss_BQK = weight_BQK * (jt.log(jt.exp(shifted_BQK).sum(-1, keepdims=True)) - shifted_BQK)
    return full_sum(loss_BQK) / full_sum(weight_BQK)


def box_losses(prediction: Prediction, pairs: Matched, num_boxes: float, spec: CriterionSpec) -> tuple[Var, Var]:
    """L1 on cxcywh and 1 - GIoU, each summed over matched pairs and divided by ``num_boxes``.

    With a ``boxes_weight_format``, 1 - GIoU of each pair is weighted by its overlap, without gradient through it.
    """
    if pairs.image_M.shape[0] == 0:
        nothing = (prediction.boxes_cxcywh * 0).sum()  # zero, and still a function of the boxes
        return nothing, nothing
    boxes_M4 = prediction.boxes_cxcywh[pairs.image_M, pairs.query_M]
    share = constant(1 / num_boxes, boxes_M4)
    l1 = (boxes_M4 - pairs.boxes_M4).abs().sum() * share
    loss_M = 1 - generalized_iou(cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(pairs.boxes_M4))
    if spec.boxes_weight_format != "none":
        loss_M = loss_M * _overlap(boxes_M4.detach(), pairs.boxes_M4, spec)
    return l1, loss_M.sum() * share


def criterion(
    outputs: Outputs, targets: Targets, spec: CriterionSpec, forced: list[Indices] | None = None
) -> tuple[dict[str, Var], list[Matching]]:
    """Weighted loss terms in the official order, and the matchings they used.

    Args:
        forced: pairs to use in place of the solver's, in the order of the return value; for comparisons across a
            tie, never for training.

    Returns:
        terms ``loss_KIND{,_aux_I,_dn_I}``, the encoder being the last ``aux`` and the kinds those of the spec's
        losses (``config.LOSSES``), and the solver's matchings: main, auxiliary layers, encoder.
    """
    num_boxes = max(float(sum(labels.shape[0] for labels in targets.labels)), 1.0)
    predictions = [("", outputs.layers[-1])]
    if spec.aux_loss:
        extra = [*outputs.layers[:-1], outputs.encoder]
        predictions += [(f"_aux_{i}", prediction) for i, prediction in enumerate(extra)]
    matchings = _matchings(outputs, targets, spec)
    used = [matching.indices for matching in matchings] if forced is None else forced
    terms: dict[str, Var] = {}
    for (suffix, prediction), indices in zip(predictions, used, strict=True):
        terms |= _terms(suffix, prediction, matched(targets, indices), num_boxes, spec)
    if outputs.queries is not None:
        pairs = matched(targets, denoising_indices(outputs.queries, targets))
        for i, prediction in enumerate(outputs.denoising):
            terms |= _terms(f"_dn_{i}", prediction, pairs, num_boxes * outputs.queries.groups, spec)
    return terms, matchings


def total_loss(terms: dict[str, Var]) -> Var:
    """Sum of the weighted terms: the loss to differentiate."""
    first, *others = terms.values()
    return own_dtype_gradient(sum(others, start=first))


def _class_cost(logits_QK: Var, labels_T: Var, spec: MatcherSpec) -> Var:
    """Focal cost of the target's class, or minus its softmax score; [Q, T]."""
    if not spec.use_focal_loss:
        return -softmax(logits_QK)[:, labels_T]
    score_QT = logits_QK.sigmoid()[:, labels_T]
    alpha, gamma = constant(spec.alpha, score_QT), constant(spec.gamma, score_QT)
    # Not 1 - alpha: Jittor would compute the difference of two numbers in float32.
    rest, tiny = constant(1 - spec.alpha, score_QT), constant(1e-8, score_QT)
    negative_QT = rest * jt.pow(score_QT, gamma) * -jt.log(1 - score_QT + tiny)
    positive_QT = alpha * jt.pow(1 - score_QT, gamma) * -jt.log(score_QT + tiny)
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
) -> dict[str, Var]:
    """The weighted terms of one prediction, in the order of the spec's losses."""
    terms: dict[str, Var] = {}
    for loss in spec.losses:
        if loss == "labels":
            terms["ce"] = _weighted(spec.weight_ce, cross_entropy(prediction, pairs, spec))
        elif loss == "bce":
            terms["bce"] = _weighted(spec.weight_bce, bce_loss(prediction, pairs, num_boxes))
        elif loss == "focal":
            terms["focal"] = _weighted(spec.weight_focal, focal_loss(prediction, pairs, num_boxes, spec))
        elif loss == "vfl":
            terms["vfl"] = _weighted(spec.weight_vfl, varifocal_loss(prediction, pairs, num_boxes, spec))
        else:
            l1, giou = box_losses(prediction, pairs, num_boxes, spec)
            terms |= {"bbox": _weighted(spec.weight_bbox, l1), "giou": _weighted(spec.weight_giou, giou)}
    return {f"loss_{kind}{suffix}": term for kind, term in terms.items()}


def _weighted(weight: float, term: Var) -> Var:
    return constant(weight, term) * term


def _overlap(boxes_M4: Var, target_M4: Var, spec: CriterionSpec) -> Var:
    """IoU of matched cxcywh boxes, GIoU where ``boxes_weight_format`` says so; [M]."""
    boxes_xyxy, target_xyxy = cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(target_M4)
    if spec.boxes_weight_format == "giou":
        return generalized_iou(boxes_xyxy, target_xyxy)
    return iou_and_union(boxes_xyxy, target_xyxy)[0]


def _at_labels(like_BQK: Var, pairs: Matched, values_M: Var) -> Var:
    """``values_M`` at image, query and label of the matched pairs, else zero; [B, Q, K]."""
    filled_BQK = jt.zeros_like(like_BQK)
    filled_BQK[pairs.image_M, pairs.query_M, pairs.labels_M] = values_M
    return filled_BQK


def _onehot(prediction: Prediction, pairs: Matched) -> Var:
    """One at the class of every matched query, else zero; without gradient, [B, Q, K]."""
    frozen_BQK = prediction.logits.detach()
    if pairs.image_M.shape[0] == 0:
        return jt.zeros_like(frozen_BQK)
    return _at_labels(frozen_BQK, pairs, jt.ones_like(pairs.boxes_M4[:, 0])).detach()

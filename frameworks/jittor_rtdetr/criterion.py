"""Hungarian matching and the losses: varifocal, L1, GIoU; main, auxiliary, encoder and denoising terms.

RT-DETR (arXiv 2304.08069) 4.3, official SetCriterion (v1); matching as in DETR (arXiv 2005.12872) 3.1, varifocal
loss of arXiv 2008.13367 with the IoU as target.

Shape suffixes: B batch, Q queries, K classes, T targets of an image, M matched pairs of the batch.
"""

import jittor as jt
import numpy as np
from jittor import Var

from frameworks.config import CriterionSpec, MatcherSpec
from frameworks.jittor_rtdetr.box_ops import cxcywh_to_xyxy, generalized_iou, iou_and_union
from frameworks.jittor_rtdetr.decoder import Outputs, Prediction
from frameworks.jittor_rtdetr.denoising import DenoisingQueries, Targets
from frameworks.jittor_rtdetr.operators import binary_cross_entropy, constant, full_sum, own_dtype_gradient
from frameworks.shared.hungarian import Indices, hungarian


def matching_costs(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> list[Var]:
    """Weighted sum of focal, L1 and GIoU costs: one matrix [Q, T] per image, without gradient."""
    costs = []
    for i, (labels_T, boxes_T4) in enumerate(zip(targets.labels, targets.boxes_cxcywh, strict=True)):
        logits_QK, boxes_Q4 = prediction.logits[i].detach(), prediction.boxes_cxcywh[i].detach()
        if labels_T.shape[0] == 0:
            costs.append(jt.zeros((boxes_Q4.shape[0], 0), dtype=boxes_Q4.dtype))
            continue
        score_QT = logits_QK.sigmoid()[:, labels_T]
        alpha, gamma = constant(spec.alpha, score_QT), constant(spec.gamma, score_QT)
        tiny = constant(1e-8, score_QT)
        negative_QT = (1 - alpha) * jt.pow(score_QT, gamma) * -jt.log(1 - score_QT + tiny)
        positive_QT = alpha * jt.pow(1 - score_QT, gamma) * -jt.log(score_QT + tiny)
        l1_QT = (boxes_Q4.unsqueeze(1) - boxes_T4.unsqueeze(0)).abs().sum(-1)
        giou_QT = generalized_iou(cxcywh_to_xyxy(boxes_Q4).unsqueeze(1), cxcywh_to_xyxy(boxes_T4).unsqueeze(0))
        costs.append(
            constant(spec.cost_bbox, l1_QT) * l1_QT
            + constant(spec.cost_class, l1_QT) * (positive_QT - negative_QT)
            - constant(spec.cost_giou, l1_QT) * giou_QT
        )
    return costs


def match(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> Indices:
    """Hungarian matching: (query indices [n], target indices [n]) of every image."""
    return hungarian([cost_QT.numpy() for cost_QT in matching_costs(prediction, targets, spec)])


def denoising_indices(queries: DenoisingQueries, targets: Targets) -> Indices:
    """Pairs of the denoising queries: the positives of every group belong to targets 0..n-1 in order."""
    return [
        (positives.numpy(), np.tile(np.arange(labels.shape[0]), queries.groups))
        for positives, labels in zip(queries.positive_idx, targets.labels, strict=True)
    ]


def varifocal_loss(
    prediction: Prediction, targets: Targets, indices: Indices, num_boxes: float, spec: CriterionSpec
) -> Var:
    """Sum of BCE towards the IoU of matched pairs, divided by ``num_boxes``; negatives weigh alpha * p^gamma.

    No gradient flows through the IoU or through p in the weight.
    """
    logits_BQK = prediction.logits
    image_M, query_M, labels_M, target_M4 = _matched(targets, indices)
    frozen_BQK = logits_BQK.detach()
    onehot_BQK, score_BQK = jt.zeros_like(frozen_BQK), jt.zeros_like(frozen_BQK)
    if image_M.shape[0]:
        boxes_M4 = prediction.boxes_cxcywh.detach()[image_M, query_M]
        iou_M, _ = iou_and_union(cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(target_M4))
        onehot_BQK[image_M, query_M, labels_M] = jt.ones_like(iou_M)
        score_BQK[image_M, query_M, labels_M] = iou_M
    alpha, gamma = constant(spec.alpha, frozen_BQK), constant(spec.gamma, frozen_BQK)
    weight_BQK = alpha * jt.pow(frozen_BQK.sigmoid(), gamma) * (1 - onehot_BQK) + score_BQK
    loss_BQK = binary_cross_entropy(logits_BQK, score_BQK.detach(), weight_BQK.detach())
    return full_sum(loss_BQK) * constant(1 / num_boxes, loss_BQK)


def box_losses(prediction: Prediction, targets: Targets, indices: Indices, num_boxes: float) -> tuple[Var, Var]:
    """L1 on cxcywh and 1 - GIoU, each summed over matched pairs and divided by ``num_boxes``."""
    image_M, query_M, _, target_M4 = _matched(targets, indices)
    if image_M.shape[0] == 0:
        nothing = (prediction.boxes_cxcywh * 0).sum()  # zero, and still a function of the boxes
        return nothing, nothing
    boxes_M4 = prediction.boxes_cxcywh[image_M, query_M]
    share = constant(1 / num_boxes, boxes_M4)
    l1 = (boxes_M4 - target_M4).abs().sum() * share
    giou_M = generalized_iou(cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(target_M4))
    return l1, (1 - giou_M).sum() * share


def criterion(
    outputs: Outputs, targets: Targets, spec: CriterionSpec, forced: list[Indices] | None = None
) -> tuple[dict[str, Var], list[Indices]]:
    """Weighted loss terms in the official order, and the matchings they used.

    Args:
        forced: matchings to use in place of the solver's, in the order of the return value; for comparisons
            across a tie, never for training.

    Returns:
        terms ``loss_{vfl,bbox,giou}{,_aux_I,_dn_I}`` (the encoder is the last ``aux``), and the solver's
        matchings: main, auxiliary layers, encoder.
    """
    num_boxes = max(float(sum(labels.shape[0] for labels in targets.labels)), 1.0)
    predictions = [("", outputs.layers[-1])]
    if spec.aux_loss:
        extra = [*outputs.layers[:-1], outputs.encoder]
        predictions += [(f"_aux_{i}", prediction) for i, prediction in enumerate(extra)]
    matchings = [match(prediction, targets, spec.matcher) for _, prediction in predictions]
    used = matchings if forced is None else forced
    terms: dict[str, Var] = {}
    for (suffix, prediction), indices in zip(predictions, used, strict=True):
        terms |= _terms(suffix, prediction, targets, indices, num_boxes, spec)
    if outputs.queries is not None:
        indices = denoising_indices(outputs.queries, targets)
        for i, prediction in enumerate(outputs.denoising):
            terms |= _terms(f"_dn_{i}", prediction, targets, indices, num_boxes * outputs.queries.groups, spec)
    return terms, matchings


def total_loss(terms: dict[str, Var]) -> Var:
    """Sum of the weighted terms: the loss to differentiate."""
    first, *others = terms.values()
    return own_dtype_gradient(sum(others, start=first))


def _terms(
    suffix: str, prediction: Prediction, targets: Targets, indices: Indices, num_boxes: float, spec: CriterionSpec
) -> dict[str, Var]:
    vfl = varifocal_loss(prediction, targets, indices, num_boxes, spec)
    l1, giou = box_losses(prediction, targets, indices, num_boxes)
    return {
        f"loss_vfl{suffix}": constant(spec.weight_vfl, vfl) * vfl,
        f"loss_bbox{suffix}": constant(spec.weight_bbox, l1) * l1,
        f"loss_giou{suffix}": constant(spec.weight_giou, giou) * giou,
    }


def _matched(targets: Targets, indices: Indices) -> tuple[Var, Var, Var, Var]:
    """Matched pairs of the whole batch: image [M], query [M], label [M], target box [M, 4]."""
    image_M = np.concatenate([np.full(len(query), i) for i, (query, _) in enumerate(indices)])
    query_M = np.concatenate([query for query, _ in indices])
    starts = np.cumsum([0, *(labels.shape[0] for labels in targets.labels)])
    rows_M = np.concatenate([target + start for (_, target), start in zip(indices, starts[:-1], strict=True)])
    labels_M = jt.concat(targets.labels, dim=0)[jt.array(rows_M)]
    boxes_M4 = jt.concat(targets.boxes_cxcywh, dim=0)[jt.array(rows_M)]
    return jt.array(image_M), jt.array(query_M), labels_M, boxes_M4

"""Hungarian matching and the losses: varifocal, L1, GIoU; main, auxiliary, encoder and denoising terms.

RT-DETR (arXiv 2304.08069) 4.3, official SetCriterion (v1); matching as in DETR (arXiv 2005.12872) 3.1, varifocal
loss of arXiv 2008.13367 with the IoU as target.

Shape suffixes: B batch, Q queries, K classes, T targets of an image, M matched pairs of the batch.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frameworks.config import CriterionSpec, MatcherSpec
from frameworks.shared.hungarian import Indices, hungarian
from frameworks.torch_rtdetr.box_ops import cxcywh_to_xyxy, generalized_iou, iou_and_union
from frameworks.torch_rtdetr.decoder import Outputs, Prediction
from frameworks.torch_rtdetr.denoising import DenoisingQueries, Targets


def matching_costs(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> list[Tensor]:
    """Weighted sum of focal, L1 and GIoU costs: one matrix [Q, T] per image, without gradient."""
    costs = []
    with torch.no_grad():
        for logits_QK, boxes_Q4, labels_T, boxes_T4 in zip(
            prediction.logits, prediction.boxes_cxcywh, targets.labels, targets.boxes_cxcywh, strict=True
        ):
            score_QT = logits_QK.sigmoid()[:, labels_T]
            negative_QT = (1 - spec.alpha) * score_QT**spec.gamma * -(1 - score_QT + 1e-8).log()
            positive_QT = spec.alpha * (1 - score_QT) ** spec.gamma * -(score_QT + 1e-8).log()
            l1_QT = (boxes_Q4[:, None] - boxes_T4[None]).abs().sum(-1)
            giou_QT = generalized_iou(cxcywh_to_xyxy(boxes_Q4)[:, None], cxcywh_to_xyxy(boxes_T4)[None])
            costs.append(
                spec.cost_bbox * l1_QT + spec.cost_class * (positive_QT - negative_QT) - spec.cost_giou * giou_QT
            )
    return costs


def match(prediction: Prediction, targets: Targets, spec: MatcherSpec) -> Indices:
    """Hungarian matching: (query indices [n], target indices [n]) of every image."""
    return hungarian([cost_QT.cpu().numpy() for cost_QT in matching_costs(prediction, targets, spec)])


def denoising_indices(queries: DenoisingQueries, targets: Targets) -> Indices:
    """Pairs of the denoising queries: the positives of every group belong to targets 0..n-1 in order."""
    return [
        (positives.cpu().numpy(), np.tile(np.arange(len(labels)), queries.groups))
        for positives, labels in zip(queries.positive_idx, targets.labels, strict=True)
    ]


def varifocal_loss(
    prediction: Prediction, targets: Targets, indices: Indices, num_boxes: float, spec: CriterionSpec
) -> Tensor:
    """Sum of BCE towards the IoU of matched pairs, divided by ``num_boxes``; negatives weigh alpha * p^gamma.

    No gradient flows through the IoU or through p in the weight.
    """
    logits_BQK = prediction.logits
    image_M, query_M, labels_M, target_M4 = _matched(targets, indices, logits_BQK.device)
    with torch.no_grad():
        boxes_M4 = prediction.boxes_cxcywh[image_M, query_M]
        iou_M, _ = iou_and_union(cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(target_M4))
        onehot_BQK = torch.zeros_like(logits_BQK)
        onehot_BQK[image_M, query_M, labels_M] = 1.0
        score_BQK = torch.zeros_like(logits_BQK)
        score_BQK[image_M, query_M, labels_M] = iou_M
        weight_BQK = spec.alpha * logits_BQK.sigmoid() ** spec.gamma * (1 - onehot_BQK) + score_BQK
    loss_BQK = F.binary_cross_entropy_with_logits(logits_BQK, score_BQK, weight=weight_BQK, reduction="none")
    return loss_BQK.sum() / num_boxes


def box_losses(
    prediction: Prediction, targets: Targets, indices: Indices, num_boxes: float
) -> tuple[Tensor, Tensor]:
    """L1 on cxcywh and 1 - GIoU, each summed over matched pairs and divided by ``num_boxes``."""
    image_M, query_M, _, target_M4 = _matched(targets, indices, prediction.logits.device)
    boxes_M4 = prediction.boxes_cxcywh[image_M, query_M]
    l1 = (boxes_M4 - target_M4).abs().sum() / num_boxes
    giou_M = generalized_iou(cxcywh_to_xyxy(boxes_M4), cxcywh_to_xyxy(target_M4))
    return l1, (1 - giou_M).sum() / num_boxes


def criterion(
    outputs: Outputs, targets: Targets, spec: CriterionSpec, forced: list[Indices] | None = None
) -> tuple[dict[str, Tensor], list[Indices]]:
    """Weighted loss terms in the official order, and the matchings they used.

    Args:
        forced: matchings to use in place of the solver's, in the order of the return value; for comparisons
            across a tie, never for training.

    Returns:
        terms ``loss_{vfl,bbox,giou}{,_aux_I,_dn_I}`` (the encoder is the last ``aux``), and the solver's
        matchings: main, auxiliary layers, encoder.
    """
    num_boxes = max(float(sum(len(labels) for labels in targets.labels)), 1.0)
    predictions = [("", outputs.layers[-1])]
    if spec.aux_loss:
        extra = [*outputs.layers[:-1], outputs.encoder]
        predictions += [(f"_aux_{i}", prediction) for i, prediction in enumerate(extra)]
    matchings = [match(prediction, targets, spec.matcher) for _, prediction in predictions]
    used = matchings if forced is None else forced
    terms: dict[str, Tensor] = {}
    for (suffix, prediction), indices in zip(predictions, used, strict=True):
        terms |= _terms(suffix, prediction, targets, indices, num_boxes, spec)
    if outputs.queries is not None:
        indices = denoising_indices(outputs.queries, targets)
        for i, prediction in enumerate(outputs.denoising):
            terms |= _terms(f"_dn_{i}", prediction, targets, indices, num_boxes * outputs.queries.groups, spec)
    return terms, matchings


def total_loss(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the weighted terms: the loss to differentiate."""
    return torch.stack(list(terms.values())).sum()


def _terms(
    suffix: str, prediction: Prediction, targets: Targets, indices: Indices, num_boxes: float, spec: CriterionSpec
) -> dict[str, Tensor]:
    vfl = varifocal_loss(prediction, targets, indices, num_boxes, spec)
    l1, giou = box_losses(prediction, targets, indices, num_boxes)
    return {
        f"loss_vfl{suffix}": spec.weight_vfl * vfl,
        f"loss_bbox{suffix}": spec.weight_bbox * l1,
        f"loss_giou{suffix}": spec.weight_giou * giou,
    }


def _matched(targets: Targets, indices: Indices, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Matched pairs of the whole batch: image [M], query [M], label [M], target box [M, 4]."""
    image_M = np.concatenate([np.full(len(query), i) for i, (query, _) in enumerate(indices)])
    query_M = np.concatenate([query for query, _ in indices])
    chosen = [torch.from_numpy(target).to(device) for _, target in indices]
    labels_M = torch.cat([labels[target] for labels, target in zip(targets.labels, chosen, strict=True)])
    boxes_M4 = torch.cat([boxes[target] for boxes, target in zip(targets.boxes_cxcywh, chosen, strict=True)])
    return torch.from_numpy(image_M).to(device), torch.from_numpy(query_M).to(device), labels_M, boxes_M4

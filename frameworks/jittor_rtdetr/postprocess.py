"""Predictions -> scored boxes in pixels, without NMS (official RTDETRPostProcessor with focal scores)."""

import jittor as jt
from jittor import Var

from frameworks.jittor_rtdetr.box_ops import cxcywh_to_xyxy
from frameworks.jittor_rtdetr.decoder import Prediction


def postprocess(prediction: Prediction, sizes_wh_B2: Var, num_queries: int) -> tuple[Var, Var, Var]:
    """Top ``num_queries`` (query, class) pairs of every image.

    Args:
        prediction: logits [B, Q, K] and boxes [B, Q, 4] of the last layer.
        sizes_wh_B2: original width and height in pixels.

    Returns:
        labels [B, Q] in 0..K-1, boxes [B, Q, 4] xyxy in pixels, scores [B, Q] in descending order.
    """
    scores_BF = prediction.logits.sigmoid().flatten(1)  # F = queries * classes
    scores_BQ, flat_BQ = jt.topk(scores_BF, num_queries, dim=1)
    classes = prediction.logits.shape[-1]
    query_BQ = flat_BQ // classes  # both are non-negative: C's division is floor division
    boxes_xyxy = cxcywh_to_xyxy(prediction.boxes_cxcywh)
    boxes_BQ4 = boxes_xyxy.gather(1, query_BQ.unsqueeze(-1).expand((*query_BQ.shape, 4)))
    scale_B14 = jt.concat([sizes_wh_B2, sizes_wh_B2], dim=1).unsqueeze(1).cast(boxes_BQ4.dtype)
    return flat_BQ % classes, boxes_BQ4 * scale_B14, scores_BQ

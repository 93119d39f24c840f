"""Predictions -> scored boxes in pixels, without NMS (official RTDETRPostProcessor)."""

import jittor as jt
from jittor import Var

from frameworks.jittor_rtdetr.box_ops import cxcywh_to_xyxy
from frameworks.jittor_rtdetr.decoder import Prediction
from frameworks.jittor_rtdetr.operators import softmax


def postprocess(
    prediction: Prediction, sizes_wh_B2: Var, num_queries: int, *, use_focal_loss: bool = True
) -> tuple[Var, Var, Var]:
    """The best ``num_queries`` detections of every image.

    Args:
        prediction: logits [B, Q, K] and boxes [B, Q, 4] of the last layer.
        sizes_wh_B2: original width and height in pixels.
        use_focal_loss: sigmoid scores, and the best pairs of query and class. False: softmax scores, the last class
            being the background, and each query with its best other class.

    Returns:
        labels [B, Q] in 0..K-1, boxes [B, Q, 4] xyxy in pixels, scores [B, Q] in descending order.
    """
    if use_focal_loss:
        scores_BF = prediction.logits.sigmoid().flatten(1)  # F = queries * classes
        scores_BQ, flat_BQ = jt.topk(scores_BF, num_queries, dim=1)
        classes = prediction.logits.shape[-1]
        # Both are non-negative: C's division is floor division.
        query_BQ, labels_BQ = flat_BQ // classes, flat_BQ % classes
    else:
        class_BQ, best_BQ = jt.argmax(softmax(prediction.logits)[:, :, :-1], dim=-1)
        scores_BQ, query_BQ = jt.topk(best_BQ, num_queries, dim=1)
        labels_BQ = class_BQ.gather(1, query_BQ)
    boxes_xyxy = cxcywh_to_xyxy(prediction.boxes_cxcywh)
    boxes_BQ4 = boxes_xyxy.gather(1, query_BQ.unsqueeze(-1).expand((*query_BQ.shape, 4)))
    scale_B14 = jt.concat([sizes_wh_B2, sizes_wh_B2], dim=1).unsqueeze(1).cast(boxes_BQ4.dtype)
    return labels_BQ, boxes_BQ4 * scale_B14, scores_BQ

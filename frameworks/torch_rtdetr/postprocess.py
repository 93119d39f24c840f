"""Predictions -> scored boxes in pixels, without NMS (official RTDETRPostProcessor)."""

import torch
from torch import Tensor

from frameworks.torch_rtdetr.box_ops import cxcywh_to_xyxy
from frameworks.torch_rtdetr.decoder import Prediction


def postprocess(
    prediction: Prediction, sizes_wh_B2: Tensor, num_queries: int, *, use_focal_loss: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
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
        scores_BQ, flat_BQ = torch.topk(scores_BF, num_queries, dim=1)
        classes = prediction.logits.shape[-1]
        query_BQ, labels_BQ = torch.div(flat_BQ, classes, rounding_mode="floor"), flat_BQ % classes
    else:
        best_BQ, class_BQ = prediction.logits.softmax(-1)[..., :-1].max(-1)
        scores_BQ, query_BQ = torch.topk(best_BQ, num_queries, dim=1)
        labels_BQ = class_BQ.gather(1, query_BQ)
    boxes_xyxy = cxcywh_to_xyxy(prediction.boxes_cxcywh)
    boxes_BQ4 = boxes_xyxy.gather(1, query_BQ[..., None].expand(-1, -1, 4))
    scale_B14 = sizes_wh_B2.repeat(1, 2)[:, None].to(boxes_BQ4.dtype)
    return labels_BQ, boxes_BQ4 * scale_B14, scores_BQ

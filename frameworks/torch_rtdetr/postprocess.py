"""Predictions -> scored boxes in pixels, without NMS (official RTDETRPostProcessor with focal scores)."""

import torch
from torch import Tensor

from frameworks.torch_rtdetr.box_ops import cxcywh_to_xyxy
from frameworks.torch_rtdetr.decoder import Prediction


def postprocess(prediction: Prediction, sizes_wh_B2: Tensor, num_queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Top ``num_queries`` (query, class) pairs of every image.

    Args:
        prediction: logits [B, Q, K] and boxes [B, Q, 4] of the last layer.
        sizes_wh_B2: original width and height in pixels.

    Returns:
        labels [B, Q] in 0..K-1, boxes [B, Q, 4] xyxy in pixels, scores [B, Q] in descending order.
    """
    scores_BF = prediction.logits.sigmoid().flatten(1)  # F = queries * classes
    scores_BQ, flat_BQ = torch.topk(scores_BF, num_queries, dim=1)
    classes = prediction.logits.shape[-1]
    query_BQ = torch.div(flat_BQ, classes, rounding_mode="floor")
    boxes_xyxy = cxcywh_to_xyxy(prediction.boxes_cxcywh)
    boxes_BQ4 = boxes_xyxy.gather(1, query_BQ[..., None].expand(-1, -1, 4))
    scale_B14 = sizes_wh_B2.repeat(1, 2)[:, None].to(boxes_BQ4.dtype)
    return flat_BQ % classes, boxes_BQ4 * scale_B14, scores_BQ

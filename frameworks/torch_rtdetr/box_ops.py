"""Box formats, overlaps and the clipped logit; RT-DETR (arXiv 2304.08069) uses them in 4.3 and in its losses.

Boxes are [..., 4] in [0, 1]; xyxy are two corners, cxcywh are centre and size.
"""

import torch
from torch import Tensor


def cxcywh_to_xyxy(cxcywh: Tensor) -> Tensor:
    """Centre and size [..., 4] -> corners [..., 4]."""
    cx, cy, w, h = cxcywh.unbind(-1)
    return torch.stack([cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h], dim=-1)


def xyxy_to_cxcywh(xyxy: Tensor) -> Tensor:
    """Corners [..., 4] -> centre and size [..., 4]."""
    x0, y0, x1, y1 = xyxy.unbind(-1)
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)


def box_area(xyxy: Tensor) -> Tensor:
    """Width times height [...] of boxes [..., 4]; negative where one pair of sides is swapped."""
    return (xyxy[..., 2] - xyxy[..., 0]) * (xyxy[..., 3] - xyxy[..., 1])


def iou_and_union(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and union area of xyxy boxes [..., 4], broadcast; two [...] tensors, IoU is NaN for two empty boxes."""
    top_left = torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    bottom_right = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    size = (bottom_right - top_left).clamp(min=0)
    intersection = size[..., 0] * size[..., 1]
    union = box_area(a_xyxy) + box_area(b_xyxy) - intersection
    return intersection / union, union


def generalized_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """IoU minus the empty share of the smallest enclosing box, [...] in [-1, 1] (arXiv 1902.09630); broadcasts."""
    iou, union = iou_and_union(a_xyxy, b_xyxy)
    top_left = torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    bottom_right = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    size = (bottom_right - top_left).clamp(min=0)
    enclosing = size[..., 0] * size[..., 1]
    return iou - (enclosing - union) / enclosing


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Elementwise logit of x clipped to [0, 1], with x and 1 - x at least ``eps``: finite everywhere."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))

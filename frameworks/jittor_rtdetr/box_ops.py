"""Box formats, overlaps and the clipped logit; RT-DETR (arXiv 2304.08069) uses them in 4.3 and in its losses.

Boxes are [..., 4] in [0, 1]; xyxy are two corners, cxcywh are centre and size.
"""

import jittor as jt
from jittor import Var

from frameworks.jittor_rtdetr.operators import constant


def cxcywh_to_xyxy(cxcywh: Var) -> Var:
    """Centre and size [..., 4] -> corners [..., 4]."""
    cx, cy, w, h = (cxcywh[..., i] for i in range(4))
    return jt.stack([cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h], dim=-1)


def xyxy_to_cxcywh(xyxy: Var) -> Var:
    """Corners [..., 4] -> centre and size [..., 4]."""
    x0, y0, x1, y1 = (xyxy[..., i] for i in range(4))
    return jt.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)


def box_area(xyxy: Var) -> Var:
    """Width times height [...] of boxes [..., 4]; negative where one pair of sides is swapped."""
    return (xyxy[..., 2] - xyxy[..., 0]) * (xyxy[..., 3] - xyxy[..., 1])


def iou_and_union(a_xyxy: Var, b_xyxy: Var) -> tuple[Var, Var]:
    """IoU and union area of xyxy boxes [..., 4], broadcast; two [...] tensors, IoU is NaN for two empty boxes."""
    top_left = jt.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    bottom_right = jt.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    size = _at_least(bottom_right - top_left, 0.0)
    intersection = size[..., 0] * size[..., 1]
    union = box_area(a_xyxy) + box_area(b_xyxy) - intersection
    return intersection / union, union


def generalized_iou(a_xyxy: Var, b_xyxy: Var) -> Var:
    """IoU minus the empty share of the smallest enclosing box, [...] in [-1, 1] (arXiv 1902.09630); broadcasts."""
    iou, union = iou_and_union(a_xyxy, b_xyxy)
    top_left = jt.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    bottom_right = jt.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    size = _at_least(bottom_right - top_left, 0.0)
    enclosing = size[..., 0] * size[..., 1]
    return iou - (enclosing - union) / enclosing


def inverse_sigmoid(x: Var, eps: float = 1e-5) -> Var:
    """Elementwise logit of x clipped to [0, 1], with x and 1 - x at least ``eps``: finite everywhere."""
    x = _at_most(_at_least(x, 0.0), 1.0)
    return jt.log(_at_least(x, eps) / _at_least(1 - x, eps))


def _at_least(x: Var, low: float) -> Var:
    """Clamp from below; ``Var.clamp`` passes no gradient at the bound itself, PyTorch does."""
    return jt.ternary(x < constant(low, x), jt.zeros_like(x) + constant(low, x), x)


def _at_most(x: Var, high: float) -> Var:
    """Clamp from above, with the gradient at the bound."""
    return jt.ternary(x > constant(high, x), jt.zeros_like(x) + constant(high, x), x)

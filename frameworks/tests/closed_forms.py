"""NumPy loops for small pieces of the model, written from the papers and docs/pitfalls.md, not from either twin.

Boxes are cxcywh or xyxy as the names say. Everything is in float64, simple rather than fast.
"""

import math

import numpy as np
from scipy.special import erf


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), elementwise."""
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) over its sum, along the last axis."""
    power = np.exp(x - x.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


def corners(cxcywh: np.ndarray) -> np.ndarray:
    """Centre and size [..., 4] -> corners [..., 4]."""
    cx, cy, w, h = np.moveaxis(cxcywh, -1, 0)
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=-1)


def overlap(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> tuple[float, float]:
    """IoU and generalized IoU of two boxes."""
    ax0, ay0, ax1, ay1 = (float(v) for v in a_xyxy)
    bx0, by0, bx1, by1 = (float(v) for v in b_xyxy)
    width, height = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
    inter = max(width, 0.0) * max(height, 0.0)
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - inter
    hull = (max(ax1, bx1) - min(ax0, bx0)) * (max(ay1, by1) - min(ay0, by0))
    return inter / union, inter / union - (hull - union) / hull


def logit(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Clipped logit, elementwise: x and 1 - x are at least ``eps``."""
    x = np.clip(x, 0, 1)
    return np.log(np.maximum(x, eps) / np.maximum(1 - x, eps))


def gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x * Phi(x) and its derivative."""
    phi = (1 + erf(x / math.sqrt(2))) / 2
    return x * phi, phi + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def weighted_bce(x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted binary cross-entropy of logits x, elementwise."""
    return weight * (np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x))))


def bilinear(image_CHW: np.ndarray, x: float, y: float) -> np.ndarray:
    """Value at (x, y) in [0, 1], pixel centres at half-integers, zeros outside."""
    _, h, w = image_CHW.shape
    px, py = x * w - 0.5, y * h - 0.5
    total = np.zeros(image_CHW.shape[0])
    for row in (math.floor(py), math.floor(py) + 1):
        for column in (math.floor(px), math.floor(px) + 1):
            if 0 <= row < h and 0 <= column < w:
                total += image_CHW[:, row, column] * (1 - abs(px - column)) * (1 - abs(py - row))
    return total


def sampled_levels(
    value_BNHd: np.ndarray, locations: np.ndarray, shapes: list[tuple[int, int]], points: tuple[int, ...]
) -> np.ndarray:
    """Bilinear samples [B, Q, H, K, d] at locations [B, Q, H, K, 2]; K counts the points of all levels."""
    return _sampled(bilinear, value_BNHd, locations, shapes, points)


def sampled_pixels(
    value_BNHd: np.ndarray, locations: np.ndarray, shapes: list[tuple[int, int]], points: tuple[int, ...]
) -> np.ndarray:
    """The same with discrete sampling."""
    return _sampled(nearest_pixel, value_BNHd, locations, shapes, points)


def nearest_pixel(image_CHW: np.ndarray, x: float, y: float) -> np.ndarray:
    """[C] the pixel that RT-DETRv2 takes at x, y in [0, 1]: cut towards zero, both clamped to the height."""
    _, h, w = image_CHW.shape
    column, row = (min(max(int(v), 0), h - 1) for v in (x * w + 0.5, y * h + 0.5))
    return image_CHW[:, row, column]


def _sampled(sample, value_BNHd, locations, shapes, points) -> np.ndarray:
    batch, _, heads, width = value_BNHd.shape
    queries = locations.shape[1]
    result = np.zeros((batch, queries, heads, sum(points), width))
    starts = np.cumsum([0, *(h * w for h, w in shapes)])
    level_of = np.repeat(np.arange(len(points)), points)
    for b, q, head, k in np.ndindex(batch, queries, heads, sum(points)):
        level = level_of[k]
        h, w = shapes[level]
        rows = value_BNHd[b, starts[level] : starts[level + 1], head]  # [h * w, d]
        image = rows.T.reshape(width, h, w)
        result[b, q, head, k] = sample(image, *locations[b, q, head, k])
    return result


def position_embedding(h: int, w: int, dim: int, temperature: float) -> np.ndarray:
    """[h * w, dim]: row i is position (x, y) with x outermost; channels [sin x, cos x, sin y, cos y]."""
    quarter, table = dim // 4, np.zeros((h * w, dim))
    for x in range(w):
        for y in range(h):
            for k in range(quarter):
                omega = temperature ** (-k / quarter)
                waves = math.sin(x * omega), math.cos(x * omega), math.sin(y * omega), math.cos(y * omega)
                table[x * h + y, k::quarter] = waves
    return table


def varifocal(
    logits_BQK, boxes_BQ4, targets, indices, num_boxes: float, alpha: float, gamma: float, generalized: bool = False
) -> float:
    """Sum over every (image, query, class), one at a time. ``targets``: (labels, cxcywh) of every image.

    ``generalized``: the target of a pair is its GIoU.
    """
    total = 0.0
    for b, (queries, chosen) in enumerate(indices):
        pair = dict(zip(queries.tolist(), chosen.tolist(), strict=True))
        for q, k in np.ndindex(*logits_BQK.shape[1:]):
            score, weight = 0.0, alpha * sigmoid(logits_BQK[b, q, k]) ** gamma
            if q in pair and targets[b][0][pair[q]] == k:
                score = weight = overlap(corners(boxes_BQ4[b, q]), corners(targets[b][1][pair[q]]))[generalized]
            total += float(weighted_bce(logits_BQK[b, q, k], np.asarray(score), np.asarray(weight)))
    return total / num_boxes


def focal(logits_BQK, targets, indices, num_boxes: float, alpha: float, gamma: float) -> float:
    """-alpha (1 - p)^gamma log p at matched classes, -(1 - alpha) p^gamma log(1 - p) at all others."""
    total = 0.0
    for b, (queries, chosen) in enumerate(indices):
        label_of = {q: targets[b][0][t] for q, t in zip(queries.tolist(), chosen.tolist(), strict=True)}
        for q, k in np.ndindex(*logits_BQK.shape[1:]):
            p = float(sigmoid(logits_BQK[b, q, k]))
            if label_of.get(q) == k:
                total -= alpha * (1 - p) ** gamma * math.log(p)
            else:
                total -= (1 - alpha) * p**gamma * math.log(1 - p)
    return total / num_boxes


def bce(logits_BQK, targets, indices, num_boxes: float) -> float:
    """-log p at matched classes, -log(1 - p) at all others."""
    return 2 * focal(logits_BQK, targets, indices, num_boxes, alpha=0.5, gamma=0.0)


def cross_entropy(logits_BQK, targets, indices, eos_coef: float) -> float:
    """Weighted mean of -log softmax; a query without a target has the last class, with the weight ``eos_coef``."""
    total = weights = 0.0
    for b, (queries, chosen) in enumerate(indices):
        label_of = {q: targets[b][0][t] for q, t in zip(queries.tolist(), chosen.tolist(), strict=True)}
        for q, logits_K in enumerate(logits_BQK[b]):
            weight = 1.0 if q in label_of else eos_coef
            total -= weight * math.log(softmax(logits_K)[label_of.get(q, -1)])
            weights += weight
    return total / weights


def box_terms(boxes_BQ4, targets, indices, num_boxes: float, weight_format: str = "none") -> tuple[float, float]:
    """L1 and 1 - GIoU over matched pairs, the latter weighted by nothing, by the IoU or by the GIoU."""
    l1 = giou = 0.0
    for b, (queries, chosen) in enumerate(indices):
        for q, t in zip(queries, chosen, strict=True):
            l1 += float(np.abs(boxes_BQ4[b, q] - targets[b][1][t]).sum())
            plain, generalized = overlap(corners(boxes_BQ4[b, q]), corners(targets[b][1][t]))
            giou += (1 - generalized) * {"none": 1.0, "iou": plain, "giou": generalized}[weight_format]
    return l1 / num_boxes, giou / num_boxes


def matching_cost(logits_QK, boxes_Q4, labels_T, boxes_T4, focal: bool = True) -> np.ndarray:
    """5 * L1 + 2 * class - 2 * GIoU (official matcher): focal cost with alpha 0.25 and gamma 2, or -softmax."""
    cost = np.zeros((len(boxes_Q4), len(boxes_T4)))
    for q, t in np.ndindex(*cost.shape):
        p = sigmoid(logits_QK[q, labels_T[t]])
        positive = 0.25 * (1 - p) ** 2 * -np.log(p + 1e-8)
        negative = 0.75 * p**2 * -np.log(1 - p + 1e-8)
        giou = overlap(corners(boxes_Q4[q]), corners(boxes_T4[t]))[1]
        class_cost = positive - negative if focal else -softmax(logits_QK[q])[labels_T[t]]
        cost[q, t] = 5 * np.abs(boxes_Q4[q] - boxes_T4[t]).sum() + 2 * class_cost - 2 * giou
    return cost


def denoising_layout(targets, noise: dict[str, np.ndarray], num_denoising: int, num_queries: int, num_classes: int):
    """Labels, logits of boxes, mask and positives, query by query (docs/pitfalls.md E)."""
    largest = max(len(labels) for labels, _ in targets)
    groups = max(1, num_denoising // largest)
    count, batch = largest * 2 * groups, len(targets)
    labels_BN, boxes_BN4 = np.full((batch, count), num_classes), np.zeros((batch, count, 4))
    positives: list[list[int]] = [[] for _ in targets]
    for b, n in np.ndindex(batch, count):
        slot, negative = n % largest, n // largest % 2 == 1
        box = np.zeros(4)
        if slot < len(targets[b][0]):
            changed = noise["noise/label_u"][b, n] < 0.5 * 0.5
            labels_BN[b, n] = noise["noise/new_label"][b, n] if changed else targets[b][0][slot]
            box = targets[b][1][slot]
            if not negative:
                positives[b].append(n)
        share = (noise["noise/part"][b, n] + negative) * noise["noise/sign"][b, n]
        x0, y0, x1, y1 = np.clip(corners(box) + share * np.concatenate([box[2:], box[2:]]) / 2, 0, 1)
        boxes_BN4[b, n] = logit(np.asarray([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]))
    blocked = np.zeros((count + num_queries, count + num_queries), bool)
    for i, j in np.ndindex(*blocked.shape):
        same_group = i < count and i // (2 * largest) == j // (2 * largest)
        blocked[i, j] = j < count and not same_group  # every query sees the matching queries
    return labels_BN, boxes_BN4, blocked, positives, groups


def postprocess(logits_BQK, boxes_BQ4, sizes_wh: np.ndarray, count: int, focal: bool = True):
    """Labels, pixel corners and scores of the ``count`` best (query, class) pairs of every image.

    Without ``focal``: of the queries, each with its best class but the last.
    """
    labels, boxes, scores = [], [], []
    for b in range(len(logits_BQK)):
        table = sigmoid(logits_BQK[b]) if focal else softmax(logits_BQK[b])[:, :-1]
        flat = table.reshape(-1) if focal else table.max(-1)
        best = np.argsort(-flat, kind="stable")[:count]
        query = best // table.shape[-1] if focal else best
        labels.append(best % table.shape[-1] if focal else table.argmax(-1)[best])
        boxes.append(corners(boxes_BQ4[b])[query] * np.tile(sizes_wh[b], 2))
        scores.append(flat[best])
    return np.stack(labels), np.stack(boxes), np.stack(scores)


def adamw_step(p, g, m, v, t: int, lr: float, decay: float, betas=(0.9, 0.999), eps: float = 1e-8):
    """One AdamW update of a parameter (Loshchilov and Hutter): parameter, first and second moment."""
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g * g
    corrected = m / (1 - betas[0] ** t)
    return p * (1 - lr * decay) - lr * corrected / (np.sqrt(v / (1 - betas[1] ** t)) + eps), m, v

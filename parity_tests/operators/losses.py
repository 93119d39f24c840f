"""Losses, and the formulas of detection."""

import numpy as np
import torch
import torch.nn.functional as F

from parity_tests.operators.elementwise import sigmoid, softplus
from parity_tests.operators.inputs import NONE, ORDINARY, drawn, table, uniform
from parity_tests.operators.operator import Operator
from parity_tests.operators.reductions import log_sum_exp

LOGITS = {
    "ordinary": (ORDINARY, uniform(4, 6, seed=1)),
    "zeros": (table(0, 0, 0, 0, 1, -1, 0, 0), table(0, 0.5, 1, 1, 1, 1, 0.25, 0)),
    "huge": (table(-1e4, -100, -50, 1, 50, 100, 200, 1e4), table(0, 1, 0.5, 1, 1, 0, 0.5, 1)),
}
PAIRS = {
    "ordinary": (ORDINARY, drawn(4, 6, seed=1)),
    "exact": (ORDINARY, np.where(ORDINARY > 0, ORDINARY, drawn(4, 6, seed=1))),
    "empty sum": (NONE, NONE),
}
CLASSES = {"ordinary": (ORDINARY, np.asarray([0, 5, 2, 2])), "huge": (ORDINARY * 100, np.asarray([0, 5, 2, 2]))}
SHARES = {
    "ordinary": (uniform(4, 6, low=0.05, high=0.95), uniform(4, 6, seed=1)),
    "bounds": (table(0, 1, 0, 1, 0.5, 0.5, 1e-12, 0.5), table(0, 1, 1, 0, 0.5, 1, 1, 0)),
}
CORNERS = np.concatenate([uniform(4, 2, high=0.5), uniform(4, 2, low=0.6, seed=1)], 1)
BOXES = {
    "ordinary": (CORNERS, np.concatenate([uniform(4, 2, high=0.5, seed=2), uniform(4, 2, low=0.6, seed=3)], 1)),
    "apart": (CORNERS, CORNERS + 2),
    "equal": (CORNERS, CORNERS.copy()),
}


def bce(x, t):
    """Binary cross-entropy of logits, elementwise."""
    return softplus(x) - x * t


def clipped_log(x):
    """log, at least -100: PyTorch's form for probabilities."""
    return np.maximum(np.log(x), -100)


def giou(a, b):
    """Generalized IoU of boxes in pairs."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    overlap = np.maximum(high - low, 0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap
    around = (np.maximum(a[:, 2:], b[:, 2:]) - np.minimum(a[:, :2], b[:, :2])).prod(1)
    return overlap / union - (around - union) / around


def torch_giou(a, b):
    """The same in PyTorch."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    overlap = (high - low).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return overlap / union - (around - union) / around


def twin_giou(jt, a, b):
    """The twin's."""
    from frameworks.jittor_rtdetr.box_ops import generalized_iou

    return generalized_iou(a, b)


def twin_bce(jt, x, t):
    """The twin's, which has no gradient towards the target."""
    from frameworks.jittor_rtdetr import operators

    return operators.binary_cross_entropy(x, t, jt.ones_like(x))


OPERATORS = [
    Operator(
        "binary_cross_entropy_with_logits",
        truth=lambda x, t: bce(x, t).mean(),
        torch=lambda x, t: F.binary_cross_entropy_with_logits(x, t),
        jittor=lambda jt, x, t: jt.nn.binary_cross_entropy_with_logits(x, t),
        inputs=LOGITS,
        note="the gradient of `mean` has a float32 number",
        defect="mean_gradient",
    ),
    Operator(
        "bce with logits, elementwise",
        truth=lambda x, t: bce(x, t),
        torch=lambda x, t: F.binary_cross_entropy_with_logits(x, t.detach(), reduction="none"),
        jittor=lambda jt, x, t: jt.nn.binary_cross_entropy_with_logits(x, t, reduction="none"),
        inputs=LOGITS,
        instead=twin_bce,
        gradient=lambda x, t, c: [c * (sigmoid(x) - t), 0 * t],
        twin="operators.py",
        note="the flag `size_average` alone",
    ),
    Operator(
        "bce with logits, written out",
        truth=lambda x, t: bce(x, t),
        torch=lambda x, t: x.clamp(min=0) - x * t.detach() + torch.log1p(torch.exp(-x.abs())),
        jittor=lambda jt, x, t: jt.maximum(x, 0) - x * t.detach() + jt.log(1 + jt.exp(-x.abs())),
        inputs=LOGITS,
        instead=twin_bce,
        gradient=lambda x, t, c: [c * (sigmoid(x) - t), 0 * t],
        twin="operators.py",
        note="at a logit of exactly 0 the slope is off by 1/2, in PyTorch too",
    ),
    Operator(
        "binary_cross_entropy",
        truth=lambda x, t: -(t * clipped_log(x) + (1 - t) * clipped_log(1 - x)).mean(),
        torch=lambda x, t: F.binary_cross_entropy(x, t.detach()),
        jittor=lambda jt, x, t: jt.nn.bce_loss(x, t.detach()),
        inputs=SHARES,
        gradient=False,
        note="the logarithm is bounded by 1e-20, PyTorch bounds its value by -100",
    ),
    Operator(
        "l1_loss",
        truth=lambda x, y: np.abs(x - y).mean(),
        torch=lambda x, y: F.l1_loss(x, y),
        jittor=lambda jt, x, y: jt.nn.l1_loss(x, y),
        inputs={"ordinary": PAIRS["ordinary"], "exact": PAIRS["exact"]},
        note="the gradient of `mean` has a float32 number; that of `abs` at 0 is 1",
        defect="mean_gradient",
    ),
    Operator(
        "l1_loss, elementwise",
        truth=lambda x, y: np.abs(x - y),
        torch=lambda x, y: F.l1_loss(x, y, reduction="none"),
        jittor=lambda jt, x, y: jt.nn.l1_loss(x, y, reduction="none"),
        inputs={"ordinary": PAIRS["ordinary"]},
        instead=lambda jt, x, y: jt.abs(x - y),
        twin="criterion.py",
    ),
    Operator(
        "l1_loss, sum",
        truth=lambda x, y: np.abs(x - y).sum(),
        torch=lambda x, y: F.l1_loss(x, y, reduction="sum"),
        jittor=lambda jt, x, y: jt.abs(x - y).sum(),
        inputs=PAIRS,
        twin="criterion.py",
        note="where both are equal the gradient of `abs` is 1, PyTorch's is 0",
    ),
    Operator(
        "mse_loss",
        truth=lambda x, y: ((x - y) ** 2).mean(),
        torch=lambda x, y: F.mse_loss(x, y),
        jittor=lambda jt, x, y: jt.nn.mse_loss(x, y),
        inputs={"ordinary": PAIRS["ordinary"], "exact": PAIRS["exact"]},
        note="the gradient of `mean` has a float32 number",
        defect="mean_gradient",
    ),
    Operator(
        "smooth_l1_loss",
        truth=lambda x, y: np.where(np.abs(x - y) < 1, (x - y) ** 2 / 2, np.abs(x - y) - 0.5).mean(),
        torch=lambda x, y: F.smooth_l1_loss(x, y),
        jittor=lambda jt, x, y: jt.nn.smooth_l1_loss(x, y),
        inputs={"ordinary": PAIRS["ordinary"], "exact": PAIRS["exact"]},
        note="the gradient of `mean` has a float32 number",
        defect="mean_gradient",
    ),
    Operator(
        "cross_entropy",
        truth=lambda x, i: (log_sum_exp(x) - x[np.arange(4), i]).mean(),
        torch=lambda x, i: F.cross_entropy(x, i),
        jittor=lambda jt, x, i: jt.nn.cross_entropy_loss(x, i),
        inputs=CLASSES,
    ),
    Operator(
        "cross_entropy, ignored class",
        truth=lambda x, i: (log_sum_exp(x) - x[np.arange(4), i])[i != 2].mean(),
        torch=lambda x, i: F.cross_entropy(x, i, ignore_index=2),
        jittor=lambda jt, x, i: jt.nn.cross_entropy_loss(x, i, ignore_index=2),
        inputs=CLASSES,
    ),
    Operator(
        "cross_entropy, label smoothing",
        truth=lambda x, i: (log_sum_exp(x) - 0.75 * x[np.arange(4), i] - 0.25 * x.mean(-1)).mean(),
        torch=lambda x, i: F.cross_entropy(x, i, label_smoothing=0.25),
        jittor=lambda jt, x, i: jt.nn.cross_entropy_loss(x, i, label_smoothing=0.25),
        inputs={"ordinary": CLASSES["ordinary"]},
    ),
    Operator(
        "nll_loss",
        truth=lambda x, i: -x[np.arange(4), i].mean(),
        torch=lambda x, i: F.nll_loss(x, i),
        jittor=lambda jt, x, i: jt.nn.nll_loss(x, i),
        inputs={"ordinary": CLASSES["ordinary"]},
    ),
    Operator(
        "nll_loss, first class ignored",
        truth=lambda x, i: -x[np.arange(4), i][i != 0].mean(),
        torch=lambda x, i: F.nll_loss(x, i, ignore_index=0),
        jittor=lambda jt, x, i: jt.nn.nll_loss(x, i, ignore_index=0),
        inputs={"ordinary": CLASSES["ordinary"]},
        note="class 0 cannot be ignored: the code asks `ignore_index > 0`",
        defect="nll_ignores_no_class_0",
    ),
    Operator(
        "kl_div",
        truth=lambda x, t: (t * (np.log(t) - x)).sum() / 4,
        torch=lambda x, t: F.kl_div(x, t.detach(), reduction="batchmean"),
        jittor=lambda jt, x, t: jt.nn.KLDivLoss(reduction="batchmean")(x, t.detach()),
        inputs={"ordinary": (ORDINARY, uniform(4, 6, low=0.05))},
        gradient=lambda x, t, c: [-c * t / 4, 0 * t],
    ),
    Operator(
        "generalized IoU",
        truth=lambda a, b: giou(a, b),
        torch=torch_giou,
        jittor=twin_giou,
        inputs=BOXES,
        twin="box_ops.py",
    ),
]

"""Reductions: sums, means, extrema, variances, norms, softmax, cumulative sums."""

import numpy as np
import torch
import torch.nn.functional as F

from parity_tests.operators.inputs import INTEGERS, NONE, ORDINARY, POSITIVE, SPECIAL, drawn, table
from parity_tests.operators.operator import Operator

TIES = table(1, 3, 3, 0, -2, -2, -2, -2)
ROWS = {"ordinary": (ORDINARY,), "ties": (TIES,), "NaN and infinity": (SPECIAL,), "empty": (NONE,)}
MOMENTS = {
    "ordinary": (ORDINARY,),
    "mean 30": (drawn(4, 6, mean=30.0),),
    "mean 300": (drawn(4, 6, mean=300.0),),
    "constant": (np.full((4, 6), 3.0),),
}
SCORES = {
    "ordinary": (ORDINARY,),
    "huge": (table(1e4, -1e4, 9999, 0, 200, 100, -100, -200),),
    "minus infinity": (table(-np.inf, 0, 1, -np.inf, 2, -np.inf, 0, 1),),
    "row of minus infinity": (table(-np.inf, -np.inf, -np.inf, -np.inf, 2, 1, 0, 1),),
    "NaN and infinity": (SPECIAL,),
    "empty": (NONE,),
}
MANY = {"ordinary": (ORDINARY,), "40,000 numbers": (drawn(40000, mean=1.0).reshape(4, 10000),), "empty": (NONE,)}
BOOLS = {"ordinary": (np.asarray([[True, False, True], [False, False, False], [True, True, True]]),)}
WHOLE = {"ordinary": (np.arange(-6, 6).reshape(2, 6),)}


def softmax(x, axis=-1):
    """exp(x) over its sum, shifted."""
    power = np.exp(x - x.max(axis, keepdims=True)) if x.size else x
    return power / power.sum(axis, keepdims=True)


def log_sum_exp(x):
    """log of the sum of exp over the last axis, shifted."""
    top = x.max(-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.exp(x - top).sum(-1)) + top[..., 0]


def twin_softmax(jt, x):
    """The twin's."""
    from frameworks.jittor_rtdetr import operators

    return operators.softmax(x)


def twin_full_sum(jt, x):
    """The twin's."""
    from frameworks.jittor_rtdetr import operators

    return operators.full_sum(x)


OPERATORS = [
    Operator(
        "sum",
        truth=lambda x: x.sum(),
        torch=lambda x: x.sum(),
        jittor=lambda jt, x: x.sum(),
        inputs=MANY | {"NaN and infinity": (SPECIAL,)},
        instead=twin_full_sum,
        twin="operators.py",
        note="adds one number after the other, so that a long sum loses digits",
    ),
    Operator(
        "sum over an axis",
        truth=lambda x: x.sum(-1),
        torch=lambda x: x.sum(-1),
        jittor=lambda jt, x: x.sum(-1),
        inputs=ROWS,
        twin="operators.py",
    ),
    Operator(
        "sum over an axis, kept",
        truth=lambda x: x.sum(0, keepdims=True),
        torch=lambda x: x.sum(0, keepdim=True),
        jittor=lambda jt, x: x.sum(0, keepdims=True),
        inputs=ROWS,
        twin="operators.py",
    ),
    Operator(
        "mean",
        truth=lambda x: x.mean(),
        torch=lambda x: x.mean(),
        jittor=lambda jt, x: x.mean(),
        inputs=MANY | MOMENTS,
        instead=lambda jt, x: x.sum() / x.numel(),
        note="the gradient multiplies by 1/N as a float32 number; 0 of nothing",
        defect="mean_gradient",
    ),
    Operator(
        "mean over an axis",
        truth=lambda x: x.mean(-1),
        torch=lambda x: x.mean(-1),
        jittor=lambda jt, x: x.mean(-1),
        inputs=MOMENTS | {"NaN and infinity": (SPECIAL,)},
        instead=lambda jt, x: x.sum(-1) / x.shape[-1],
        twin="operators.py",
        note="the gradient multiplies by 1/N as a float32 number",
        defect="mean_gradient",
    ),
    Operator(
        "mean over two axes, kept",
        truth=lambda x: x.mean((2, 3), keepdims=True),
        torch=lambda x: x.mean((2, 3), keepdim=True),
        jittor=lambda jt, x: x.mean((2, 3), keepdims=True),
        inputs={"ordinary": (drawn(2, 3, 3, 5),)},
        instead=lambda jt, x: (x.sum(3, keepdims=True).sum(2, keepdims=True)) / (x.shape[2] * x.shape[3]),
        twin="operators.py",
        note="the gradient multiplies by 1/N as a float32 number",
        defect="mean_gradient",
    ),
    Operator(
        "product over an axis",
        truth=lambda x: x.prod(-1),
        torch=lambda x: x.prod(-1),
        jittor=lambda jt, x: x.prod(-1),
        inputs={"ordinary": (POSITIVE,), "zeros": (table(1, 2, 0, 3, 0, 1, 0, 4),)},
        note="the gradient is product / x, which is NaN at a zero",
        defect="product_gradient_at_zero",
    ),
    Operator(
        "var, default",
        truth=lambda x: x.var(-1, ddof=1),
        torch=lambda x: x.var(-1),
        jittor=lambda jt, x: x.var(-1),
        inputs=MOMENTS,
        instead=lambda jt, x: x.var(-1, unbiased=True),
        note="the default is the biased variance",
    ),
    Operator(
        "var, unbiased",
        truth=lambda x: x.var(-1, ddof=1),
        torch=lambda x: x.var(-1, unbiased=True),
        jittor=lambda jt, x: x.var(-1, unbiased=True),
        inputs=MOMENTS,
    ),
    Operator(
        "std",
        truth=lambda x: x.std(-1, ddof=1),
        torch=lambda x: x.std(-1),
        jittor=lambda jt, x: x.std(-1),
        inputs=MOMENTS,
        note="at least 0.001: the variance is bounded below",
        defect="std_floor",
    ),
    Operator(
        "norm, p = 2",
        truth=lambda x: np.sqrt((x * x).sum(-1)),
        torch=lambda x: x.norm(2, -1),
        jittor=lambda jt, x: x.norm(2, -1),
        inputs={"ordinary": (ORDINARY,), "zeros": (np.zeros((4, 6)),), "tiny": (ORDINARY * 1e-20,)},
        note="the root of at least 1e-30",
    ),
    Operator(
        "norm, p = 1",
        truth=lambda x: np.abs(x).sum(-1),
        torch=lambda x: x.norm(1, -1),
        jittor=lambda jt, x: x.norm(1, -1),
        inputs={"ordinary": (ORDINARY,), "zeros": (np.zeros((4, 6)),)},
        note="by the gradient of `abs` at 0",
    ),
    Operator(
        "normalize",
        truth=lambda x: x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), 1e-12),
        torch=lambda x: F.normalize(x, dim=-1),
        jittor=lambda jt, x: jt.normalize(x, dim=-1),
        inputs={"ordinary": (ORDINARY,), "zeros": (np.zeros((4, 6)),), "tiny": (ORDINARY * 1e-20,)},
        note="divides by at least 1e-15, PyTorch by at least 1e-12",
    ),
    Operator(
        "max",
        truth=lambda x: x.max(),
        torch=lambda x: x.max(),
        jittor=lambda jt, x: x.max(),
        inputs={"ordinary": (ORDINARY,), "ties": (TIES,), "NaN and infinity": (SPECIAL,)},
        note="every one of the largest gets the whole gradient, PyTorch shares it; NaN may be dropped",
        defect="max_gradient_at_ties",
    ),
    Operator(
        "amax",
        truth=lambda x: x.max(-1),
        torch=lambda x: x.amax(-1),
        jittor=lambda jt, x: x.max(-1),
        inputs={"ordinary": (ORDINARY,), "ties": (TIES,), "NaN and infinity": (SPECIAL,)},
        twin="decoder.py",
        note="every one of the largest gets the whole gradient, PyTorch shares it; NaN may be dropped",
        defect="max_gradient_at_ties",
    ),
    Operator(
        "max over an axis",
        truth=lambda x: (x.max(-1), x.argmax(-1)),
        torch=lambda x: tuple(x.max(-1)),
        jittor=lambda jt, x: x.max(-1),
        inputs={"ordinary": (ORDINARY,)},
        instead=lambda jt, x: jt.argmax(x, -1)[::-1],
        note="returns the values alone",
    ),
    Operator(
        "amin",
        truth=lambda x: x.min(-1),
        torch=lambda x: x.amin(-1),
        jittor=lambda jt, x: x.min(-1),
        inputs={"ordinary": (ORDINARY,), "ties": (TIES,), "NaN and infinity": (SPECIAL,)},
        note="every one of the smallest gets the whole gradient, PyTorch shares it; NaN may be dropped",
        defect="max_gradient_at_ties",
    ),
    Operator(
        "argmax",
        truth=lambda x: x.argmax(-1),
        torch=lambda x: x.argmax(-1),
        jittor=lambda jt, x: jt.argmax(x, -1),
        inputs={"ordinary": (ORDINARY,), "ties": (TIES,)},
        instead=lambda jt, x: jt.argmax(x, -1)[0],
        gradient=False,
        twin="postprocess.py",
        note="returns indices and values",
    ),
    Operator(
        "argmin",
        truth=lambda x: x.argmin(-1),
        torch=lambda x: x.argmin(-1),
        jittor=lambda jt, x: jt.argmin(x, -1),
        inputs={"ordinary": (ORDINARY,), "ties": (TIES,)},
        instead=lambda jt, x: jt.argmin(x, -1)[0],
        gradient=False,
        note="returns indices and values",
    ),
    Operator(
        "argmax with NaN",
        truth=lambda x: x.argmax(-1),
        torch=lambda x: x.argmax(-1),
        jittor=lambda jt, x: jt.argmax(x, -1)[0],
        inputs={"NaN and infinity": (SPECIAL,)},
        gradient=False,
    ),
    Operator(
        "softmax",
        truth=lambda x: softmax(x),
        torch=lambda x: F.softmax(x, -1),
        jittor=lambda jt, x: jt.nn.softmax(x, -1),
        inputs=SCORES,
        instead=twin_softmax,
        twin="operators.py",
    ),
    Operator(
        "softmax over the first axis",
        truth=lambda x: softmax(x, 0),
        torch=lambda x: F.softmax(x, 0),
        jittor=lambda jt, x: jt.nn.softmax(x, 0),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "log_softmax",
        truth=lambda x: x - log_sum_exp(x)[..., None],
        torch=lambda x: F.log_softmax(x, -1),
        jittor=lambda jt, x: jt.nn.log_softmax(x, -1),
        inputs=SCORES,
    ),
    Operator(
        "logsumexp",
        truth=lambda x: log_sum_exp(x),
        torch=lambda x: torch.logsumexp(x, -1),
        jittor=lambda jt, x: jt.nn.logsumexp(x, -1),
        inputs=SCORES,
        instead=lambda jt, x: jt.log(jt.exp(x - x.max(-1, keepdims=True)).sum(-1)) + x.max(-1),
        note="not shifted by the largest number, so that it overflows",
        defect="logsumexp_overflow",
    ),
    Operator(
        "cumsum",
        truth=lambda x: x.cumsum(-1),
        torch=lambda x: x.cumsum(-1),
        jittor=lambda jt, x: jt.cumsum(x, -1),
        inputs={"ordinary": (ORDINARY,), "NaN and infinity": (SPECIAL,)},
    ),
    Operator(
        "cumsum over the first axis",
        truth=lambda x: x.cumsum(0),
        torch=lambda x: x.cumsum(0),
        jittor=lambda jt, x: jt.cumsum(x, 0),
        inputs={"ordinary": (ORDINARY,)},
    ),
    Operator(
        "cumprod",
        truth=lambda x: x.cumprod(-1),
        torch=lambda x: x.cumprod(-1),
        jittor=lambda jt, x: jt.cumprod(x, -1),
        inputs={
            "ordinary": (POSITIVE,),
            "negative numbers": (ORDINARY,),
            "zeros": (table(1, 2, 0, 3, 2, 1, 1, 4),),
        },
        note="computed as exp(cumsum(log(x))): NaN from the first negative number on",
        defect="cumprod_of_negatives",
    ),
    Operator(
        "any, all",
        truth=lambda i: (i.any(-1), i.all(-1)),
        torch=lambda i: (i.any(-1), i.all(-1)),
        jittor=lambda jt, i: (i.any(-1), i.all(-1)),
        inputs=BOOLS,
    ),
    Operator(
        "sum of bools",
        truth=lambda i: i.sum(-1),
        torch=lambda i: i.sum(-1),
        jittor=lambda jt, i: i.sum(-1),
        inputs=BOOLS,
    ),
    Operator(
        "sum of integers",
        truth=lambda i: i.sum(-1),
        torch=lambda i: i.sum(-1),
        jittor=lambda jt, i: i.sum(-1),
        inputs=WHOLE,
    ),
    Operator(
        "median",
        truth=lambda x: np.sort(x, -1)[:, (x.shape[-1] - 1) // 2],
        torch=lambda x: x.median(-1).values,
        jittor=lambda jt, x: jt.median(x, -1),
        inputs={"ordinary": (ORDINARY,), "odd": (ORDINARY[:, :5],)},
        instead=lambda jt, x: jt.sort(x, -1)[0][:, (x.shape[-1] - 1) // 2],
        note="sorts along the axis, and then takes a row",
        defect="median_axis",
    ),
    Operator(
        "largest of integers",
        truth=lambda i: (i.max(-1), i.min(-1)),
        torch=lambda i: (i.amax(-1), i.amin(-1)),
        jittor=lambda jt, i: (i.max(-1), i.min(-1)),
        inputs=WHOLE | {"ties": (INTEGERS.astype(np.int64),)},
    ),
]

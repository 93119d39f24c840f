"""Convolutions and pools."""

import numpy as np
import torch.nn.functional as F

from parity_tests.operators.inputs import drawn, indices
from parity_tests.operators.operator import Operator

IMAGE, WEIGHT = drawn(2, 4, 5, 6), drawn(4, 4, 3, 3, seed=1)
BIAS = drawn(4, seed=2)
CONV = {"ordinary": (IMAGE, WEIGHT), "empty batch": (np.zeros((0, 4, 5, 6)), WEIGHT)}
BIASED = {"ordinary": (IMAGE, WEIGHT, BIAS)}
POINT = {"ordinary": (IMAGE, WEIGHT[:, :, :1, :1])}
GROUPED = {"ordinary": (IMAGE, WEIGHT[:, :2])}
DEPTHWISE = {"ordinary": (IMAGE, WEIGHT[:, :1])}
STEPS = indices(2, 3, 5, 6, below=3).astype(np.float64)
POOLED = {"ordinary": (drawn(2, 3, 5, 6),), "ties": (STEPS,), "negative": (-np.abs(drawn(2, 3, 5, 6)) - 1,)}
AVERAGED = {"ordinary": (drawn(2, 3, 5, 6),)}
MASKED = {"NaN": (np.where(np.arange(180).reshape(2, 3, 5, 6) % 37 == 5, np.nan, drawn(2, 3, 5, 6)),)}


def windows(x, size, stride, padding=(0, 0), fill=0.0):
    """Windows [B, C, H, W, size, size]; ``padding``: rows and columns before and after."""
    padded = np.pad(x, ((0, 0), (0, 0), padding, padding), constant_values=fill)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))  # pyright: ignore
    return seen[:, :, ::stride, ::stride]


def conv(x, w, stride=1, padding=0, groups=1, dilation=1):
    """Convolution by one einsum for each group."""
    span = dilation * (w.shape[-1] - 1) + 1
    seen = windows(x, span, stride, (padding, padding))[..., ::dilation, ::dilation]
    parts = zip(np.split(seen, groups, 1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("bchwij,ocij->bohw", a, b) for a, b in parts], 1)


def spread(x, stride):
    """x with zeros between its rows and columns."""
    result = np.zeros((*x.shape[:2], (x.shape[2] - 1) * stride + 1, (x.shape[3] - 1) * stride + 1), x.dtype)
    result[:, :, ::stride, ::stride] = x
    return result


def average(x, size, stride, padding, after, counted):
    """Average pool; ``after``: rows behind the image for ceil_mode; ``counted``: the divisor's image."""
    total = windows(x, size, stride, (padding, padding + after)).sum((-1, -2))
    ones = np.ones_like(x)
    inner = np.pad(ones, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=float(counted))
    return total / windows(inner, size, stride, (0, after)).sum((-1, -2))


OPERATORS = [
    Operator(
        "conv2d",
        truth=lambda x, w: conv(x, w, padding=1),
        torch=lambda x, w: F.conv2d(x, w, padding=1),
        jittor=lambda jt, x, w: jt.nn.conv2d(x, w, padding=1),
        inputs=CONV,
        twin="layers.py",
    ),
    Operator(
        "conv2d, bias",
        truth=lambda x, w, b: conv(x, w, padding=1) + b[:, None, None],
        torch=lambda x, w, b: F.conv2d(x, w, b, padding=1),
        jittor=lambda jt, x, w, b: jt.nn.conv2d(x, w, b, padding=1),
        inputs=BIASED,
        twin="layers.py",
    ),
    Operator(
        "conv2d, stride 2",
        truth=lambda x, w: conv(x, w, 2, 1),
        torch=lambda x, w: F.conv2d(x, w, stride=2, padding=1),
        jittor=lambda jt, x, w: jt.nn.conv2d(x, w, stride=2, padding=1),
        inputs={"ordinary": CONV["ordinary"]},
        twin="layers.py",
    ),
    Operator(
        "conv2d, 1 x 1",
        truth=lambda x, w: conv(x, w),
        torch=lambda x, w: F.conv2d(x, w),
        jittor=lambda jt, x, w: jt.nn.conv2d(x, w),
        inputs=POINT,
        twin="layers.py",
    ),
    Operator(
        "conv2d, dilated",
        truth=lambda x, w: conv(x, w, padding=2, dilation=2),
        torch=lambda x, w: F.conv2d(x, w, padding=2, dilation=2),
        jittor=lambda jt, x, w: jt.nn.conv2d(x, w, padding=2, dilation=2),
        inputs={"ordinary": CONV["ordinary"]},
    ),
    Operator(
        "conv2d, groups",
        truth=lambda x, w: conv(x, w, padding=1, groups=2),
        torch=lambda x, w: F.conv2d(x, w, padding=1, groups=2),
        jittor=lambda jt, x, w: jt.nn.conv2d(x, w, padding=1, groups=2),
        inputs=GROUPED,
        twin="backbones/regnet.py",
    ),
    Operator(
        "conv2d, depthwise",
        truth=lambda x, w: conv(x, w, padding=1, groups=4),
        torch=lambda x, w: F.conv2d(x, w, padding=1, groups=4),
        jittor=lambda jt, x, w: jt.nn.conv2d(x, w, padding=1, groups=4),
        inputs=DEPTHWISE,
        twin="backbones/hgnetv2.py",
    ),
    Operator(
        "conv_transpose2d",
        truth=lambda x, w: conv(spread(x, 2), w.swapaxes(0, 1)[:, :, ::-1, ::-1], padding=2),
        torch=lambda x, w: F.conv_transpose2d(x, w, stride=2),
        jittor=lambda jt, x, w: jt.nn.conv_transpose(x, w, stride=2),
        inputs={"ordinary": CONV["ordinary"]},
    ),
    Operator(
        "max_pool2d",
        truth=lambda x: windows(x, 3, 2, (1, 1), -np.inf).max((-1, -2)),
        torch=lambda x: F.max_pool2d(x, 3, 2, 1),
        jittor=lambda jt, x: jt.nn.max_pool2d(x, 3, 2, 1),
        inputs=POOLED,
        untold=("ties",),
        twin="backbones/presnet.py",
    ),
    Operator(
        "max_pool2d, no padding",
        truth=lambda x: windows(x, 2, 2).max((-1, -2)),
        torch=lambda x: F.max_pool2d(x, 2, 2),
        jittor=lambda jt, x: jt.nn.max_pool2d(x, 2, 2),
        inputs=POOLED,
        untold=("ties",),
        twin="backbones/dla.py",
    ),
    Operator(
        "max_pool2d, ceil_mode",
        truth=lambda x: windows(x, 2, 2, (0, 1), -np.inf)[:, :, :, :3].max((-1, -2)),
        torch=lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True),
        jittor=lambda jt, x: jt.nn.max_pool2d(x, 2, 2, ceil_mode=True),
        inputs=POOLED,
        untold=("ties",),
    ),
    Operator(
        "max_pool2d of NaN",
        truth=lambda x: windows(x, 2, 2).max((-1, -2)),
        torch=lambda x: F.max_pool2d(x, 2, 2),
        jittor=lambda jt, x: jt.nn.max_pool2d(x, 2, 2),
        inputs=MASKED,
        note="NaN may be dropped",
        defect="nan_is_swallowed",
    ),
    Operator(
        "avg_pool2d",
        truth=lambda x: windows(x, 2, 2).mean((-1, -2)),
        torch=lambda x: F.avg_pool2d(x, 2, 2),
        jittor=lambda jt, x: jt.nn.avg_pool2d(x, 2, 2),
        inputs=AVERAGED,
        twin="backbones/presnet.py",
    ),
    Operator(
        "avg_pool2d, padding",
        truth=lambda x: windows(x, 3, 2, (1, 1)).mean((-1, -2)),
        torch=lambda x: F.avg_pool2d(x, 3, 2, 1),
        jittor=lambda jt, x: jt.nn.avg_pool2d(x, 3, 2, 1),
        inputs=AVERAGED,
        note="the gradient divides by a float32 number",
    ),
    Operator(
        "avg_pool2d, padding not counted",
        truth=lambda x: average(x, 3, 2, 1, 0, counted=False),
        torch=lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        jittor=lambda jt, x: jt.nn.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        inputs=AVERAGED,
        instead=lambda jt, x: jt.nn.avg_pool2d(x, 3, 2, 1) / jt.nn.avg_pool2d(jt.ones_like(x), 3, 2, 1),
        note="divides by the whole window all the same",
        defect="average_pool_divisor",
    ),
    Operator(
        "avg_pool2d, ceil_mode",
        truth=lambda x: average(x, 2, 2, 0, 1, counted=True)[:, :, :, :3],
        torch=lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
        jittor=lambda jt, x: jt.nn.avg_pool2d(x, 2, 2, ceil_mode=True),
        inputs=AVERAGED,
        twin="backbones/presnet.py",
    ),
    Operator(
        "avg_pool2d, ceil_mode and padding",
        truth=lambda x: average(x, 3, 2, 1, 1, counted=True),
        torch=lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        jittor=lambda jt, x: jt.nn.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        inputs=AVERAGED,
        note="a window that the border cuts is divided by another number",
        defect="average_pool_divisor",
    ),
    Operator(
        "adaptive_avg_pool2d to 1",
        truth=lambda x: x.mean((2, 3), keepdims=True),
        torch=lambda x: F.adaptive_avg_pool2d(x, 1),
        jittor=lambda jt, x: jt.nn.AdaptiveAvgPool2d(1)(x),
        inputs=AVERAGED,
        instead=lambda jt, x: x.sum(3, keepdims=True).sum(2, keepdims=True) / (x.shape[2] * x.shape[3]),
        twin="operators.py",
        note="the gradient divides by a float32 number",
    ),
    Operator(
        "adaptive_avg_pool2d, uneven",
        truth=lambda x: np.stack([x[:, :, 0:3].mean(2), x[:, :, 2:5].mean(2)], 2).reshape(2, 3, 2, 3, 2).mean(-1),
        torch=lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        jittor=lambda jt, x: jt.nn.AdaptiveAvgPool2d((2, 3))(x),
        inputs=AVERAGED,
        note="the gradient divides by a float32 number",
    ),
]

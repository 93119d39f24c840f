"""Norms: batch, layer, group, instance, with small and large means."""

import numpy as np
import torch
import torch.nn.functional as F

from parity_tests.operators.inputs import drawn, uniform
from parity_tests.operators.operator import Operator

W3, B3, W6, B6 = uniform(3, low=0.5, high=1.5), drawn(3, seed=2), uniform(6, low=0.5, high=1.5), drawn(6, seed=2)
MAPS = {
    "ordinary": (drawn(2, 3, 4, 5), W3, B3),
    "mean 30": (drawn(2, 3, 4, 5, mean=30.0), W3, B3),
    "mean 300": (drawn(2, 3, 4, 5, mean=300.0), W3, B3),
    "constant": (np.full((2, 3, 4, 5), 3.0), W3, B3),
}
STATISTICS = (np.asarray([0, 1, -2]), np.asarray([1, 2, 3]))  # integers, so that no gradient is asked for them
FIXED = {"ordinary": (drawn(2, 3, 4, 5), W3, B3, *STATISTICS)}
ROWS = {
    "ordinary": (drawn(4, 6), W6, B6),
    "mean 30": (drawn(4, 6, mean=30.0), W6, B6),
    "mean 300": (drawn(4, 6, mean=300.0), W6, B6),
    "constant": (np.full((4, 6), 3.0), W6, B6),
}
GROUPED = {label: (np.concatenate([x, x[:, :1]], 1), uniform(4), drawn(4)) for label, (x, _, _) in MAPS.items()}
EPS = np.longdouble("1e-5")


def per_channel(w):
    """[C] for [B, C, H, W]."""
    return w[:, None, None]


def normal(x, axes):
    """x minus its mean over the root of its variance and 1e-5."""
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + EPS)


def torch_running(x):
    """Running statistics after one batch."""
    norm = torch.nn.BatchNorm2d(3, dtype=x.dtype)
    norm(x)
    return norm.running_mean, norm.running_var


def jittor_running(jt, x):
    """Running statistics after one batch."""
    norm = jt.nn.BatchNorm2d(3)
    norm(x).sync()
    return norm.running_mean.numpy().astype(str(x.dtype)), norm.running_var.numpy().astype(str(x.dtype))


def twin_running(jt, x):
    """The twin's formula: the unbiased variance."""
    from frameworks.jittor_rtdetr import operators

    count = x.shape[0] * x.shape[2] * x.shape[3]
    one = jt.ones((3,), dtype=str(x.dtype))
    _, mean, var = operators.batch_norm(x, one, one * 0, 1e-5)
    momentum, share = (operators.constant(value, mean) for value in (0.1, count / (count - 1)))
    return mean * momentum, one + (var * share - one) * momentum  # pyright: ignore


def jittor_batch_norm(jt, x, w, b):
    """The module in training, with given weights."""
    norm = jt.nn.BatchNorm2d(3)
    norm.weight, norm.bias = w, b
    return norm(x)


def twin_batch_norm(jt, x, w, b):
    """The twin's."""
    from frameworks.jittor_rtdetr import operators

    return operators.batch_norm(x, w, b, 1e-5)[0]


def twin_fixed_norm(jt, x, w, b, mean, var):
    """The twin's."""
    from frameworks.jittor_rtdetr import operators

    return operators.fixed_norm(x, w, b, mean.type_as(x), var.type_as(x), 1e-5)


def twin_layer_norm(jt, x, w, b):
    """The twin's."""
    from frameworks.jittor_rtdetr import operators

    return operators.layer_norm(x, w, b, 1e-5)


CANCELS = "the variance is E[x²] - E[x]², which cancels where the mean is large"

OPERATORS = [
    Operator(
        "batch_norm, training",
        truth=lambda x, w, b: normal(x, (0, 2, 3)) * per_channel(w) + per_channel(b),
        torch=lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        jittor=jittor_batch_norm,
        inputs=MAPS,
        instead=twin_batch_norm,
        twin="operators.py",
        note=CANCELS,
        defect="norm_variance_cancels",
    ),
    Operator(
        "batch_norm, evaluation",
        truth=lambda x, w, b, m, v: (
            (x - per_channel(m)) / per_channel(np.sqrt(v + EPS)) * per_channel(w) + per_channel(b)
        ),
        torch=lambda x, w, b, m, v: F.batch_norm(x, m.to(x), v.to(x), w, b),
        jittor=lambda jt, x, w, b, m, v: jt.nn.batch_norm(x, m.type_as(x), v.type_as(x), w, b),
        inputs=FIXED,
        instead=twin_fixed_norm,
        twin="operators.py",
        note="eps is a float32 number",
    ),
    Operator(
        "running statistics of BatchNorm2d",
        truth=lambda x: (
            x.mean((0, 2, 3)) * np.longdouble("0.1"),
            np.longdouble("0.9") + x.var((0, 2, 3), ddof=1) * np.longdouble("0.1"),
        ),
        torch=torch_running,
        jittor=jittor_running,
        inputs={label: (MAPS[label][0],) for label in ("ordinary", "mean 30")},
        instead=twin_running,
        gradient=False,
        twin="layers.py",
        note="the running variance is the biased one",
        defect="running_variance_biased",
    ),
    Operator(
        "layer_norm",
        truth=lambda x, w, b: normal(x, -1) * w + b,
        torch=lambda x, w, b: F.layer_norm(x, (6,), w, b),
        jittor=lambda jt, x, w, b: jt.nn.layer_norm(x, (6,), w, b),
        inputs=ROWS,
        instead=twin_layer_norm,
        twin="operators.py",
        note=CANCELS,
        defect="norm_variance_cancels",
    ),
    Operator(
        "group_norm",
        truth=lambda x, w, b: normal(x.reshape(2, 2, 40), -1).reshape(x.shape) * per_channel(w) + per_channel(b),
        torch=lambda x, w, b: F.group_norm(x, 2, w, b),
        jittor=lambda jt, x, w, b: jt.nn.group_norm(x, 2, w, b),
        inputs=GROUPED,
        note=CANCELS,
        defect="norm_variance_cancels",
    ),
    Operator(
        "instance_norm",
        truth=lambda x, w, b: normal(x, (2, 3)) * per_channel(w) + per_channel(b),
        torch=lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        jittor=lambda jt, x, w, b: jt.nn.instance_norm(x, weight=w, bias=b),
        inputs=MAPS,
        note=CANCELS,
        defect="norm_variance_cancels",
    ),
]

"""Interpolation and sampling at points."""

from typing import Any

import numpy as np
import torch.nn.functional as F

from parity_tests.operators.inputs import drawn, uniform
from parity_tests.operators.operator import Operator

IMAGE = {"ordinary": (drawn(2, 3, 4, 5),), "one pixel": (drawn(2, 3, 1, 1),)}
ODD = {"ordinary": (drawn(2, 3, 5, 7),)}
PIXELS = drawn(2, 3, 4, 5)
POINTS = {
    "ordinary": (PIXELS, uniform(2, 2, 3, 2, low=-0.9, high=0.9)),
    "outside": (PIXELS, uniform(2, 2, 3, 2, low=-3.0, high=3.0)),
    "bounds": (PIXELS, np.asarray([-1, 1, 0, 0.6, -0.6, 1] * 4, np.float64).reshape(2, 2, 3, 2)),
    "far outside": (PIXELS, np.asarray([-1e4, 5, 1e6, 0.1, 0, -40] * 4, np.float64).reshape(2, 2, 3, 2)),
}
SPECIAL = {"NaN": (PIXELS, np.asarray([np.nan, 0.1, 0.2, np.nan, 0.3, 0.4] * 4, np.float64).reshape(2, 2, 3, 2))}


def grid_sample(x, grid, padding="zeros", align=False):
    """Bilinear sampling [B, C, H, W] at [B, h, w, 2], written over the four corners."""
    size = np.asarray([x.shape[3], x.shape[2]])
    at = (grid + 1) / 2 * (size - 1) if align else ((grid + 1) * size - 1) / 2
    if padding == "border":
        at = np.clip(at, 0, size - 1)
    low = np.floor(at)
    result = 0.0
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        pixel = low + corner
        weight = np.prod(1 - np.abs(at - pixel), -1)
        inside = ((pixel >= 0) & (pixel < size)).all(-1)
        column, row = np.moveaxis(np.clip(np.nan_to_num(pixel), 0, size - 1).astype(int), -1, 0)
        seen = np.stack([image[:, r, c] for image, r, c in zip(x, row, column, strict=True)])
        result = result + seen * np.where(inside, weight, 0)[:, None]
    return result


def bilinear(x, height, width, align=False, scale=None):
    """Bilinear interpolation to a size; ``scale``: the ratio that the caller gave in place of the sizes'."""
    rows, columns = (_weights(n, m, align, scale) for n, m in ((x.shape[2], height), (x.shape[3], width)))
    return np.einsum("bchw,Hh,Ww->bcHW", x, rows, columns)


def _weights(old, new, align, scale):
    ratio = np.longdouble(old) / new if scale is None else 1 / np.longdouble(scale)
    ends = np.arange(new) * ((old - 1) / np.longdouble(max(new - 1, 1)))
    at = ends if align else (np.arange(new) + 0.5) * ratio - 0.5
    at = np.clip(at, 0, old - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(old)), 0)


def nearest(x, height, width):
    """Nearest neighbours: the pixel that the destination's corner falls into."""
    return x[:, :, np.arange(height) * x.shape[2] // height][:, :, :, np.arange(width) * x.shape[3] // width]


def twin_bilinear(jt, x, grid):
    """The twin's, with channels last and one head."""
    from frameworks.jittor_rtdetr.attention import bilinear as sample

    value = x.permute(0, 2, 3, 1).reshape((x.shape[0], -1, 1, x.shape[1]))
    points = grid.reshape((grid.shape[0], grid.shape[1], 1, grid.shape[2], 2))
    found: Any = sample(value, (points + 1) / 2, (x.shape[2], x.shape[3]))
    return found.reshape((x.shape[0], *grid.shape[1:3], x.shape[1])).permute(0, 3, 1, 2)


OPERATORS = [
    Operator(
        "interpolate, nearest, twice",
        truth=lambda x: nearest(x, 2 * x.shape[2], 2 * x.shape[3]),
        torch=lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        jittor=lambda jt, x: jt.nn.interpolate(x, scale_factor=2, mode="nearest"),
        inputs=IMAGE,
        twin="encoder.py",
    ),
    Operator(
        "interpolate, nearest, to a size",
        truth=lambda x: nearest(x, 7, 9),
        torch=lambda x: F.interpolate(x, size=(7, 9), mode="nearest"),
        jittor=lambda jt, x: jt.nn.interpolate(x, size=(7, 9), mode="nearest"),
        inputs=IMAGE,
    ),
    Operator(
        "interpolate, default",
        truth=lambda x: nearest(x, 2 * x.shape[2], 2 * x.shape[3]),
        torch=lambda x: F.interpolate(x, scale_factor=2),
        jittor=lambda jt, x: jt.nn.interpolate(x, scale_factor=2),
        inputs={"ordinary": IMAGE["ordinary"]},
        instead=lambda jt, x: jt.nn.interpolate(x, scale_factor=2, mode="nearest"),
        note="the default mode is bilinear, PyTorch's is nearest",
    ),
    Operator(
        "interpolate, bilinear, twice",
        truth=lambda x: bilinear(x, 2 * x.shape[2], 2 * x.shape[3]),
        torch=lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        jittor=lambda jt, x: jt.nn.interpolate(x, scale_factor=2, mode="bilinear"),
        inputs=IMAGE,
    ),
    Operator(
        "interpolate, bilinear, to a size",
        truth=lambda x: bilinear(x, 7, 9),
        torch=lambda x: F.interpolate(x, size=(7, 9), mode="bilinear"),
        jittor=lambda jt, x: jt.nn.interpolate(x, size=(7, 9), mode="bilinear"),
        inputs=IMAGE,
        note="the ratio is a float32 number",
    ),
    Operator(
        "interpolate, align_corners",
        truth=lambda x: bilinear(x, 7, 9, align=True),
        torch=lambda x: F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True),
        jittor=lambda jt, x: jt.nn.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True),
        inputs=IMAGE,
    ),
    Operator(
        "interpolate, bilinear, half of odd",
        truth=lambda x: bilinear(x, 2, 3, scale=0.5),
        torch=lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"),
        jittor=lambda jt, x: jt.nn.interpolate(x, scale_factor=0.5, mode="bilinear"),
        inputs=ODD,
        note="the ratio is that of the rounded sizes, PyTorch takes scale_factor",
    ),
    Operator(
        "grid_sample",
        truth=lambda x, g: grid_sample(x, g),
        torch=lambda x, g: F.grid_sample(x, g, align_corners=False),
        jittor=lambda jt, x, g: jt.nn.grid_sample(x, g, align_corners=False),
        inputs=POINTS,
        instead=twin_bilinear,
        twin="attention.py",
        note="computes corners and weights again for every channel",
    ),
    Operator(
        "grid_sample, align_corners",
        truth=lambda x, g: grid_sample(x, g, align=True),
        torch=lambda x, g: F.grid_sample(x, g, align_corners=True),
        jittor=lambda jt, x, g: jt.nn.grid_sample(x, g, align_corners=True),
        inputs=POINTS,
    ),
    Operator(
        "grid_sample, border",
        truth=lambda x, g: grid_sample(x, g, "border"),
        torch=lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=False),
        jittor=lambda jt, x, g: jt.nn.grid_sample(x, g, padding_mode="border", align_corners=False),
        inputs=POINTS,
    ),
    Operator(
        "grid_sample at NaN",
        truth=lambda x, g: np.where(np.isnan(g).any(-1)[:, None], np.nan, grid_sample(x, g)),
        torch=lambda x, g: F.grid_sample(x, g, align_corners=False),
        jittor=lambda jt, x, g: jt.nn.grid_sample(x, g, align_corners=False),
        inputs=SPECIAL,
    ),
    Operator(
        "pixel_shuffle",
        truth=lambda x: x.reshape(2, 1, 2, 2, 3, 3).transpose(0, 1, 4, 2, 5, 3).reshape(2, 1, 6, 6),
        torch=lambda x: F.pixel_shuffle(x, 2),
        jittor=lambda jt, x: jt.nn.PixelShuffle(2)(x),
        inputs={"ordinary": (drawn(2, 4, 3, 3),)},
    ),
]

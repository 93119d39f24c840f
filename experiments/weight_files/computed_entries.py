"""Entries of the official RT-DETRv2 state that are computed, not learned: recognise them and compute their values.

Suffixes: N tokens of all levels, P sampling points of all levels.
"""

import re

import numpy as np

from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.state.constants import constant_shapes

_CELL = 0.05  # side of an anchor on the finest level, as a fraction of the image
_NAMES = re.compile(r"decoder\.(anchors|valid_mask)|decoder\.decoder\.layers\.\d+\.cross_attn\.num_points_scale")


def is_constant(name: str) -> bool:
    """Whether an entry of an official state is computed rather than learned."""
    return _NAMES.fullmatch(name) is not None


def split_constants(arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Split a state into weights and computed entries."""
    constants = {name: array for name, array in arrays.items() if is_constant(name)}
    return {name: array for name, array in arrays.items() if name not in constants}, constants


def computed_constants(spec: ModelSpec, size_hw: tuple[int, int]) -> Arrays:
    """Anchors, their validity and point scales for images of ``size_hw`` pixels; version v1 has none.

    ``decoder.anchors`` [1, N, 4] float32 logits, +inf where invalid; ``decoder.valid_mask`` [1, N, 1] bool;
    ``num_points_scale`` [P] float32 for each decoder layer.
    """
    shapes = constant_shapes(spec, size_hw)
    if not shapes:
        return {}
    anchors_1N4, valid_1N1 = _anchors(spec, size_hw)
    scale_P = np.concatenate([np.full(count, 1 / count, np.float32) for count in spec.decoder.num_points])
    values = {"decoder.anchors": anchors_1N4, "decoder.valid_mask": valid_1N1}
    return {name: values.get(name, scale_P) for name in shapes}


def _anchors(spec: ModelSpec, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Anchor logits [1, N, 4] at the cell centres, their side doubled from level to level; validity [1, N, 1]."""
    levels = []
    for level, stride in enumerate(spec.backbone.out_strides):
        height, width = size_hw[0] // stride, size_hw[1] // stride
        y_HW, x_HW = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        centres_N2 = np.stack([(x_HW + 0.5) / width, (y_HW + 0.5) / height], -1).reshape(-1, 2)
        sides_N2 = np.full_like(centres_N2, _CELL * 2.0**level)
        levels.append(np.concatenate([centres_N2, sides_N2], -1))
    anchors_1N4 = np.concatenate(levels)[None].astype(np.float32)
    eps = spec.decoder.eps
    valid_1N1 = ((anchors_1N4 > eps) & (anchors_1N4 < 1 - eps)).all(-1, keepdims=True)
    logits_1N4 = np.log(anchors_1N4 / (1 - anchors_1N4))
    return np.where(valid_1N1, logits_1N4, np.float32(np.inf)), valid_1N1

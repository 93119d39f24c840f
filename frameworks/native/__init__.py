"""Operators in C++ that both twins compile; each twin's tests hold them to its own formulas."""

from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent


def level_table(
    spatial_shapes: list[tuple[int, int]],
    points: tuple[int, ...],
    method: str,
    value_BNHd: Any,
    locations_BQHK2: Any,
    weights_BQHK: Any,
) -> np.ndarray:
    """The table of levels that deformable_attention.h reads, int32 [L, 4].

    Args:
        spatial_shapes: (h, w) per level.
        points: sampling points per level.
        method: "default" (bilinear) or "discrete".
        value_BNHd, locations_BQHK2, weights_BQHK: the other inputs, of either framework.

    Raises:
        ValueError: shapes or dtypes do not fit; the C++ code would read outside of the arrays.
    """
    rows = [(h, w, count, method == "discrete") for (h, w), count in zip(spatial_shapes, points, strict=True)]
    batch, queries, heads, _ = weights_BQHK.shape
    expected = {
        "value": (batch, sum(h * w for h, w, _, _ in rows), heads, value_BNHd.shape[3]),
        "locations": (batch, queries, heads, sum(points), 2),
        "weights": (batch, queries, heads, sum(points)),
    }
    found = (value_BNHd, locations_BQHK2, weights_BQHK)
    for (name, shape), array in zip(expected.items(), found, strict=True):
        if tuple(array.shape) != shape or array.dtype != value_BNHd.dtype:
            wanted = f"{shape} in {value_BNHd.dtype}"
            raise ValueError(f"{name} is {tuple(array.shape)} in {array.dtype}; expected {wanted}")
    return np.array(rows, np.int32)

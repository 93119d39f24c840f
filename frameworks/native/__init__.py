"""Operators in C++ that both twins compile; each twin's tests hold them to its own formulas."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def level_table(
    spatial_shapes: list[tuple[int, int]], points: tuple[int, ...], method: str, total: tuple[int, int]
) -> np.ndarray:
    """The table of levels that deformable_attention.h reads, int32 [L, 4].

    Args:
        spatial_shapes: (h, w) per level.
        points: sampling points per level.
        method: "default" (bilinear) or "discrete".
        total: pixels and points of all levels, as the other arrays have them.

    Raises:
        ValueError: the levels do not add up to ``total``; the C++ code would read outside of the arrays.
    """
    rows = [(h, w, count, method == "discrete") for (h, w), count in zip(spatial_shapes, points, strict=True)]
    if (sum(h * w for h, w, _, _ in rows), sum(points)) != tuple(total):
        raise ValueError(f"levels {spatial_shapes} with {points} points do not add up to {total} pixels and points")
    return np.array(rows, np.int32)

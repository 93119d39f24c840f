"""Hungarian matching by SciPy, the solver of every framework: cost matrices to pairs of indices."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

Indices = list[tuple[np.ndarray, np.ndarray]]  # per image: (query indices [n], target indices [n])


@dataclass(frozen=True)
class Matching:
    """One prediction's matching in every image of a batch: cost matrices [Q, T], and the pairs of least cost."""

    costs_QT: list[np.ndarray]
    indices: Indices


def hungarian(costs_QT: list[np.ndarray]) -> Indices:
    """Minimum-cost one-to-one assignment for each image.

    Args:
        costs_QT: per image a float matrix [queries, targets]; there may be no targets.

    Returns:
        per image the query indices [n] and their target indices [n], int64, queries in increasing order.

    Raises:
        FloatingPointError: a cost is NaN or infinite; matching on it would hide a broken model.
    """
    indices = []
    for image, cost_QT in enumerate(costs_QT):
        if not np.isfinite(cost_QT).all():
            bad = int((~np.isfinite(cost_QT)).sum())
            raise FloatingPointError(f"matching cost of image {image}: {bad} of {cost_QT.size} entries not finite")
        queries, targets = linear_sum_assignment(cost_QT)
        indices.append((queries.astype(np.int64), targets.astype(np.int64)))
    return indices

"""What ports usually check, on the very tensors that a parity test compared: would it have seen the fault?"""

from collections.abc import Mapping

import numpy as np

from frameworks.arrays import Arrays

MEAN_DIFFERENCE = 1e-3  # of the mean size of the true values
RTOL, ATOL = 1.0, 1e-8  # NumPy's own atol


def weak_checks(
    candidate: Arrays, truth: Arrays, published: Mapping[str, float], stage_of, error_of
) -> dict[str, bool]:
    """Whether each weaker check fails for one pair of traces.

    Args:
        published: stage -> relative error that published ports promise; other stages are not looked at.
        stage_of, error_of: ``stages.stage_of`` and ``compare.relative_error`` of the tree under test.
    """
    names = sorted(candidate.keys() & truth.keys())
    floats = [n for n in names if truth[n].dtype.kind == "f" and truth[n].size]
    if any(candidate[n].shape != truth[n].shape for n in names):
        return {"published bounds": True, "mean difference": True, "allclose, rtol 1": True}
    pairs = [(n, candidate[n].astype(np.float64), truth[n].astype(np.float64)) for n in floats]
    return {
        "published bounds": any(
            not error_of(a, b) <= published[stage_of(n)] for n, a, b in pairs if stage_of(n) in published
        ),
        "mean difference": any(
            not abs(a.mean() - b.mean()) <= MEAN_DIFFERENCE * abs(b).mean() for _, a, b in pairs
        ),
        "allclose, rtol 1": any(not np.allclose(a, b, rtol=RTOL, atol=ATOL) for _, a, b in pairs),
    }

"""Proof that comparisons can fail: every tensor of a truth is spoilt in four ways and judged by the same limits.

Moved by three times its own limit, permuted, zeroed and scaled by 1.01, each tensor must fail. What cannot be
spoilt in a way is counted with its reason, which is a fact about the tensor: the judge has no part in it.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np

from frameworks.arrays import Arrays
from frameworks.judge.compare import Yardstick, compare, zero_yardsticks
from frameworks.shared.stages import stage_of

Limit = Callable[[str, str], float]  # (stage, tensor) -> largest error that passes

MOVED = 3.0  # times the limit, along a drawn direction
SCALED = 1.01
LEAST, MOST = 1e-15, 1e9  # of the limits that tensors are moved by: one of 0, one of infinity
# float32 cannot see what it does not keep. Entries that differ by less count as equal, such as those of AdamW's
# first updates, which are nearly lr * sign(gradient).
EQUAL = {"float64": 0.0, "float32": SCALED - 1}
MOST_ENTRIES = 2**14
DIRECTION = np.random.default_rng(0).standard_normal(4099)

# Why a tensor cannot be spoilt in a way.
ANALYTIC = "analytically zero: only moved"
EMPTY = "no entries"
CONSTANT = "all entries equal: not permuted"
COARSE = "float32 limit above 1 %: not scaled"
ZERO = "all entries zero: not zeroed and not scaled"
INTEGER = "integers: not scaled"


def count_spoilt(truth: Arrays, limit: Limit, dtype: str) -> Counter[str]:
    """Numbers of tensors that failed in each way, and of those that could not be spoilt, by reason.

    ``dtype`` is the precision of what was compared with the truth.

    Raises:
        AssertionError: a spoilt tensor passed; the message names the first ones.
    """
    truth = {name: thinned(array) for name, array in truth.items()}
    zeros, counts = zero_yardsticks(truth), Counter[str]()
    blind: dict[str, list[str]] = {way: [] for way in WAYS}
    for way, spoil in WAYS.items():
        spoilt: Arrays = {}
        for name, array in truth.items():
            most = limit(stage_of(name), name)
            reason = obstacle(way, array, name in zeros, dtype)
            if way == "scaled" and dtype == "float32" and not reason and most > SCALED - 1:
                reason = COARSE
            if reason:
                counts[reason] += 1
            else:
                spoilt[name] = spoil(array, most, zeros.get(name))
        if not spoilt:
            continue
        for comparison in compare(spoilt, {name: truth[name] for name in spoilt}, limit):
            counts[way] += 1
            if comparison.passed:
                blind[way].append(comparison.describe(dtype, way))
    assert not any(blind.values()), "\n".join(
        line
        for way, lines in blind.items()
        for line in ([f"{len(lines)} tensors pass although {way}:", *lines[:5]] if lines else [])
    )
    return counts


def thinned(array: np.ndarray) -> np.ndarray:
    """The array, or every n-th entry of a large one: the judge knows no sizes, and r18vd has 20 million numbers."""
    step = array.size // MOST_ENTRIES
    return array.ravel()[::step] if step > 1 else array


def obstacle(way: str, array: np.ndarray, analytic: bool, dtype: str) -> str:
    """Why ``array`` cannot be spoilt in this way; empty where it can be."""
    if array.size == 0:
        return EMPTY
    if way == "moved":
        return ""
    if analytic:
        return ANALYTIC
    if way == "permuted":
        entries = array.astype(np.float64)
        return CONSTANT if np.ptp(entries) <= EQUAL[dtype] * np.abs(entries).max() else ""
    if not array.any():
        return ZERO
    return INTEGER if way == "scaled" and array.dtype.kind != "f" else ""


def moved(array: np.ndarray, limit: float, yardstick: Yardstick | None) -> np.ndarray:
    """The array moved by a multiple of its limit along a drawn direction; one entry of an array of integers."""
    if array.dtype.kind != "f":
        changed = np.array(array)
        changed.flat[0] = not changed.flat[0] if array.dtype.kind == "b" else changed.flat[0] + 1
        return changed
    way, error = np.resize(DIRECTION, array.shape), MOVED * min(max(limit, LEAST), MOST)
    norm = float(np.linalg.norm(array.ravel())) or 1.0
    distance = yardstick.norm * error**yardstick.order if yardstick else norm * error
    return array.astype(np.float64) + way * (distance / np.linalg.norm(way.ravel()))


def permuted(array: np.ndarray, limit: float, yardstick: Yardstick | None) -> np.ndarray:
    """The entries moved on by one place, which changes every array of unequal entries."""
    return np.roll(array.ravel(), 1).reshape(array.shape)


def zeroed(array: np.ndarray, limit: float, yardstick: Yardstick | None) -> np.ndarray:
    """Zeros in place of the entries."""
    return np.zeros_like(array)


def scaled(array: np.ndarray, limit: float, yardstick: Yardstick | None) -> np.ndarray:
    """All entries one per cent larger."""
    return array * SCALED


WAYS = {"moved": moved, "permuted": permuted, "zeroed": zeroed, "scaled": scaled}

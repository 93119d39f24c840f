"""Judges what the frameworks answered: each against the truth, and against each other where there is none.

An error is measured against the largest number of the truth. It may be ``ROUNDINGS`` roundings of that number, and
as many times what rounding the inputs by their last digit does to the truth. NaN and infinity have to stand exactly
where the truth has them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from parity_tests.operators.truth import Expected
from reports.operators.records import BOTH_OFF, DIFFERS, OFF_ALIKE, OTHER_CHOICE, SAME, TORCH_OFF

ROUNDINGS = 16
OTHER_DTYPE, OTHER_SHAPE, NOT_FINITE, NUMBERS = "dtype", "shape", "not finite", "numbers"
UNTOLD = 1e-5  # how close the frameworks have to be where there is no truth
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Finding:
    """One framework against the truth: whether it is right, the error relative to the largest number, the limit.

    ``how`` is what is wrong (``NUMBERS``, ...), ``at`` the worst place: (output, index).
    """

    right: bool
    error: float
    limit: float
    how: str = ""
    at: tuple[int, tuple[int, ...]] | None = None


def against_truth(answers: Arrays, expected: list[Expected], dtype: str) -> Finding:
    """Compare outputs or gradients with what they may be; the worst array counts."""
    if len(answers) != len(expected):
        return Finding(False, np.inf, 0.0, f"{len(answers)} results, expected {len(expected)}")
    worst = Finding(True, 0.0, 0.0)
    for number, (answer, one) in enumerate(zip(answers, expected, strict=True)):
        found = _one(answer, one, dtype, number)
        if (not found.right, found.error) > (not worst.right, worst.error) or number == 0:
            worst = found
    return worst


def _one(answer: np.ndarray, expected: Expected, dtype: str, number: int) -> Finding:
    if answer.size != expected.low.size or _shape(answer.shape) != _shape(expected.low.shape):
        return Finding(
            False, np.inf, 0.0, f"{OTHER_SHAPE} {list(answer.shape)}, expected {list(expected.low.shape)}"
        )
    answer = answer.reshape(expected.low.shape)
    if expected.low.dtype.kind == "f" and str(answer.dtype) != dtype:
        return Finding(False, np.inf, 0.0, f"{OTHER_DTYPE} {answer.dtype}")
    low, high, told = (np.asarray(a) for a in (expected.low, expected.high, expected.told))
    answer, low, high = (a.astype(np.float64) for a in (answer, low, high))
    finite = np.isfinite(low) & np.isfinite(high)
    with np.errstate(all="ignore"):
        misplaced = np.where(finite, ~np.isfinite(answer), ~((answer == low) | (np.isnan(answer) & np.isnan(low))))
        error = np.where(finite & told, np.maximum(low - answer, answer - high).clip(0), 0.0)
    misplaced &= told
    if misplaced.any():
        return Finding(False, np.inf, 0.0, NOT_FINITE, (number, _first(misplaced)))
    scale = float(np.abs(low[finite & told]).max(initial=0.0)) or 1.0
    exact = expected.low.dtype.kind in "iub"
    limit = 0.0 if exact else ROUNDINGS * (float(np.finfo(dtype).eps) + expected.slack / scale)
    size = float(error.max(initial=0.0)) / scale
    at = (number, _first(error == error.max())) if size else None
    return Finding(size <= limit, size, limit, "" if size <= limit else NUMBERS, at)


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape or (1,)  # Jittor has no scalars; the page says it once


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def choices_differ(left: Arrays, right: Arrays, expected: list[Expected]) -> tuple[int, tuple[int, ...]] | None:
    """The first place (output, index) without one truth in which two frameworks differ; None: they agree."""
    for number, (a, b, one) in enumerate(zip(left, right, expected, strict=True)):
        free = ~one.told | (one.low != one.high)
        a, b = (np.asarray(x, np.float64).reshape(one.low.shape) for x in (a, b))
        differ = free & ~np.isclose(a, b, rtol=UNTOLD, atol=UNTOLD, equal_nan=True)
        if differ.any():
            return number, _first(differ)
    return None


def alike(left: Arrays, right: Arrays) -> bool:
    """Whether two frameworks answer the same, whatever the truth is."""
    return len(left) == len(right) and all(
        a.size == b.size and np.allclose(a.ravel(), b.ravel(), rtol=UNTOLD, atol=UNTOLD, equal_nan=True)
        for a, b in zip(left, right, strict=True)
    )


def verdict(torch: Finding, jittor: Finding, other_choice: bool, off_alike: bool = False) -> str:
    """One word on one input: who is right, whether both take different choices, or are wrong in the same way."""
    if torch.right and jittor.right:
        return OTHER_CHOICE if other_choice else SAME
    if torch.right:
        return DIFFERS
    if jittor.right:
        return TORCH_OFF
    return OFF_ALIKE if off_alike else BOTH_OFF


def judged(torch: Arrays, jittor: Arrays, expected: list[Expected], dtype: str) -> dict[str, Any]:
    """The part of a record about one pass: verdict, errors, limit, and the place that shows the difference."""
    one, two = against_truth(torch, expected, dtype), against_truth(jittor, expected, dtype)
    choice = choices_differ(torch, jittor, expected) if one.right and two.right else None
    word = verdict(one, two, choice is not None, not (one.right or two.right) and alike(torch, jittor))
    record: dict[str, Any] = {"verdict": word, "torch": plain(one.error), "jittor": plain(two.error)}
    record["limit"] = plain(two.limit or one.limit)
    at = choice or (one.at if word == TORCH_OFF else two.at)
    if word != SAME:
        record["how"] = (one if word == TORCH_OFF else two).how
    if word != SAME and at is not None:
        number, index = at
        three = {"truth": expected[number].low, "torch": torch[number], "jittor": jittor[number]}
        record["at"] = [number, list(index)] if len(expected) > 1 else list(index)
        record |= {"values": {name: _value(a, index) for name, a in three.items()}}
        if choice is None and not expected[number].told[index]:
            record["values"].pop("truth")
    return record


def plain(error: float) -> float | None:
    """Two digits for a record; None for an error that is no number."""
    return float(f"{error:.1e}") if np.isfinite(error) else None


def _value(array: np.ndarray, index: tuple[int, ...]) -> str:
    array = np.asarray(array)
    shape = np.shape(array)
    digits = 13 if array.dtype == np.float64 else 7
    return f"{array.reshape(shape or (1,))[index or (0,)]:.{digits}g}" if array.size else ""

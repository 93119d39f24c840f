"""The truth of an operator: its formula in NumPy, and derivatives by differences of that formula.

Derivatives know where they are no number: at a kink every value between the two one-sided slopes is right, and at a
jump or next to a forbidden input there is none.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from parity_tests.operators.operator import Operator, as_list, cotangent

STEP = np.longdouble(2e-5)
OFFSETS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)  # in steps
MOST = 1000  # numbers in an argument whose derivatives are taken one by one
UNKNOWN = 1e-3  # a slope that changes by this share when the step is halved is not known
JUMP = 0.01  # a change of this share by one rounding is a jump, and says nothing about rounding
Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Expected:
    """What one output or gradient may be.

    ``low`` and ``high`` bound each element (equal where it is one number); ``told`` is False where there is none;
    ``slack`` is what rounding the inputs does to the truth, and the error of the differences.
    """

    low: np.ndarray
    high: np.ndarray
    told: np.ndarray
    slack: float


def expected_outputs(operator: Operator, label: str, dtype: str) -> list[Expected]:
    """The outputs for the inputs of a label, as ``dtype`` can hold them."""
    arguments = operator.arguments(label, dtype)
    values, moved = _forward(operator, arguments), _forward(operator, _one_rounding_away(arguments))
    found = []
    for value, other in zip(values, moved, strict=True):
        told = np.full(value.shape, not (value.dtype.kind in "iub" and label in operator.untold))
        slack = _change(value, other) if value.dtype.kind == "f" else 0.0
        held = _held(value, dtype)
        found.append(Expected(held, held, told, slack))
    return found


def expected_gradients(operator: Operator, label: str, dtype: str) -> list[Expected]:
    """Gradients towards every array of floats, of the outputs' sum weighted by ``cotangent``."""
    arguments = operator.arguments(label, dtype)
    if callable(operator.gradient):
        outputs = _forward(operator, arguments)
        exact = operator.gradient(*_long(arguments), cotangent(outputs[0].shape, 0))
        return [Expected(g := _held(np.asarray(a), dtype), g, np.full(g.shape, True), 0.0) for a in exact]
    found = [_differences(operator, arguments, n) for n, a in enumerate(arguments) if a.dtype.kind == "f"]
    moved = _one_rounding_away(arguments)
    again = [_differences(operator, moved, n) for n, a in enumerate(arguments) if a.dtype.kind == "f"]
    gradients = []
    for one, other in zip(found, again, strict=True):
        smooth = one.told & (one.low == one.high)
        change = _change(one.low[smooth], other.low[smooth])
        held = (_held(one.low, dtype), _held(one.high, dtype))
        told = smooth if label in operator.untold else one.told
        gradients.append(Expected(*held, told, one.slack + change))
    return gradients


def _long(arguments: Arrays) -> Arrays:
    return [a.astype(np.longdouble) if a.dtype.kind == "f" else a for a in arguments]


def _forward(operator: Operator, arguments: Arrays) -> Arrays:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN and empty slices are asked on purpose
        return [np.asarray(output) for output in as_list(operator.truth(*_long(arguments)))]


def _held(value: np.ndarray, dtype: str) -> np.ndarray:
    """As ``dtype`` holds it (1e40 is infinite in float32), in float64; integers stay."""
    if value.dtype.kind != "f":
        return value
    with np.errstate(over="ignore", under="ignore"):
        return value.astype(dtype).astype(np.float64)


def _one_rounding_away(arguments: Arrays) -> Arrays:
    """The floats moved to one of their neighbours, some up and some down; zeros stay."""
    moved = []
    for a in arguments:
        if a.dtype.kind == "f":
            ends = np.where(cotangent(a.shape, 0) > 0, np.inf, -np.inf).astype(a.dtype)
            a = np.where(np.isfinite(a) & (a != 0), np.nextafter(a, ends), a)
        moved.append(a)
    return moved


def _change(value: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of finite elements; 0 where it is a jump."""
    finite = np.isfinite(value) & np.isfinite(other)
    if value.shape != other.shape or not finite.any():
        return 0.0
    change = np.abs(value[finite] - other[finite])
    smooth = change < JUMP * np.abs(value[finite]).max()
    return float(change[smooth].max(initial=0.0))


def _differences(operator: Operator, arguments: Arrays, number: int) -> Expected:
    """Derivatives towards argument ``number``: fourth order, the step halved for the error, kinks found."""
    arguments = _long(arguments)
    base = _forward(operator, arguments)
    weights = [cotangent(output.shape, n) for n, output in enumerate(base)]
    argument = arguments[number]
    low, high, error = (np.zeros(argument.shape, np.longdouble) for _ in range(3))
    if argument.size > MOST:
        return Expected(low, high, np.full(argument.shape, False), 0.0)
    # Next to infinity there is no step to take.
    told = np.full(argument.shape, all(np.isfinite(a).all() for a in arguments if a.dtype.kind == "f"))
    for index in np.ndindex(argument.shape):

        def change(offset: float, index: tuple[int, ...] = index) -> np.longdouble:
            moved = argument.copy()
            moved[index] += offset * STEP
            outputs = _forward(operator, [*arguments[:number], moved, *arguments[number + 1 :]])
            return sum((_sum_of_changes(*three) for three in zip(outputs, base, weights, strict=True)), STEP * 0)

        low[index], high[index], error[index] = _slopes(change)
        told[index] &= bool(np.isfinite(low[index]) and np.isfinite(high[index]))
    floats = [output for output in base if output.dtype.kind == "f"]
    if not all(np.isfinite(output).all() for output in floats):
        told &= low != 0  # or it moves a NaN, which nobody sees
    largest = max((float(np.abs(output[np.isfinite(output)]).max(initial=0)) for output in floats), default=0.0)
    rounding = 2 * largest * float(np.finfo(np.longdouble).eps / STEP)
    return Expected(low, high, told, float(error[told].max(initial=0.0)) + rounding)


def _sum_of_changes(output: np.ndarray, base: np.ndarray, weights: np.ndarray) -> np.longdouble:
    if base.dtype.kind != "f" or output.shape != base.shape:
        return np.longdouble(0)
    with np.errstate(all="ignore"):
        same = (output == base) | (np.isnan(output) & np.isnan(base))
        return np.sum(np.where(same, 0, (output - base) * weights), dtype=np.longdouble)


def _slopes(change: Callable[[float], np.longdouble]) -> tuple[np.longdouble, np.longdouble, np.longdouble]:
    """Lower and upper bound of the derivative, and its error; NaN where there is none."""
    nan = np.longdouble("nan")
    with np.errstate(all="ignore"):
        at = {offset: change(offset) for offset in OFFSETS}
        coarse = (8 * (at[1.0] - at[-1.0]) - (at[2.0] - at[-2.0])) / (12 * STEP)
        fine = (8 * (at[0.5] - at[-0.5]) - (at[1.0] - at[-1.0])) / (6 * STEP)
        right, left = at[1.0] / STEP, -at[-1.0] / STEP
        near_right, near_left = 2 * at[0.5] / STEP, -2 * at[-0.5] / STEP
        gap, near_gap = abs(right - left), abs(near_right - near_left)
        if not np.isfinite(gap + near_gap):
            return nan, nan, nan
        if near_gap < 0.75 * gap or near_gap < 1e-7 + 1e-6 * max(abs(right), abs(left)):
            known = abs(fine - coarse) <= UNKNOWN * max(abs(fine), 1)
            return (fine, fine, abs(fine - coarse)) if known else (nan, nan, nan)
        if near_gap > 1.5 * gap:  # a jump: the slope grows as the step shrinks
            return nan, nan, nan
        sides = sorted((2 * near_right - right, 2 * near_left - left))
        return sides[0], sides[1], np.longdouble(1e-8)

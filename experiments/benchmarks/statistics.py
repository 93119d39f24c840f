"""Medians, bootstrap intervals and paired ratios of timings. NumPy only."""

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median and its bootstrap interval."""

    median: float
    low: float
    high: float


def estimate(values: list[float], seed: int = 0) -> Estimate:
    """Median with its percentile-bootstrap interval; the same values always give the same interval.

    Raises:
        ValueError: there are no values.
    """
    return ratio_of_medians(values, [1.0] * len(values), seed)


def ratio_of_medians(values: list[float], references: list[float], seed: int = 0) -> Estimate:
    """Median of the values ÷ median of the references of the same rounds, rounds resampled as wholes.

    Resampling pairs takes out of the interval whatever slowed a whole round down.

    Raises:
        ValueError: there are no values, or not one reference for each.
    """
    pairs = np.asarray(list(zip(values, references, strict=True)), np.float64)
    if not len(pairs):
        raise ValueError("no values to estimate a median from")
    stream = np.random.Generator(np.random.PCG64(seed))
    medians = np.median(pairs[stream.integers(0, len(pairs), (RESAMPLES, len(pairs)))], axis=1)
    low, high = np.quantile(medians[:, 0] / medians[:, 1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    middle = np.median(pairs, axis=0)
    return Estimate(float(middle[0] / middle[1]), float(low), float(high))


def noise_floor(control: Estimate) -> float:
    """How far from 1 a ratio may lie and still say nothing: the far end of the A/A control's interval."""
    return max(abs(control.low - 1), abs(control.high - 1))


def distinguishable(ratio: Estimate, floor: float) -> bool:
    """Whether a ratio's whole interval lies outside what the A/A control reads for equal programs."""
    return ratio.low > 1 + floor or ratio.high < 1 - floor

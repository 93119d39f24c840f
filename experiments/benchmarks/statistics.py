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
    if not values:
        raise ValueError("no values to estimate a median from")
    sample = np.asarray(values, np.float64)
    stream = np.random.Generator(np.random.PCG64(seed))
    medians = np.median(sample[stream.integers(0, len(sample), (RESAMPLES, len(sample)))], axis=1)
    low, high = np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(np.median(sample)), float(low), float(high))


def paired_ratio(values: dict[int, float], reference: dict[int, float], seed: int = 0) -> Estimate:
    """Median over rounds of value ÷ reference of the same round, rounds resampled as wholes.

    Pairing takes out whatever slowed a whole round down. Rounds that only one side has are left out.

    Raises:
        ValueError: no round in common.
    """
    rounds = sorted(values.keys() & reference.keys())
    return estimate([values[r] / reference[r] for r in rounds], seed)


def noise_floor(control: Estimate) -> float:
    """How far from 1 a ratio may lie and still say nothing: the far end of the A/A control's interval."""
    return max(abs(control.low - 1), abs(control.high - 1))


def distinguishable(ratio: Estimate, floor: float) -> bool:
    """Whether a ratio's whole interval lies outside what the A/A control reads for equal programs."""
    return ratio.low > 1 + floor or ratio.high < 1 - floor

"""The A/A control: whether a machine was quiet enough for its timings to be published.

The control is the reference in a second process, timed like every other label. The true ratio of the two is 1.
"""

from experiments.benchmarks.cells import Row
from experiments.benchmarks.session import CONTROL
from experiments.benchmarks.statistics import Estimate, estimate, noise_floor
from frameworks import REFERENCE

HALF_WIDTH = 0.05  # widest half of the interval over all rounds
FARTHEST = 0.10  # how far from 1 the interval of any one row may reach

RULE = (
    "Nothing is published unless the control's ratio, the median over the rounds of all rows, has a 95 % interval "
    f"that contains 1 and is at most ±{100 * HALF_WIDTH:.0f} % wide, and unless its interval in every row stays "
    f"within {100 * FARTHEST:.0f} % of 1."
)


def control_ratio(rows: list[Row]) -> Estimate | None:
    """Control ÷ reference of the same round, over all rounds of all rows; None without a control."""
    ratios = [
        seconds / row.cells[REFERENCE].rounds[turn]
        for row in rows
        if CONTROL in row.cells and REFERENCE in row.cells
        for turn, seconds in row.cells[CONTROL].rounds.items()
        if turn in row.cells[REFERENCE].rounds
    ]
    return estimate(ratios) if ratios else None


def too_noisy(rows: list[Row]) -> str | None:
    """Why these timings must not be published, in one clause; None if they may be."""
    whole = control_ratio(rows)
    if whole is None:
        return "there is no A/A control"
    interval = f"{whole.low:.3f}–{whole.high:.3f}"
    if not whole.low <= 1 <= whole.high:
        return f"two processes of the same program differ: the control's interval {interval} does not contain 1"
    if (whole.high - whole.low) / 2 > HALF_WIDTH:
        return f"the control's interval {interval} is wider than ±{100 * HALF_WIDTH:.0f} %"
    for row in noisy_rows(rows):
        ratio = row.ratio(CONTROL)
        reach = "is missing" if ratio is None else f"reaches from {ratio.low:.2f} to {ratio.high:.2f}"
        return f"the control {reach} in the {row.task} of {row.preset} at {row.size} px"
    return None


def noisy_rows(rows: list[Row]) -> list[Row]:
    """The rows in which the control's interval reaches too far from 1, or is missing."""
    ratios = [(row, row.ratio(CONTROL)) for row in rows]
    return [row for row, ratio in ratios if ratio is None or noise_floor(ratio) > FARTHEST]

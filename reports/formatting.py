"""How numbers and names are written in every report, so that two reports can be compared by eye."""

import math
from collections.abc import Iterable

from reports.frameworks import style_of

ABSENT = "–"


def label(framework: str) -> str:
    """The framework's name as people write it."""
    return style_of(framework).label


def labels(frameworks: Iterable[str]) -> str:
    """The names of several frameworks: `A`, `A and B`, `A, B and C`."""
    *others, last = [label(framework) for framework in frameworks] or [""]
    return f"{', '.join(others)} and {last}" if others else last


def small(value: float | None) -> str:
    """An error or a difference: `0` exactly, `nan` and `inf` as such, else two significant digits."""
    if value is None:
        return ABSENT
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.1e}"


def percent(fraction: float | None) -> str:
    """A relative difference in percent, in scientific notation where percent would only show zeros."""
    if value_missing(fraction):
        return ABSENT if fraction is None else "an undefined amount (NaN)"
    assert fraction is not None
    percents = 100 * fraction
    if fraction == 0:
        return "0 %"
    if abs(percents) < 0.001:
        return f"{percents:.1e} %"
    return f"{percents:.2g} %" if abs(percents) < 100 else f"{percents:.0f} %"


def value_missing(value: float | None) -> bool:
    """Whether there is no number to show."""
    return value is None or math.isnan(value)


def loss(value: float | None) -> str:
    """A loss with six significant digits."""
    return ABSENT if value is None else f"{value:.6g}"


def average_precision(value: float | None) -> str:
    """A COCO statistic as a fraction; COCO writes -1 where it has nothing to average."""
    if value is None or math.isnan(value):
        return ABSENT
    return "n/a" if value < 0 else f"{value:.4f}"


def seconds(value: float | None) -> str:
    """A duration in seconds, three significant digits and never scientific notation."""
    if value is None:
        return ABSENT
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"


def megabytes(value: float | None) -> str:
    """Memory in whole MB."""
    return ABSENT if value is None else f"{value:,.0f} MB"


def ratio(other: float | None, reference: float | None) -> str:
    """`other` as a multiple of `reference`."""
    if other is None or not reference:
        return ABSENT
    return f"× {other / reference:.2f}"


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def cell(text: object) -> str:
    """Text made safe for one Markdown table cell."""
    return " ".join(str(text).replace("|", "\\|").split())

"""Format numbers and names the same way in every report."""

import math
import re
from collections.abc import Iterable

from reports.frameworks import style_of
from reports.language import say

ABSENT = "–"


def label(framework: str) -> str:
    """The framework's display name."""
    shown = style_of(framework).label
    number = shown.removeprefix("control ")
    return shown if number == shown else say("control {number}", number=number)


def labels(frameworks: Iterable[str]) -> str:
    """The names of several frameworks: `A`, `A and B`, `A, B and C`."""
    *others, last = [label(framework) for framework in frameworks] or [""]
    return say(", ").join(others) + say(" and ") + last if others else last


def small(value: float | None) -> str:
    """An error or a difference: `0` if it is exactly zero, `nan`, `inf`, else two significant digits."""
    if value is None:
        return ABSENT
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.1e}"


def percent(fraction: float | None) -> str:
    """A relative difference in percent, in scientific notation where it would round to 0."""
    if fraction is None:
        return ABSENT
    if math.isnan(fraction):
        return say("an undefined amount (NaN)")
    percents = 100 * fraction
    if fraction == 0:
        return "0 %"
    if abs(percents) < 0.001:
        return f"{percents:.1e} %"
    return f"{percents:.2g} %" if abs(percents) < 100 else f"{percents:.0f} %"


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


def times(ratio: float) -> str:
    """A multiple with two significant digits: `0.87`, `1.0`, `170`."""
    return f"{ratio:.0f}" if math.isfinite(ratio) and ratio >= 9.95 else f"{ratio:#.2g}"


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`; `{number:,} image` is the key of a catalogue."""
    key = f"{{number:,}} {noun}"
    told = say(key, number=number)
    return told if number == 1 or told != key.format(number=number) else f"{told}s"


def cell(text: object) -> str:
    """Text made safe for one Markdown table cell."""
    return " ".join(str(text).replace("|", "\\|").split())


def plain(text: object) -> str:
    """A name from a record, as Markdown that shows just its letters: no HTML, link, picture, formula, emphasis."""
    return _letters(" ".join(str(text).split()))


def prose(text: object) -> str:
    """A sentence from a record: like `plain`, but what stands between single backticks stays code."""
    parts = re.split(r"((?<!`)`[^`]+`(?!`))", " ".join(str(text).split()))
    return "".join(part if place % 2 else _letters(part) for place, part in enumerate(parts))


def code(text: object) -> str:
    """Text from a record as a code span."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"


def _letters(text: str) -> str:
    # an underscore within a word is one; `cell` escapes the bar, which is a letter outside of tables
    return re.sub(r"[\\`*\[\]<>&$~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)

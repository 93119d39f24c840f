"""How each framework looks in every report: label, colour, marker and line, one row per framework.

The colours are those of Okabe and Ito, which readers with any common colour blindness can tell apart.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FrameworkStyle:
    """The look of one framework; `color`, `marker`, `line` and `width` (points) are matplotlib's."""

    label: str
    color: str
    marker: str
    line: Any  # matplotlib's line style: a string or (offset, on-off lengths)
    offset: float  # shift of its marks within a row of height 1, so that equal values stay visible
    width: float = 1.4

    @property
    def curve(self) -> dict[str, Any]:
        """Arguments of `Axes.plot`: the solid wide line lies below the dashed thin ones and stays visible."""
        below = self.line == "-"
        return {"color": self.color, "linestyle": self.line, "linewidth": self.width, "zorder": 2 if below else 3}

    def mark(self, filled: bool) -> dict[str, Any]:
        """Arguments of `Axes.plot` for single marks without a line; hollow unless `filled`."""
        fill = self.color if filled else "white"
        return {"marker": self.marker, "linestyle": "", "color": self.color, "markerfacecolor": fill}


STYLES = {
    "torch": FrameworkStyle("PyTorch", "#D55E00", "o", "-", -0.14, width=2.6),
    "jittor": FrameworkStyle("Jittor", "#0072B2", "D", (0, (4, 1.6)), 0.14),
    "hf": FrameworkStyle("Hugging Face", "#CC79A7", "^", "-.", 0.0),
    "official": FrameworkStyle("official code", "#E69F00", "v", (0, (1, 1)), -0.28),
}


def style_of(name: str) -> FrameworkStyle:
    """The style of a framework; one without a row in STYLES is grey and labelled with its own name."""
    if name.startswith("control"):  # of a run, numbered: the first framework against itself
        return FrameworkStyle(name.replace("control", "control "), "#999999", "s", "-", 0.34, width=1.0)
    return STYLES.get(name) or FrameworkStyle(name, "#777777", "s", ":", 0.34)

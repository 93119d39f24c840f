"""What every figure shares: colours, sizes and how a file is written.

The colours are Okabe and Ito's, which readers with any common colour blindness tell apart; a framework
keeps its colour, its line and its marker in every picture of every report.
"""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"torch": "#D55E00", "jittor": "#0072B2"}
SPARE_COLORS = ("#CC79A7", "#E69F00", "#56B4E9")
GROUND_TRUTH_COLOR = "#009E73"
NEUTRAL_COLOR = "#555555"
LINES = {"torch": "-", "jittor": (0, (4, 1.6))}
MARKERS = {"torch": "o", "jittor": "D"}
DPI = 140
WIDTH = 9.0  # inches: 1260 pixels, which GitHub shows at about 880


def color(framework: str) -> str:
    """The framework's colour; an unknown framework gets a spare one that depends on its name only."""
    return COLORS.get(framework) or SPARE_COLORS[sum(framework.encode()) % len(SPARE_COLORS)]


def line(framework: str) -> dict[str, Any]:
    """Line arguments: the second curve is dashed and thinner, so that it never hides the first."""
    return {
        "color": color(framework),
        "linestyle": LINES.get(framework, ":"),
        "linewidth": 2.6 if framework == "torch" else 1.4,
        "zorder": 2 if framework == "torch" else 3,
    }


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, in inches, outside pyplot so that nothing global changes."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def tidy(axes: Axes, grid: str = "both") -> None:
    """Remove the frame that carries nothing and draw a faint grid ("x", "y" or "both")."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(True, axis=grid, color="#dddddd", linewidth=0.7)  # pyright: ignore[reportArgumentType]
    axes.tick_params(labelsize=9)


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG without the library's version in it, so that equal records give equal bytes."""
    figure.savefig(path, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return path

"""What all figures share: size, neutral colours, grid and file format. Frameworks' looks: `frameworks.py`."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from matplotlib import style as styles
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.language import in_language

GROUND_TRUTH_COLOR = "#009E73"
NEUTRAL_COLOR = "#555555"
BAND_COLOR = "#d5d5d5"
DPI = 140
WIDTH = 9.0  # inches: 1260 pixels, which GitHub shows at about 880

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def plain(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a function draw with matplotlib's own settings, in English; the user's stay as they are."""

    @functools.wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with styles.context("default"), in_language("en"):
            return draw(*args, **kwargs)

    return drawn


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

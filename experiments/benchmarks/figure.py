"""The figure of a benchmark: every timed round, the median and its interval."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from experiments.benchmarks.cells import LABELS, TASK_NAMES, Cell, name_of
from experiments.benchmarks.timing import CONTROL, TASKS
from frameworks import REFERENCE
from reports import style
from reports.frameworks import style_of


def draw(cells: list[Cell], path: Path) -> Path:
    """Draw a panel per task and size."""
    sizes = sorted({cell.size for cell in cells})
    labels = [label for label in LABELS if any(cell.label == label for cell in cells)]
    figure = style.new_figure(height=2.9 * len(TASKS), width=max(5.0, 4.5 * len(sizes)))
    grid = figure.subplots(len(TASKS), len(sizes), squeeze=False)
    for row, task in enumerate(TASKS):
        for column, size in enumerate(sizes):
            axes = grid[row][column]
            for cell in cells:
                if (cell.task, cell.size) == (task, size):
                    _draw_cell(axes, labels.index(cell.label), cell)
            axes.set_title(f"{TASK_NAMES[task]}, {size}²", fontsize=10)
            axes.set_xticks(range(len(labels)), [name_of(label).replace(" ", "\n", 1) for label in labels])
            axes.set_xlim(-0.6, len(labels) - 0.3)
            axes.set_ylim(bottom=0)  # so that the heights show the ratio
            style.tidy(axes, "y")
            if column == 0:
                axes.set_ylabel("milliseconds")
    return style.save(figure, path)


def _draw_cell(axes: Axes, place: int, cell: Cell) -> None:
    color = style_of(REFERENCE if cell.label == CONTROL else cell.label).color
    offsets = np.linspace(-0.22, 0.22, len(cell.seconds)) if len(cell.seconds) > 1 else np.zeros(1)
    face = "none" if cell.label == CONTROL else color
    times = 1000 * np.asarray(cell.seconds)
    axes.scatter(place + offsets, times, s=16, facecolors=face, edgecolors=color, alpha=0.7)
    middle = 1000 * cell.time.median
    spread = [[middle - 1000 * cell.time.low], [1000 * cell.time.high - middle]]
    axes.errorbar(place, middle, yerr=spread, color="black", capsize=4, linewidth=1.2, zorder=4)
    axes.plot([place - 0.3, place + 0.3], [middle, middle], color="black", linewidth=1.8, zorder=4)
    axes.annotate(f"{middle:.0f}", (place + 0.32, middle), fontsize=8, va="center")

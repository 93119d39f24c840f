"""Divergence by step on a logarithmic axis: the envelope, the frameworks apart from each other, and the faults."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports import style
from reports.formatting import label
from reports.frameworks import style_of
from reports.lockstep.envelope import edge
from reports.lockstep.records import BASE, FAULT, PERTURBED, Lockstep

SHOWN = ("loss", "parameters", "average")
FAULT_COLORS = ("#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#8C564B", "#999900", "#777777")
LEAST = {"float64": 1e-17, "float32": 1e-9}  # what is drawn for a divergence of zero


@style.plain
def divergence_figure(lockstep: Lockstep, path: Path) -> Path:
    """One row for each dtype, one column for each quantity; returns the path."""
    figure = style.new_figure(3.6 * len(lockstep.dtypes) + 0.6, width=13.0)
    grid = figure.subplots(len(lockstep.dtypes), len(SHOWN), sharex=True, squeeze=False)
    for dtype, row in zip(lockstep.dtypes, grid, strict=True):
        for quantity, axes in zip(SHOWN, row, strict=True):
            _draw(axes, lockstep, dtype, quantity)
            axes.set_title(f"{quantity}, {dtype}", fontsize=11, loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    for row in grid:
        row[0].set_ylabel("relative divergence")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return style.save(figure, path)


def _draw(axes: Axes, lockstep: Lockstep, dtype: str, quantity: str) -> None:
    perturbed = lockstep.of(dtype, PERTURBED)
    steps = np.arange(1, len(perturbed[0].curves[quantity]) + 1)
    lowest = np.maximum(np.min([run.curves[quantity] for run in perturbed], axis=0), LEAST[dtype])
    above = edge(perturbed, quantity)
    axes.fill_between(steps, lowest, above, color="#dddddd", linewidth=0, label="envelope of the perturbed runs")
    for framework in dict.fromkeys(run.framework for run in perturbed):
        look = style_of(framework)
        for number, run in enumerate(run for run in perturbed if run.framework == framework):
            name = f"{label(framework)} from itself, perturbed" if number == 0 else None
            axes.plot(steps, run.curves[quantity], color=look.color, linewidth=0.7, alpha=0.55, label=name)
    for run, color in zip(lockstep.of(dtype, FAULT), FAULT_COLORS, strict=False):
        curve = np.where(run.curves[quantity] > 0, run.curves[quantity], np.nan)  # no fault shows in each
        axes.plot(
            steps[: len(curve)], curve, color=color, linewidth=1.3, linestyle="--", label=f"fault in {run.which}"
        )
    reference = label(lockstep.reference)
    for run in lockstep.of(dtype, BASE):
        curve = np.maximum(run.curves[quantity], LEAST[dtype])
        axes.plot(steps, curve, color="black", linewidth=2.2, label=f"{label(run.framework)} from {reference}")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.tidy(axes)

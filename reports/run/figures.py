"""The figures of loss terms. Steps are counted from 1 in figures, from 0 in steps.jsonl."""

import math
import re
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.run.differences import PUBLISHED_LOSS_BOUND, Difference, TrainingDifference
from reports.run.loss_figure import FAINT, epoch_means, means_of_epochs
from reports.run.records import FrameworkRecords, RunRecords, Step

TERM = re.compile(r"^loss_(?P<kind>[a-z0-9]+?)(?:_(?P<group>aux|dn|enc)(?:_.*)?)?$")
GROUPS = {
    "": "last decoder layer",
    "aux": "auxiliary layers (sum)",
    "dn": "denoising (sum)",
    "enc": "encoder (sum)",
}


@style.plain
def loss_terms(run: RunRecords, path: Path) -> Path | None:
    """Draw a column per kind of loss and a row per place where it is computed; None if no name is known."""
    series = {framework.name: _grouped(framework.steps) for framework in run.trained}
    keys = [key for grouped in series.values() for key in grouped]
    kinds = list(dict.fromkeys(kind for kind, _ in keys))
    groups = [group for group in GROUPS if any(group == each for _, each in keys)]
    if not kinds:
        return None
    by_epoch = means_of_epochs(run)
    figure = style.new_figure(0.9 + 1.9 * len(groups))
    grid = figure.subplots(len(groups), len(kinds), squeeze=False, sharex=True)
    for row, group in enumerate(groups):
        for column, kind in enumerate(kinds):
            axes = grid[row, column]
            for framework in run.trained:
                curve = series[framework.name].get((kind, group))
                if curve:
                    _plot(axes, framework, *curve, by_epoch)
            axes.set_title(f"{kind}: {GROUPS[group]}", fontsize=9.5, loc="left")
            style.tidy(axes)
    for axes in grid[-1]:
        axes.set_xlabel("optimizer step", fontsize=9)
    handles = [Line2D([], [], label=show.label(item.name), **style_of(item.name).curve) for item in run.trained]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=10)
    means = ", means of epochs" if by_epoch else ""
    figure.suptitle(f"Every kind of loss{means}, {run.meta.preset}", fontsize=12, x=0.01, ha="left")
    return style.save(figure, path)


def _plot(axes: Axes, framework: FrameworkRecords, numbers: list[int], values: list[float], by_epoch: bool) -> None:
    where, shown, look = np.array(numbers, float), np.array(values), style_of(framework.name)
    if by_epoch:
        axes.plot(where, shown, color=look.color, **FAINT)
        wanted = set(numbers)
        steps = [step for step in framework.steps if step.step + 1 in wanted]
        where, shown = epoch_means(steps, shown)
    axes.plot(where, shown, **look.curve)


def _grouped(steps: tuple[Step, ...]) -> dict[tuple[str, str], tuple[list[int], list[float]]]:
    """(kind, group) -> the steps that have such a term (from 1) and the sum of its terms there."""
    grouped: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for step in steps:
        sums: dict[tuple[str, str], float] = {}
        for name, value in step.losses.items():
            match = TERM.match(name)
            if match:
                key = match["kind"], match["group"] or ""
                sums[key] = sums.get(key, 0.0) + value
        for key, value in sums.items():
            numbers, values = grouped.setdefault(key, ([], []))
            numbers.append(step.step + 1)
            values.append(value)
    return grouped


@style.plain
def first_step(comparison: TrainingDifference, path: Path) -> Path | None:
    """Draw the relative difference of each loss term of the first step, and the published bound."""
    terms = comparison.first_terms
    if not terms:
        return None
    figure = style.new_figure(1.5 + 0.2 * len(terms))
    axes = figure.subplots()
    _draw_terms(axes, terms)
    axes.axvline(PUBLISHED_LOSS_BOUND, color="black", linewidth=1.2, linestyle="--")
    text = f"published bound {show.percent(PUBLISHED_LOSS_BOUND)}"
    place = {"xy": (PUBLISHED_LOSS_BOUND, 1.0), "xycoords": ("data", "axes fraction"), "xytext": (-4, 3)}
    axes.annotate(text, **place, textcoords="offset points", ha="right", va="bottom", fontsize=9)
    axes.set_yticks(range(len(terms)), [term.name for term in terms], fontsize=8.5)
    axes.set_ylim(len(terms) - 0.5, -0.5)
    names = show.labels([comparison.reference.name, comparison.other.name])
    axes.set_title(f"Loss terms of {names} at the first step\n", fontsize=12, loc="left")
    axes.set_xlabel("relative difference")
    style.tidy(axes, grid="x")
    return style.save(figure, path)


def _draw_terms(axes: Axes, terms: tuple[Difference, ...]) -> None:
    positive = [term.relative for term in terms if math.isfinite(term.relative) and term.relative > 0]
    left, right = min([*positive, PUBLISHED_LOSS_BOUND]) / 5, max([*positive, PUBLISHED_LOSS_BOUND]) * 5
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    for row, term in enumerate(terms):
        value = term.relative
        if not math.isfinite(value):
            axes.plot(right / 1.3, row, "X", color="black", markersize=8)
            axes.annotate("not a number ", (right / 1.6, row), ha="right", va="center", fontsize=8.5)
        elif value == 0:
            axes.annotate("identical", (left * 1.1, row), va="center", fontsize=8.5, color=style.NEUTRAL_COLOR)
        else:
            axes.plot([left, value], [row, row], color="#cccccc", linewidth=1, zorder=1)
            marker, color = ("o", style.NEUTRAL_COLOR) if term.within_bound else ("X", "black")
            axes.plot(value, row, marker, color=color)

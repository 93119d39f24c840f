"""The curves of a run report. Steps are counted from 1 in figures, from 0 in steps.jsonl."""

import math
import re
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.run import parting
from reports.run.differences import PUBLISHED_LOSS_BOUND, Difference, TrainingDifference
from reports.run.records import FrameworkRecords, RunRecords, Step

TERM = re.compile(r"^loss_(?P<kind>[a-z0-9]+?)(?:_(?P<group>aux|dn|enc)(?:_.*)?)?$")
GROUPS = {
    "": "last decoder layer",
    "aux": "auxiliary layers (sum)",
    "dn": "denoising (sum)",
    "enc": "encoder (sum)",
}


def loss_curves(
    run: RunRecords,
    comparisons: tuple[TrainingDifference, ...],
    controls: tuple[TrainingDifference, ...],
    path: Path,
) -> Path:
    """Draw the total loss per step of every framework and, below on a log axis, their relative difference.

    In both panels the grey area is what the controls reach: how far one framework parts from itself.
    """
    figure = style.new_figure(6.4 if comparisons else 4.0)
    if comparisons:
        above, beneath = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _differences(beneath, comparisons, controls)
        beneath.set_xlabel("optimizer step")
    else:
        above = figure.subplots()
        above.set_xlabel("optimizer step")
    _control_totals(above, controls)
    for framework in run.trained:
        steps = [step.step + 1 for step in framework.steps]
        totals = [step.total for step in framework.steps]
        above.plot(steps, totals, label=show.label(framework.name), **style_of(framework.name).curve)
    _mark_epochs(above, run.trained[0])
    names = show.labels(framework.name for framework in run.trained)
    above.set_title(f"Total training loss of {names}, {run.meta.preset}", fontsize=12, loc="left")
    above.set_ylabel("total loss")
    above.legend(frameon=False, fontsize=10)
    style.tidy(above)
    return style.save(figure, path)


def _control_totals(axes: Axes, controls: tuple[TrainingDifference, ...]) -> None:
    """Fill from the lowest to the highest total of the first framework and its controls."""
    if not controls:
        return
    steps_S, _ = parting.band(controls)
    wanted, sides = set(steps_S.tolist()), [controls[0].reference, *(each.other for each in controls)]
    totals = [[step.total for step in side.steps if step.step in wanted] for side in sides]
    lowest_S, highest_S = np.min(totals, axis=0), np.max(totals, axis=0)
    reference = show.label(controls[0].reference.name)
    label = f"{reference} and itself, moved by one unit in the last place"
    axes.fill_between(steps_S + 1, lowest_S, highest_S, color=style.BAND_COLOR, linewidth=0, label=label)


def _control_band(axes: Axes, controls: tuple[TrainingDifference, ...]) -> None:
    """Fill below the controls' largest difference; steps without one leave a gap."""
    if controls:
        steps_S, largest_S = parting.band(controls)
        drawn_S = np.where(np.isfinite(largest_S) & (largest_S > 0), largest_S, np.nan)
        label = f"{show.label(controls[0].reference.name)} against itself"
        axes.fill_between(steps_S + 1, 1e-12, drawn_S, color=style.BAND_COLOR, linewidth=0, label=label)


def _differences(
    axes: Axes, comparisons: tuple[TrainingDifference, ...], controls: tuple[TrainingDifference, ...]
) -> None:
    axes.set_yscale("log")
    shown = []
    # the one difference of two frameworks belongs to both, so it has neither one's look
    one = {"color": style.NEUTRAL_COLOR, "linestyle": "-", "linewidth": 1.3} if len(comparisons) == 1 else {}
    for comparison in comparisons:
        # zero cannot be drawn on a log axis, so identical losses leave a gap
        positive = np.isfinite(comparison.relative) & (comparison.relative > 0)
        values = np.where(positive, comparison.relative, np.nan)
        few = len(values) <= 60
        axes.plot(
            comparison.steps + 1,
            values,
            **style_of(comparison.other.name).curve | one,
            marker="o" if few else None,
            markersize=3,
            label=f"{show.label(comparison.other.name)} − {show.label(comparison.reference.name)}",
        )
        shown += list(values[positive])
    _control_band(axes, controls)
    low, high = min(shown, default=1e-7), max(shown, default=1e-7)
    axes.set_ylim(low / 3, max(0.3, 3 * high))
    for limit in (PUBLISHED_LOSS_BOUND, 0.01, 0.1):
        axes.axhline(limit, color="#999999", linewidth=0.9, linestyle="--", zorder=1)
        place = {"xy": (1.0, limit), "xycoords": ("axes fraction", "data"), "xytext": (4, 0)}
        look = {"va": "center", "fontsize": 9, "color": "#555555", "annotation_clip": False}
        axes.annotate(show.percent(limit), **place, textcoords="offset points", **look)
    if not shown:
        axes.text(0.5, 0.5, "no difference at any step", transform=axes.transAxes, ha="center", fontsize=11)
    if len(comparisons) > 1 or controls:
        # Differences grow from rounding, so that no curve is below on the right.
        axes.legend(fontsize=10, loc="lower right", facecolor="white", edgecolor="none", framealpha=1)
    axes.set_title("Relative difference of the totals at each step", fontsize=11, loc="left")
    axes.set_ylabel("|difference| / loss")
    style.tidy(axes)


def _mark_epochs(axes: Axes, framework: FrameworkRecords) -> None:
    starts = [
        later.step + 1
        for earlier, later in zip(framework.steps, framework.steps[1:], strict=False)
        if later.epoch != earlier.epoch
    ]
    if 0 < len(starts) <= 30:
        for start in starts:
            axes.axvline(start - 0.5, color="#cccccc", linewidth=0.8, linestyle=":", zorder=0)
        axes.plot([], [], color="#aaaaaa", linewidth=1, linestyle=":", label="a new epoch")


def loss_terms(run: RunRecords, path: Path) -> Path | None:
    """Draw a column per kind of loss and a row per place where it is computed; None if no name is known."""
    series = {framework.name: _grouped(framework.steps) for framework in run.trained}
    keys = [key for grouped in series.values() for key in grouped]
    kinds = list(dict.fromkeys(kind for kind, _ in keys))
    groups = [group for group in GROUPS if any(group == each for _, each in keys)]
    if not kinds:
        return None
    figure = style.new_figure(0.9 + 1.9 * len(groups))
    grid = figure.subplots(len(groups), len(kinds), squeeze=False, sharex=True)
    for row, group in enumerate(groups):
        for column, kind in enumerate(kinds):
            axes = grid[row, column]
            for framework in run.trained:
                curve = series[framework.name].get((kind, group))
                if curve:
                    axes.plot(*curve, **style_of(framework.name).curve)
                else:
                    axes.plot([], [])
            axes.set_title(f"{kind}: {GROUPS[group]}", fontsize=9.5, loc="left")
            style.tidy(axes)
    for axes in grid[-1]:
        axes.set_xlabel("optimizer step", fontsize=9)
    handles = [Line2D([], [], label=show.label(item.name), **style_of(item.name).curve) for item in run.trained]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=10)
    figure.suptitle(f"Every kind of loss, {run.meta.preset}", fontsize=12, x=0.01, ha="left")
    return style.save(figure, path)


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

"""The figure of a run's losses. Steps are counted from 1 in figures, from 0 in steps.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.run import parting, validation
from reports.run.differences import PUBLISHED_LOSS_BOUND, TrainingDifference
from reports.run.records import FrameworkRecords, RunRecords, Step

FEW_EPOCHS = 8  # from so many on, means of epochs are drawn: step by step, the trend and the band are hidden
FAINT: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.4}
Floats = NDArray[np.float64]
Comparisons = tuple[TrainingDifference, ...]


@style.plain
def loss_curves(run: RunRecords, comparisons: Comparisons, controls: Comparisons, path: Path) -> Path:
    """Draw the total loss of every framework and, below on a log axis, their relative difference.

    Between them come the losses of training and validation, if the run was validated. In the other panels the grey
    area is what the controls reach: how far one framework parts from itself.
    """
    split, by_epoch = validation.validated_split(run), means_of_epochs(run)
    heights = [3] + [2] * bool(split) + [2] * bool(comparisons)
    figure = style.new_figure(0.8 + 1.12 * sum(heights))
    above, *others = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _totals(above, run, controls, by_epoch)
    if split:
        validation.draw_validations(others[0], run, split)
    if comparisons:
        _differences(others[-1], comparisons, controls, by_epoch)
    [above, *others][-1].set_xlabel("optimizer step")
    return style.save(figure, path)


def means_of_epochs(run: RunRecords) -> bool:
    """Whether the thick lines are means of epochs."""
    return max(len({step.epoch for step in each.steps}) for each in run.trained) >= FEW_EPOCHS


def _totals(axes: Axes, run: RunRecords, controls: Comparisons, by_epoch: bool) -> None:
    if controls:
        where, lowest, highest = _control_totals(controls, by_epoch)
        label = f"{show.label(controls[0].reference.name)} and itself, moved by one unit in the last place"
        axes.fill_between(where, lowest, highest, color=style.BAND_COLOR, linewidth=0, label=label)
    for framework in run.trained:
        look, steps = style_of(framework.name), framework.steps
        where, totals = _numbers(steps), np.array([step.total for step in steps])
        if by_epoch:
            axes.plot(where, totals, color=look.color, **FAINT)
            where, totals = epoch_means(steps, totals)
        axes.plot(where, totals, label=look.label, **look.curve)
    if by_epoch:
        axes.plot([], [], color=style.NEUTRAL_COLOR, label="each step (thick: mean of an epoch)", **FAINT)
    else:
        _mark_epochs(axes, run.trained[0])
    names = show.labels(framework.name for framework in run.trained)
    axes.set_title(f"Total training loss of {names}, {run.meta.preset}", fontsize=12, loc="left")
    axes.set_ylabel("total loss")
    axes.legend(frameon=False, fontsize=9.5)
    style.tidy(axes)


def _control_totals(controls: Comparisons, by_epoch: bool) -> tuple[Floats, Floats, Floats]:
    """Where, and the lowest and the highest total of the first framework and its controls there."""
    numbers_S, _ = parting.band(controls)
    sides = [controls[0].reference, *(each.other for each in controls)]
    common = [_at(side, numbers_S) for side in sides]
    rows = [np.array([step.total for step in steps]) for steps in common]
    where = numbers_S + 1.0
    if by_epoch:
        means = [epoch_means(steps, row) for steps, row in zip(common, rows, strict=True)]
        where, rows = means[0][0], [row for _, row in means]
    return where, np.min(rows, axis=0), np.max(rows, axis=0)


def _at(records: FrameworkRecords, numbers_S: NDArray[np.int64]) -> list[Step]:
    wanted = set(numbers_S.tolist())
    return [step for step in records.steps if step.step in wanted]


def _numbers(steps: Sequence[Step]) -> Floats:
    return np.array([step.step + 1.0 for step in steps])


def epoch_means(steps: Sequence[Step], values_S: Floats, geometric: bool = False) -> tuple[Floats, Floats]:
    """The middle of every epoch in steps (from 1), and the mean of the finite values there; NaN without one."""
    epoch_S, number_S = np.array([step.epoch for step in steps]), _numbers(steps)
    middles, means = [], []
    for epoch in np.unique(epoch_S):
        within = epoch_S == epoch
        values = values_S[within & np.isfinite(values_S)]
        if geometric:
            values = np.log(values[values > 0])
        mean = values.mean() if values.size else np.nan
        middles.append(number_S[within].mean())
        means.append(np.exp(mean) if geometric else mean)
    return np.array(middles), np.array(means)


def _differences(axes: Axes, comparisons: Comparisons, controls: Comparisons, by_epoch: bool) -> None:
    axes.set_yscale("log")
    shown = [_difference(axes, comparison, len(comparisons) == 1, by_epoch) for comparison in comparisons]
    if controls:
        _control_band(axes, controls, by_epoch)
    drawn = np.concatenate(shown)
    low, high = (drawn.min(), drawn.max()) if drawn.size else (1e-7, 1e-7)
    axes.set_ylim(low / 3, max(0.3, 3 * high))
    for limit in (PUBLISHED_LOSS_BOUND, 0.01, 0.1):
        axes.axhline(limit, color="#999999", linewidth=0.9, linestyle="--", zorder=1)
        place = {"xy": (1.0, limit), "xycoords": ("axes fraction", "data"), "xytext": (4, 0)}
        look = {"va": "center", "fontsize": 9, "color": "#555555", "annotation_clip": False}
        axes.annotate(show.percent(limit), **place, textcoords="offset points", **look)
    if not drawn.size:
        axes.text(0.5, 0.5, "no difference at any step", transform=axes.transAxes, ha="center", fontsize=11)
    if len(comparisons) > 1 or controls:
        # Differences grow from rounding, so that no curve is below on the right.
        axes.legend(fontsize=9.5, loc="lower right", facecolor="white", edgecolor="none", framealpha=1)
    thick = " (thick: geometric mean of an epoch)" if by_epoch else ""
    axes.set_title(f"Relative difference of the totals at each step{thick}", fontsize=11, loc="left")
    axes.set_ylabel("|difference| / loss")
    style.tidy(axes)


def _difference(axes: Axes, comparison: TrainingDifference, alone: bool, by_epoch: bool) -> Floats:
    """Draw one curve; returns the values that a log axis can show."""
    # the one difference of two frameworks belongs to both, so it has neither one's look
    one = {"color": style.NEUTRAL_COLOR, "linestyle": "-", "linewidth": 1.3} if alone else {}
    look = style_of(comparison.other.name).curve | one
    # zero cannot be drawn on a log axis, so identical losses leave a gap
    positive = np.isfinite(comparison.relative) & (comparison.relative > 0)
    where, values = comparison.steps + 1.0, np.where(positive, comparison.relative, np.nan)
    if by_epoch and len(values):
        axes.plot(where, values, color=look["color"], **FAINT)
        where, values = epoch_means(_at(comparison.reference, comparison.steps), values, geometric=True)
    name = f"{show.label(comparison.other.name)} − {show.label(comparison.reference.name)}"
    axes.plot(where, values, **look, marker="o" if len(values) <= 60 else None, markersize=3, label=name)
    return comparison.relative[positive]


def _control_band(axes: Axes, controls: Comparisons, by_epoch: bool) -> None:
    """Fill below the controls' largest difference; steps without one leave a gap."""
    numbers_S, largest_S = parting.band(controls)
    where, drawn = numbers_S + 1.0, np.where(np.isfinite(largest_S) & (largest_S > 0), largest_S, np.nan)
    if by_epoch and len(drawn):
        where, drawn = epoch_means(_at(controls[0].reference, numbers_S), drawn, geometric=True)
    label = f"{show.label(controls[0].reference.name)} against itself"
    axes.fill_between(where, 1e-12, drawn, color=style.BAND_COLOR, linewidth=0, label=label)


def _mark_epochs(axes: Axes, framework: FrameworkRecords) -> None:
    pairs = zip(framework.steps, framework.steps[1:], strict=False)
    starts = [later.step + 1 for earlier, later in pairs if later.epoch != earlier.epoch]
    for start in starts:
        axes.axvline(start - 0.5, color="#cccccc", linewidth=0.8, linestyle=":", zorder=0)
    if starts:
        axes.plot([], [], color="#aaaaaa", linewidth=1, linestyle=":", label="a new epoch")

"""The margin figure: error / limit of every module, the worst tensor of each, in data-flow order."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports import formatting as show
from reports import style
from reports.parity.records import JUDGES, ParityRecord, ParityRecords, in_data_flow

MOST_ROWS = 45
MEANING = {
    "twin": "twin against twin",
    "oracle": "against the official model",
    "huggingface": "against Hugging Face",
    "self": "against itself",
}
Margins = dict[tuple[str, str, str], float]


def margin_figure(records: ParityRecords, path: Path) -> Path:
    """A panel per judge, a row per module, a mark per framework and dtype; right of the line at 1 is failure."""
    depth = _depth(records)
    modules = in_data_flow(_module(record, depth) for record in records.comparisons)
    judges = sorted({record.judge for record in records.comparisons}, key=_judge_order)
    figure = style.new_figure(1.9 + 0.23 * len(modules), width=10.0)
    panels = figure.subplots(1, len(judges), squeeze=False, sharex=True, sharey=True)[0]
    worst = {judge: _worst(records, judge, depth) for judge in judges}
    finite = [value for each in worst.values() for value in each.values() if 0 < value < math.inf]
    left, right = min([*finite, 0.1]) / 4, max([*finite, 1.0]) * 8
    for axes, judge in zip(panels, judges, strict=True):
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        axes.axvspan(1, right, color="#f3e3e3", zorder=0)
        axes.axvline(1, color="black", linewidth=1.2, linestyle="--", zorder=1)
        for (module, framework, dtype), value in worst[judge].items():
            _mark(axes, value, modules.index(module), framework, dtype, (left, right))
        axes.set_title(MEANING.get(judge, judge), fontsize=10.5, loc="left")
        axes.set_xlabel("error ÷ limit", fontsize=9)
        style.tidy(axes)
    panels[0].set_yticks(range(len(modules)), modules, fontsize=8.5)
    panels[0].set_ylim(len(modules) - 0.5, -0.5)
    handles = _legend(records, worst)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False, fontsize=9
    )
    figure.suptitle("Worst error of each module as a part of its limit", fontsize=12, x=0.01, ha="left")
    return style.save(figure, path)


def _module(record: ParityRecord, depth: int) -> str:
    return ".".join(record.module.split(".")[:depth])


def _depth(records: ParityRecords) -> int:
    """The deepest cut of dotted names that still fits the page; the maximum of a whole is that of its parts."""
    deepest = max(record.module.count(".") + 1 for record in records.comparisons)
    for depth in range(deepest, 1, -1):
        if len({_module(record, depth) for record in records.comparisons}) <= MOST_ROWS:
            return depth
    return 1


def _worst(records: ParityRecords, judge: str, depth: int) -> Margins:
    worst: Margins = {}
    for record in records.comparisons:
        if record.judge == judge:
            key = _module(record, depth), record.framework, record.dtype
            # a record that the judge failed for another reason than its error must not look like a pass
            value = record.margin if record.ok or record.margin > 1 else math.inf
            worst[key] = max(worst.get(key, 0.0), value)
    return worst


def _mark(axes: Axes, value: float, row: int, framework: str, dtype: str, limits: tuple[float, float]) -> None:
    # frameworks lie a little apart, and float32 is hollow, so that equal margins stay visible
    y = row + {"torch": -0.14, "jittor": 0.14}.get(framework, 0.0)
    color, size = style.color(framework), 5.5
    if value == 0:
        axes.plot(limits[0] * 1.25, y, "<", color=color, markersize=size - 1)
    elif value == math.inf:
        axes.plot(limits[1] / 1.5, y, "X", color=color, markersize=size + 2.5)
    else:
        fill = color if dtype == "float64" else "white"
        marker = style.MARKERS.get(framework, "s")
        axes.plot(value, y, marker, color=color, markerfacecolor=fill, markersize=size, zorder=3)


def _legend(records: ParityRecords, worst: dict[str, Margins]) -> list[Line2D]:
    handles = []
    for framework in dict.fromkeys(record.framework for record in records.comparisons):
        for dtype in sorted({record.dtype for record in records.comparisons}, reverse=True):
            color = style.color(framework)
            fill = color if dtype == "float64" else "white"
            name = f"{show.label(framework)}, {dtype}"
            marker = style.MARKERS.get(framework, "s")
            handles.append(Line2D([], [], ls="", marker=marker, color=color, markerfacecolor=fill, label=name))
    values = [value for each in worst.values() for value in each.values()]
    if 0 in values:
        handles.append(Line2D([], [], ls="", marker="<", color=style.NEUTRAL_COLOR, label="no error at all"))
    if math.inf in values:
        handles.append(
            Line2D(
                [],
                [],
                ls="",
                marker="X",
                color=style.NEUTRAL_COLOR,
                label="failed: no number, or by the judge's word",
            )
        )
    return handles


def _judge_order(judge: str) -> int:
    return JUDGES.index(judge) if judge in JUDGES else len(JUDGES)

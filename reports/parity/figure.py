"""The figures of margins, error / limit: a row per judge for the message, one per module for where errors grow."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from frameworks.shared.stages import module_position
from reports import style
from reports.frameworks import style_of
from reports.parity.records import ParityRecord, ParityRecords, judge_position
from reports.parity.tables import margin

MOST_ROWS, MOST_PANELS = 30, 4
MEANING = {
    "twin": "twin against twin",
    "oracle": "against the official model",
    "huggingface": "against Hugging Face",
    "onnx": "against the exported graph",
    "self": "against itself",
    "floor": "the same twice",
    "tf32": "TF32 on",
}
FAIL_COLOR = "#f3e3e3"
Group = tuple[str, str]  # judge, dtype
Margins = dict[tuple[str, str], float]  # (module, framework) -> the worst margin


@style.plain
def margin_figure(records: ParityRecords, path: Path) -> Path:
    """Draw a row per judge and dtype, a mark per module and framework; failures lie right of 1."""
    groups = {group: _worst(records, group, _depth(records)) for group in _groups(records)}
    figure = style.new_figure(1.5 + 0.42 * len(groups))
    axes = figure.subplots()
    left, right = _limits(axes, list(groups.values()))
    for row, worst in enumerate(groups.values()):
        for (_, framework), value in worst.items():
            _mark(axes, value, row + style_of(framework).offset, framework, (left, right), alpha=0.6)
        (module, _), value = max(worst.items(), key=lambda item: item[1])
        text = f"{margin(value).strip('*')}  {module}" if value else "no error at all"
        place = {"xy": (1.0, row), "xycoords": ("axes fraction", "data"), "xytext": (6, 0)}
        look = {"va": "center", "fontsize": 8.5, "annotation_clip": False}
        axes.annotate(text, **place, textcoords="offset points", **look)
    axes.set_yticks(range(len(groups)), [f"{MEANING.get(j, j)}, {dtype}" for j, dtype in groups], fontsize=9)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    for x, text, where in ((1.0, "limit", "data"), (1.02, "worst", "axes fraction")):
        place = {"xycoords": (where, "axes fraction"), "xytext": (0, 4), "textcoords": "offset points"}
        axes.annotate(text, (x, 1.0), ha="center" if where == "data" else "left", fontsize=9, **place)
    style.tidy(axes)
    _legend(figure, records, groups)
    figure.suptitle(_message(records), fontsize=12, x=0.01, ha="left")
    return style.save(figure, path)


@style.plain
def depth_figure(records: ParityRecords, path: Path) -> Path:
    """Draw a row per module in the order of the data flow, a panel per judge and dtype that most modules have."""
    depth = _depth(records)
    names = {_module(record, depth) for record in records.comparisons}
    modules = sorted(names, key=lambda name: (module_position(name), name))
    groups = {group: _worst(records, group, depth) for group in _full(records, depth, len(modules))}
    figure = style.new_figure(1.5 + 0.19 * len(modules))
    panels = figure.subplots(1, len(groups), squeeze=False, sharex=True, sharey=True)[0]
    for axes, ((judge, dtype), worst) in zip(panels, groups.items(), strict=True):
        limits = _limits(axes, list(groups.values()))
        for (module, framework), value in worst.items():
            _mark(axes, value, modules.index(module) + style_of(framework).offset, framework, limits)
        between = ",\n" if len(groups) > 1 else ", "
        axes.set_title(f"{MEANING.get(judge, judge)}{between}{dtype}", fontsize=9.5, loc="left")
        style.tidy(axes)
    panels[0].set_yticks(range(len(modules)), modules, fontsize=8.5)
    panels[0].set_ylim(len(modules) - 0.4, -0.6)
    _legend(figure, records, groups)
    figure.suptitle("Worst error of each module, from the images to the update", fontsize=12, x=0.01, ha="left")
    return style.save(figure, path)


def _message(records: ParityRecords) -> str:
    total, failed = len(records.comparisons), len(records.failures)
    if failed:
        return f"{failed:,} of {total:,} comparisons are beyond their limits"
    return f"All {total:,} comparisons are within their limits (left of 1)"


def _groups(records: ParityRecords) -> list[Group]:
    """Judge and dtype of all comparisons: judges in their order, float64 first."""
    found = {(record.judge, record.dtype) for record in records.comparisons}
    return sorted(found, key=lambda group: (judge_position(group[0]), group[1] != "float64", group))


def _full(records: ParityRecords, depth: int, rows: int) -> list[Group]:
    """The groups that have an error in half of all rows, at most MOST_PANELS; the fullest if none has."""
    errors = {
        group: sum(value > 0 for value in _rows(records, group, depth).values()) for group in _groups(records)
    }
    full = [group for group, count in errors.items() if count >= rows / 2][:MOST_PANELS]
    return full or [max(errors, key=lambda group: errors[group])]


def _rows(records: ParityRecords, group: Group, depth: int) -> dict[str, float]:
    rows: dict[str, float] = {}
    for (module, _), value in _worst(records, group, depth).items():
        rows[module] = max(rows.get(module, 0.0), value)
    return rows


def _module(record: ParityRecord, depth: int) -> str:
    return ".".join(record.module.split(".")[:depth])


def _depth(records: ParityRecords) -> int:
    """How many parts of dotted names to keep, so that at most MOST_ROWS rows are left."""
    deepest = max(record.module.count(".") + 1 for record in records.comparisons)
    for depth in range(deepest, 1, -1):
        if len({_module(record, depth) for record in records.comparisons}) <= MOST_ROWS:
            return depth
    return 1


def _worst(records: ParityRecords, group: Group, depth: int) -> Margins:
    worst: Margins = {}
    for record in records.comparisons:
        if (record.judge, record.dtype) == group:
            key = _module(record, depth), record.framework
            # a record that failed for another reason than its error must not look like a pass
            value = record.margin if record.ok or record.margin > 1 else math.inf
            worst[key] = max(worst.get(key, 0.0), value)
    return worst


def _limits(axes: Axes, groups: list[Margins]) -> tuple[float, float]:
    """Prepare the axis of margins, with the forbidden part shaded; returns its ends."""
    finite = [value for each in groups for value in each.values() if 0 < value < math.inf]
    left, right = min([*finite, 0.1]) / 4, max([*finite, 1.0]) * 8
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.axvspan(1, right, color=FAIL_COLOR, zorder=0)
    axes.axvline(1, color="black", linewidth=1.2, linestyle="--", zorder=1)
    axes.set_xlabel("error ÷ limit", fontsize=9)
    return left, right


def _mark(
    axes: Axes, value: float, y: float, framework: str, limits: tuple[float, float], alpha: float = 1.0
) -> None:
    look, size = style_of(framework), 5.0
    if value == 0:
        axes.plot(limits[0] * 1.25, y, "<", color=look.color, markersize=size - 1)
    elif value == math.inf:
        axes.plot(limits[1] / 1.5, y, "X", color=look.color, markersize=size + 2.5)
    else:
        axes.plot(value, y, **look.mark(filled=True), markersize=size, zorder=3, alpha=alpha, markeredgewidth=0)


def _legend(figure: Figure, records: ParityRecords, groups: dict[Group, Margins]) -> None:
    handles = []
    for framework in dict.fromkeys(record.framework for record in records.comparisons):
        look = style_of(framework)
        label = f"{look.label}: worst tensor of a module"
        handles.append(Line2D([], [], label=label, markersize=6, **look.mark(filled=True)))
    values = {value for each in groups.values() for value in each.values()}
    for value, marker, text in (
        (0, "<", "no error at all"),
        (math.inf, "X", "failed: no number, or marked as failed"),
    ):
        if value in values:
            handles.append(Line2D([], [], ls="", marker=marker, color=style.NEUTRAL_COLOR, label=text))
    place = {"loc": "outside lower center", "ncols": min(len(handles), 3)}
    figure.legend(handles=handles, **place, frameon=False, fontsize=9)

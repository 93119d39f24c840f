"""The margin figure: error / limit of every module, the worst tensor of each, in data-flow order."""

import math
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from frameworks.shared.stages import module_position
from reports import style
from reports.frameworks import style_of
from reports.parity.records import ParityRecord, ParityRecords, judge_position

MOST_ROWS = 45
TITLE_CHARACTERS = 90  # side by side above all panels
MEANING = {
    "twin": "twin against twin",
    "oracle": "against the official model",
    "huggingface": "against Hugging Face",
    "onnx": "against the exported graph",
    "self": "against itself",
    "floor": "the same twice",
    "tf32": "TF32 on",
}
FAILED = "failed: not a number, or marked as failed"
Margins = dict[tuple[str, str, str], float]


def margin_figure(records: ParityRecords, path: Path) -> Path:
    """Draw a panel per judge, a row per module, a mark per framework and dtype; failures lie right of 1."""
    depth = _depth(records)
    names = {_module(record, depth) for record in records.comparisons}
    modules = sorted(names, key=lambda name: (module_position(name), name))
    judges = sorted({record.judge for record in records.comparisons}, key=judge_position)
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
        title = textwrap.fill(MEANING.get(judge, judge), TITLE_CHARACTERS // len(judges))
        axes.set_title(title, fontsize=10.5, loc="left")
        axes.set_xlabel("error ÷ limit", fontsize=9)
        style.tidy(axes)
    panels[0].set_yticks(range(len(modules)), modules, fontsize=8.5)
    panels[0].set_ylim(len(modules) - 0.4, -0.5)
    handles = _legend(records, worst)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False, fontsize=9
    )
    figure.suptitle("Worst error of each module, divided by its limit", fontsize=12, x=0.01, ha="left")
    return style.save(figure, path)


def _module(record: ParityRecord, depth: int) -> str:
    return ".".join(record.module.split(".")[:depth])


def _depth(records: ParityRecords) -> int:
    """How many parts of dotted names to keep, so that at most MOST_ROWS rows are left."""
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
            # a record that failed for another reason than its error must not look like a pass
            value = record.margin if record.ok or record.margin > 1 else math.inf
            worst[key] = max(worst.get(key, 0.0), value)
    return worst


def _mark(axes: Axes, value: float, row: int, framework: str, dtype: str, limits: tuple[float, float]) -> None:
    look, size = style_of(framework), 5.5
    y = row + look.offset
    if value == 0:
        axes.plot(limits[0] * 1.25, y, "<", color=look.color, markersize=size - 1)
    elif value == math.inf:
        axes.plot(limits[1] / 1.5, y, "X", color=look.color, markersize=size + 2.5)
    else:
        axes.plot(value, y, **look.mark(filled=dtype == "float64"), markersize=size, zorder=3)


def _legend(records: ParityRecords, worst: dict[str, Margins]) -> list[Line2D]:
    handles = []
    for framework in dict.fromkeys(record.framework for record in records.comparisons):
        for dtype in sorted({record.dtype for record in records.comparisons}, reverse=True):
            look = style_of(framework)
            handles.append(Line2D([], [], label=f"{look.label}, {dtype}", **look.mark(filled=dtype == "float64")))
    values = {value for each in worst.values() for value in each.values()}
    for value, marker, text in ((0, "<", "no error at all"), (math.inf, "X", FAILED)):
        if value in values:
            handles.append(Line2D([], [], ls="", marker=marker, color=style.NEUTRAL_COLOR, label=text))
    return handles

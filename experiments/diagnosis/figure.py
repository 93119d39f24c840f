"""The figure of a diagnosis: errors along the depth of the model, in the whole pass and of each module alone."""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from reports import style

CULPRIT_COLOR = "#D55E00"
WHOLE = {"color": "#56B4E9", "marker": "o", "markersize": 5.0, "label": "in the whole pass"}
ALONE = {"color": "#000000", "marker": "D", "markersize": 3.5, "label": "alone, on the left's inputs"}
PANELS = (
    ("forward", "Forward: outputs of each module"),
    ("backward", "Backward: gradients, which flow from right to left"),
)
MOST_NAMES = 45  # module names below the axis

Record = dict[str, Any]


@style.plain
def draw(record: Record, path: Path) -> Path:
    """Draw both directions of a record's modules on logarithmic axes; the first culprit is marked."""
    rows = record["modules"]
    errors = [row[key] for row in rows for kind, _ in PANELS for key in (kind, f"{kind}_alone")]
    finite = [value for value in errors if value and math.isfinite(value)]
    lowest, highest = min([*finite, 1e-16]) / 3, max([*finite, 1.0]) * 30
    longest = max(len(row["module"]) for row in rows)
    figure = style.new_figure(5.0 + 0.075 * longest, width=max(style.WIDTH, 0.24 * min(len(rows), MOST_NAMES)))
    handles: dict[str, Any] = {}
    for axes, (kind, title) in zip(figure.subplots(2, 1, sharex=True), PANELS, strict=True):
        axes.set_yscale("log")
        axes.set_ylim(lowest, highest)
        whole, alone = [row[kind] for row in rows], [row[f"{kind}_alone"] for row in rows]
        _curve(axes, whole, (lowest, highest), WHOLE)
        _curve(axes, alone, (lowest, highest), ALONE)
        axes.axhline(record["limits"][kind], color="#999999", linestyle="--", linewidth=1.0, label="limit")
        _mark_culprit(axes, record, kind)
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_ylabel("relative error", fontsize=9)
        style.tidy(axes)
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    step = math.ceil(len(rows) / MOST_NAMES)
    places = range(0, len(rows), step)
    figure.axes[-1].set_xticks(places, [rows[i]["module"] for i in places], rotation=90, fontsize=8)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(" against ".join(map(short, (record["right"], record["left"]))), fontsize=12, x=0.01, ha="left")
    return style.save(figure, path)


def short(side: str) -> str:
    """A side's name without the folders that lead to its adapter."""
    return side.rpartition("/")[2]


def _curve(axes: Axes, errors: list[float | None], limits: tuple[float, float], look: dict[str, Any]) -> None:
    """A line through the errors; zero stands at the bottom, a tensor without a counterpart at the top."""
    lowest, highest = limits
    points = [(i, value) for i, value in enumerate(errors) if value is not None]
    heights = [min(max(value, lowest * 1.5), highest / 2) for _, value in points]
    places = [i for i, _ in points]
    axes.plot(places, heights, linewidth=1.2, **look)
    lost = [(i, height) for (i, value), height in zip(points, heights, strict=True) if math.isinf(value)]
    if lost:
        axes.plot(*zip(*lost, strict=True), linestyle="", marker="X", color=look["color"], markersize=10)


def _mark_culprit(axes: Axes, record: Record, kind: str) -> None:
    """A stripe at the first culprit, in the panel of the direction in which it was found."""
    culprit = record["culprit"]
    names = [row["module"] for row in record["modules"]]
    direction = "backward" if culprit and culprit["where"] in ("backward", "gradient flow") else "forward"
    if culprit and culprit["module"] in names and kind == direction:
        place = names.index(culprit["module"])
        axes.axvspan(place - 0.5, place + 0.5, color=CULPRIT_COLOR, alpha=0.25, zorder=0, label="first culprit")

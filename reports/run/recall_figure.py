"""Precision over recall after the last epoch, the mean over the classes; see curves.jsonl."""

from pathlib import Path
from typing import Any

from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.jsonl import read_lines
from reports.language import say
from reports.run import files
from reports.run.findings import AP_FLOOR
from reports.run.records import SPLITS, RunRecords
from reports.run.validation import images_of

Curves = dict[str, dict[str, dict[str, list[float]]]]  # by split, by framework or control, by threshold of IoU


def read_curves(run: RunRecords) -> Curves:
    """The curves of the splits on which something was learnt; {} where none was recorded."""
    path = run.folder / files.CURVES
    rows: list[dict[str, Any]] = read_lines(path)[0] if path.exists() else []
    found: Curves = {}
    for split in SPLITS:
        own = {row["name"]: row["precision"] for row in rows if row["split"] == split and row["precision"]}
        if any(_area(curves["0.50"]) >= AP_FLOOR for curves in own.values()):
            found[split] = own
    return found


@style.plain
def recall_figure(run: RunRecords, path: Path) -> Path | None:
    """Draw a row per split and a panel per threshold of IoU; None where there is nothing to draw."""
    found = read_curves(run)
    if not found:
        return None
    thresholds = list(next(iter(next(iter(found.values())).values())))
    figure = style.new_figure(0.5 + 2.7 * len(found))
    panels = figure.subplots(len(found), len(thresholds), sharex=True, sharey=True, squeeze=False)
    for row, (split, entries) in zip(panels, found.items(), strict=True):
        for axes, threshold in zip(row, thresholds, strict=True):
            for entry in run.entries:
                if entry.name in entries:
                    precision = entries[entry.name][threshold]
                    recall = [place / (len(precision) - 1) for place in range(len(precision))]
                    look = style_of(entry.name)
                    axes.plot(recall, precision, label=look.label, **look.curve)
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1.02)
            axes.set_title(f"IoU {threshold}, {images_of(split)}", fontsize=11, loc="left")
            style.tidy(axes)
        row[0].set_ylabel("precision")
    for axes in panels[-1]:
        axes.set_xlabel("recall")
    panels[0][0].legend(frameon=False, fontsize=10, loc="lower left")
    return style.save(figure, path)


def caption(run: RunRecords) -> str:
    """What the areas below the curves are; only for a run with such a figure."""
    ends = []
    for split, entries in read_curves(run).items():
        areas = []
        for each in run.entries:
            if each.name in entries:
                values = say(" and ").join(f"{_area(curve):.3f}" for curve in entries[each.name].values())
                areas.append(f"{show.label(each.name)} {values}")
        ends.append(say("{areas} on the {images}", areas=say(", ").join(areas), images=images_of(split)))
    conclude = say(" Curves no farther apart than the control's are those of one program.") if run.controls else ""
    return say(
        "How many detections are right (precision) by the time a share of the objects is found (recall), the "
        "best score first, the mean over the classes. Areas below: AP50 and AP75 of {ends}.{conclude}",
        ends=say("; ").join(ends),
        conclude=conclude,
    )


def _area(precision: list[float]) -> float:
    return sum(precision) / len(precision)

"""The figure of a benchmark: every label as a multiple of the reference, with its interval and every round."""

from pathlib import Path

from matplotlib.axes import Axes

from experiments.benchmarks.cells import TASK_NAMES, Row, name_of
from experiments.benchmarks.session import CONTROL, FORMULAS, TASKS
from experiments.benchmarks.tables import labels, places
from frameworks import REFERENCE
from reports import style
from reports.frameworks import style_of

HEIGHT_OF_A_LABEL = 0.24  # inches


@style.plain
def draw(rows: list[Row], path: Path) -> Path:
    """Draw one panel per task; in it a group of marks per preset, size and batch."""
    names = [label for label in labels(rows) if label != REFERENCE]
    groups = [row.place for row in places(rows)]
    figure = style.new_figure(height=1.5 + HEIGHT_OF_A_LABEL * (len(names) + 1) * len(groups))
    panels = figure.subplots(1, len(TASKS), squeeze=False, sharey=True)[0]
    for axes, task in zip(panels, TASKS, strict=True):
        for row in rows:
            if row.task == task:
                _draw_row(axes, groups.index(row.place), row, names)
        axes.axvline(1, color=style.NEUTRAL_COLOR, linewidth=1)
        axes.set_title(f"{TASK_NAMES[task]}", fontsize=10)
        axes.set_xlabel(f"time ÷ {name_of(REFERENCE)}")
        axes.set_xlim(left=0)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_yticks(range(len(groups)), [f"{preset}\n{size}² × {batch}" for preset, size, batch in groups])
        style.tidy(axes, "x")
    marks = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return style.save(figure, path)


def _draw_row(axes: Axes, group: int, row: Row, names: list[str]) -> None:
    for place, label in enumerate(names):
        ratio = row.ratio(label)
        if ratio is None:
            continue
        look = style_of(REFERENCE if label in (CONTROL, FORMULAS) else label)
        height = group + 0.8 * ((place + 0.5) / len(names) - 0.5)
        base, rounds = row.cells[REFERENCE].rounds, row.cells[label].rounds
        single = [rounds[turn] / base[turn] for turn in rounds.keys() & base.keys()]
        axes.plot(single, [height] * len(single), "|", color=look.color, alpha=0.35, markersize=6)
        spread = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
        axes.errorbar(ratio.median, height, xerr=spread, color=look.color, capsize=2.5, linewidth=1.3)
        marker = {CONTROL: "o", FORMULAS: "s"}.get(label, look.marker)
        face = "white" if label == CONTROL else look.color
        axes.plot(
            ratio.median, height, marker, color=look.color, markerfacecolor=face, markersize=6, label=name_of(label)
        )
        end = max(*single, ratio.high)
        axes.annotate(
            f"{ratio.median:.2f}", (end, height), (4, 0), textcoords="offset points", fontsize=7, va="center"
        )

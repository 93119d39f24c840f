"""The table and the picture of what the parts of a model cost, and the table of early exits."""

from pathlib import Path
from typing import Any

from experiments.benchmarks.early_exit import Exit
from experiments.benchmarks.module_costs import Part
from frameworks import REFERENCE
from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.markdown import table


def cost_table(parts: list[Part], frameworks: list[str]) -> str:
    """A row for each part and one for the whole model; shares of a framework's own inference, so load cancels."""
    whole = Part("**whole model**", sum(part.parameters for part in parts), sum(part.operations for part in parts))
    whole.seconds = {name: sum(part.seconds.get(name, 0.0) for part in parts) for name in frameworks}
    return table([_row(part, whole, frameworks) for part in (*parts, whole)])


def _row(part: Part, whole: Part, frameworks: list[str]) -> dict[str, str]:
    row = {
        "part": part.name,
        "parameters": f"{part.parameters:,}",
        "GFLOPs of one image": f"{part.operations / 1e9:.3g}",
        "of all": _share(part.operations, whole.operations),
    }
    for name in frameworks:
        seconds = part.seconds.get(name, 0.0)
        row[f"{show.label(name)}, ms"] = f"{1000 * seconds:.1f}"
        row[f"{show.label(name)}, of all"] = _share(seconds, whole.seconds[name])
    for name in frameworks:
        if name != REFERENCE and REFERENCE in frameworks:
            pair = f"{show.label(name)} ÷ {show.label(REFERENCE)}"
            row[pair] = show.ratio(part.seconds.get(name), part.seconds.get(REFERENCE)).removeprefix("× ")
    return row


def _share(value: float, whole: float) -> str:
    return f"{100 * value / whole:.1f} %" if whole else show.ABSENT


def exit_table(exits: list[Exit]) -> str:
    """A row for each number of layers and framework: APs, time, and the time as a share of the whole decoder's."""
    last = {each.framework: each for each in exits}  # the deepest one comes last
    return table(
        [
            {
                "framework": show.label(each.framework),
                "decoder layers": str(each.layers),
                **{f"AP on {split}": show.average_precision(ap) for split, ap in each.ap.items()},
                "inference, median": show.seconds(each.median),
                "fastest": show.seconds(min(each.seconds)),
                "of the whole decoder's": _share(each.median, last[each.framework].median),
            }
            for each in exits
        ]
    )


@style.plain
def draw(parts: list[Part], frameworks: list[str], path: Path) -> Path:
    """Draw for each part its share of parameters, operations and each framework's time."""
    columns: list[tuple[str, Any, list[float]]] = [
        ("parameters", "#bbbbbb", [part.parameters for part in parts]),
        ("operations", style.NEUTRAL_COLOR, [part.operations for part in parts]),
        *(
            (f"time, {show.label(name)}", style_of(name).color, [part.seconds.get(name, 0.0) for part in parts])
            for name in frameworks
        ),
    ]
    figure = style.new_figure(height=1.0 + 0.1 * len(parts) * (len(columns) + 1))
    axes, height = figure.subplots(), 0.85 / len(columns)
    for place, (label, color, values) in enumerate(columns):
        total = sum(values) or 1.0
        rows = [row + (place - (len(columns) - 1) / 2) * height for row in range(len(parts))]
        axes.barh(rows, [100 * value / total for value in values], height, color=color, label=label)
    axes.set_yticks(range(len(parts)), [part.name for part in parts])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlabel("share of the whole model in %")
    style.tidy(axes, "x")
    axes.legend(fontsize=9, frameon=False)
    return style.save(figure, path)

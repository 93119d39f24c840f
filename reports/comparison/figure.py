"""The loss curves of several runs: a panel per framework, a line per run. Steps are counted from 1."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from reports import style
from reports.frameworks import style_of
from reports.run.loss_figure import FEW_EPOCHS, epoch_means
from reports.run.records import FrameworkRecords, RunRecords

LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), "-.", (0, (1, 1)))
PALER = (0.0, 0.35, 0.55, 0.7)  # how much white is mixed into the framework's colour


@style.plain
def loss_panels(runs: list[RunRecords], path: Path) -> Path | None:
    """Draw the total training loss of each framework in every run; None if no run recorded a step."""
    names = list(dict.fromkeys(each.name for run in runs for each in run.trained))
    if not names:
        return None
    figure = style.new_figure(3.6)
    panels = figure.subplots(1, len(names), sharey=True, sharex=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for place, run in enumerate(runs):
            for records in (each for each in run.trained if each.name == name):
                where, values = _curve(records)
                color = np.array(to_rgb(style_of(name).color))
                paler = color + (1 - color) * PALER[place % len(PALER)]
                look = {
                    "color": tuple(paler),
                    "linestyle": LINES[place % len(LINES)],
                    "linewidth": 2.2 - 0.3 * min(place, 4),
                }
                axes.plot(where, values, label=f"run {chr(65 + place % 26)}", **look)
        axes.set_title(f"Total training loss, {style_of(name).label}", fontsize=11, loc="left")
        axes.set_xlabel("optimizer step")
        axes.legend(frameon=False, fontsize=9.5)
        style.tidy(axes)
    panels[0].set_ylabel("total loss")
    return style.save(figure, path)


def _curve(records: FrameworkRecords) -> tuple[Any, Any]:
    """Steps and totals; means of epochs where there are many, as in the report of one run."""
    totals_S = np.array([step.total for step in records.steps])
    if len({step.epoch for step in records.steps}) >= FEW_EPOCHS:
        return epoch_means(records.steps, totals_S)
    return np.array([step.step + 1 for step in records.steps]), totals_S

"""The figure of a memory measurement: resident size by step, and its change since the training has settled."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports import style
from reports.frameworks import style_of

Curve = Sequence[tuple[int, float]]


@style.plain
def draw(
    curves: Mapping[str, Curve],
    changes: Mapping[str, Curve],
    titles: Mapping[str, str],
    preset: str,
    path: Path,
) -> Path:
    """Draw above every reading of each curve, (step, MB), below the ``changes`` of its windows, (step, percent).

    A curve is named by a framework, or by another process and a framework: "runner, torch".
    """
    figure = style.new_figure(6.0)
    above, beneath = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    for curve, samples in curves.items():
        look = _look(curve)
        above.plot(*zip(*samples, strict=True), label=titles[curve], **look)
        beneath.plot(*zip(*changes[curve], strict=True), **look)
    for limit in (-2, 2):
        beneath.axhline(limit, color="#999999", linewidth=0.9, linestyle="--", zorder=1)
    beneath.set_ylim(-4, 4)
    above.set_ylim(bottom=0)
    above.set_title(f"Resident memory while training {preset}", fontsize=12, loc="left")
    above.set_ylabel("MB")
    above.legend(frameon=False, fontsize=9, ncols=2)
    beneath.set_title("Medians of 100 steps: change since step 200, and the limit", fontsize=11, loc="left")
    beneath.set_ylabel("%")
    beneath.set_xlabel("step")
    style.tidy(above)
    style.tidy(beneath)
    return style.save(figure, path)


def _look(curve: str) -> dict[str, Any]:
    other, _, name = curve.rpartition(", ")
    thin = {"color": style.NEUTRAL_COLOR, "linewidth": 1.1} if other else {}
    return style_of(name).curve | thin

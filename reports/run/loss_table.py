"""The training loss at a few epochs: every framework's value, how far it is from the first one's, and a control."""

from typing import Any

from reports import formatting as show
from reports.language import say
from reports.markdown import table
from reports.run.differences import relative_difference
from reports.run.records import RunRecords
from reports.run.validation import spread

ROWS = 6


def loss_table(run: RunRecords) -> str | None:
    """A row per chosen epoch, the first and the last among them; None where no epoch was finished.

    Values are means over the steps of an epoch; the differences of the other frameworks and of the controls are
    from the first one's value, in its unit and relative to it.
    """
    losses = {each.name: {row.epoch: row.loss for row in each.epochs} for each in run.entries if each.epochs}
    if not losses:
        return None
    reference, *others = losses
    frameworks = [each.name for each in run.frameworks if each.name in losses]
    rows: list[dict[str, Any]] = []
    for epoch in spread(sorted({epoch for each in losses.values() for epoch in each}), ROWS):
        row: dict[str, Any] = {say("epoch"): epoch + 1}
        row |= {show.label(name): show.loss(losses[name].get(epoch)) for name in frameworks}
        for other in others:
            pair = losses[reference].get(epoch), losses[other].get(epoch)
            row[f"{show.label(other)} − {show.label(reference)}"] = _difference(*pair)
        rows.append(row)
    return table(rows)


def _difference(reference: float | None, other: float | None) -> str:
    if reference is None or other is None:
        return show.ABSENT
    relative = show.percent(relative_difference(reference, other))
    return say("{difference:+.4f} ({relative})", difference=other - reference, relative=relative)

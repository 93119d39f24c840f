"""Training and validation loss side by side, at the epochs after which a run was validated.

Both are the loss of the final predictions alone: a validation computes no auxiliary and no denoising terms, so that
the total loss of a training step is no measure for it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.language import say
from reports.markdown import table
from reports.run.differences import relative_difference
from reports.run.records import SPLITS, FrameworkRecords, RunRecords

MOST_ROWS = 12


@dataclass(frozen=True)
class Validated:
    """One validation: loss of the averaged model on `split` after `epoch` (from 0) and `step` (from 0).

    ``training`` is the mean over the epoch's steps, of the model as it trained; NaN where no step was recorded.
    """

    epoch: int
    step: int
    training: float
    validation: float


def validated_split(run: RunRecords) -> str | None:
    """The split whose loss was recorded most often, "val" before "train"; None where no loss was recorded."""
    counts = {
        split: sum(bool(row.losses) and row.split == split for each in run.entries for row in each.evaluations)
        for split in reversed(SPLITS)
    }
    split = max(counts, key=lambda each: counts[each])
    return split if counts[split] else None


def validations(records: FrameworkRecords, split: str) -> list[Validated]:
    """All validations of one framework or control on `split`, in the order of epochs."""
    found = []
    for row in records.evaluations:
        if row.split != split or not row.losses:
            continue
        steps = [step for step in records.steps if step.epoch == row.epoch]
        sums = [sum(step.losses.get(name, math.nan) for name in row.losses) for step in steps]
        mean = sum(sums) / len(sums) if sums else math.nan
        last = steps[-1].step if steps else -1
        found.append(Validated(row.epoch, last, mean, sum(row.losses.values())))
    return found


def validation_table(run: RunRecords) -> str | None:
    """A row per validated epoch, at most MOST_ROWS; None for a run that recorded no validation loss.

    The columns are both losses of every framework, then how far each other framework, and each control, is from the
    first one.
    """
    split = validated_split(run)
    if split is None:
        return None
    by_epoch = {each.name: {row.epoch: row for row in validations(each, split)} for each in run.entries}
    reference, *others = [name for name, rows in by_epoch.items() if rows]
    frameworks = [each.name for each in run.frameworks if by_epoch[each.name]]
    rows: list[dict[str, Any]] = []
    for epoch in spread(sorted({epoch for each in by_epoch.values() for epoch in each})):
        at = {name: each.get(epoch) for name, each in by_epoch.items()}
        row: dict[str, Any] = {say("epoch"): epoch + 1}
        for name in frameworks:
            row |= {f"{show.label(name)}, {kind}": _loss(at[name], field) for kind, field in _kinds(split)}
        for name in others:
            pair = say("{other} against {reference}", other=show.label(name), reference=show.label(reference))
            row |= {f"{pair}, {kind}": _difference(at[reference], at[name], field) for kind, field in _kinds(split)}
        rows.append(row)
    return table(rows)


def last_validations(run: RunRecords) -> dict[str, float]:
    """The validation loss of every framework and control after its last epoch, where that was recorded."""
    found = {}
    for each in run.entries:
        rows = validations(each, "val")
        if rows and each.epochs and rows[-1].epoch == each.epochs[-1].epoch:
            found[each.name] = rows[-1].validation
    return found


def _kinds(split: str) -> list[tuple[str, str]]:
    """Names of the columns, and the fields of Validated they show."""
    kind = say("validation") if split == "val" else say("evaluation")
    return [(say("training"), "training"), (kind, "validation")]


def images_of(split: str) -> str:
    """What the images of a split are called."""
    return {"train": say("training images"), "val": say("validation images")}[split]


def _loss(row: Validated | None, field: str) -> str:
    return show.ABSENT if row is None else f"{getattr(row, field):.4f}"


def _difference(reference: Validated | None, other: Validated | None, field: str) -> str:
    if reference is None or other is None:
        return show.ABSENT
    return show.percent(relative_difference(getattr(reference, field), getattr(other, field)))


def spread(epochs: Sequence[int], most: int = MOST_ROWS) -> list[int]:
    """At most `most` of the epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= most:
        return list(epochs)
    return [epochs[round(place * (len(epochs) - 1) / (most - 1))] for place in range(most)]


def validation_note(run: RunRecords) -> str:
    """What the table's two losses are; only for a run that recorded a validation loss."""
    split = validated_split(run)
    assert split is not None, "the table was made"
    count = len({row.epoch for each in run.entries for row in validations(each, split)})
    rest = (
        say(
            " {most_rows} of {count} epochs are shown; `evaluation.jsonl` has all.",
            most_rows=MOST_ROWS,
            count=count,
        )
        if count > MOST_ROWS
        else ""
    )
    return say(
        "Loss of the final predictions alone, without auxiliary and denoising terms. Training: mean over "
        "the steps of the epoch, of the model while it learns. {split}: of the averaged model after the "
        "epoch, on the {images}. Differences are relative.{rest}",
        split=_kinds(split)[1][0].capitalize(),
        images=images_of(split),
        rest=rest,
    )


def draw_validations(axes: Axes, run: RunRecords, split: str) -> None:
    """Draw both losses of every framework at its validated epochs: lines with marks are validations."""
    for framework in run.trained:
        rows = [row for row in validations(framework, split) if row.step >= 0]
        look = style_of(framework.name)
        steps = [row.step + 1 for row in rows]
        thin: dict[str, Any] = look.curve | {"linewidth": 1.0}
        axes.plot(steps, [row.training for row in rows], **thin)
        filled = look.mark(filled=True) | look.curve
        axes.plot(steps, [row.validation for row in rows], markersize=4.5, **filled)
    kind = _kinds(split)[1][0]
    plain: dict[str, Any] = {"color": style.NEUTRAL_COLOR, "linewidth": 1.0}
    handles = [
        Line2D([], [], label=f"{kind}, averaged model, {images_of(split)}", marker="o", markersize=4.5, **plain),
        Line2D([], [], label="training, mean of the epoch", **plain),
    ]
    axes.legend(handles=handles, frameon=False, fontsize=9)
    axes.set_title("Loss of the final predictions, at the validated epochs", fontsize=11, loc="left")
    axes.set_ylabel("loss")
    style.tidy(axes)


def caption(run: RunRecords) -> str:
    """Where both losses end in each framework; empty for a run that recorded no validation loss."""
    split = validated_split(run)
    if split is None:
        return ""
    ends = []
    for framework in run.trained:
        if rows := validations(framework, split):
            last = rows[-1]
            ends.append(
                say(
                    "{framework} {training:.3f} in training and {validation:.3f} on the {split}",
                    framework=show.label(framework.name),
                    training=last.training,
                    validation=last.validation,
                    split=images_of(split),
                )
            )
    return (
        say("The loss of the final predictions at the last validated epoch: {ends}.", ends=say("; ").join(ends))
        if ends
        else ""
    )

"""Average precision during a training: whether and how soon each framework learns."""

from pathlib import Path

from reports import formatting as show
from reports import style
from reports.frameworks import style_of
from reports.language import say
from reports.run.records import SPLITS, RunRecords
from reports.run.validation import images_of

STATS = ("AP50", "AP")


def followed_split(run: RunRecords) -> str | None:
    """The split that was evaluated most often, if that was more than once; "train" before "val"."""
    counts = {
        split: max((sum(row.split == split for row in item.evaluations) for item in run.frameworks), default=0)
        for split in SPLITS
    }
    split = max(SPLITS, key=lambda each: counts[each])
    return split if counts[split] > 1 else None


@style.plain
def precision_curves(run: RunRecords, path: Path) -> Path | None:
    """Draw AP50 and AP over the epochs, a panel each; None if no split was evaluated twice."""
    split = followed_split(run)
    if split is None:
        return None
    figure = style.new_figure(3.4)
    panels = figure.subplots(1, len(STATS), sharex=True)
    for axes, stat in zip(panels, STATS, strict=True):
        for entry in run.entries:
            rows = [row for row in entry.evaluations if row.split == split]
            epochs, values = [row.epoch + 1 for row in rows], [row.stats[stat] for row in rows]
            look = style_of(entry.name)
            axes.plot(epochs, values, marker=look.marker, markersize=4, label=look.label, **look.curve)
        axes.set_ylim(0, 1)
        axes.set_xlabel("epoch")
        axes.set_title(f"{stat} on the {images_of(split)}", fontsize=11, loc="left")
        style.tidy(axes)
    panels[0].legend(frameon=False, fontsize=10)
    return style.save(figure, path)


def caption(run: RunRecords) -> str:
    """What the curves reach; only for a run with such a figure."""
    split = followed_split(run)
    assert split is not None, "the figure was drawn"
    ends = []
    for framework in run.frameworks:
        if last := framework.last_evaluation(split):
            values = say("AP50 {ap50:.2f} and AP {ap:.2f}", ap50=last.stats["AP50"], ap=last.stats["AP"])
            ends.append(
                say(
                    "{framework} reaches {values} after epoch {epoch}",
                    framework=show.label(framework.name),
                    values=values,
                    epoch=last.epoch + 1,
                )
            )
    conclude = say(" Two programs learn alike where they are as close as a control is.") if run.controls else ""
    return say(
        "COCO's average precision of the averaged model on the {split} during the training: {ends}.{conclude}",
        split=images_of(split),
        ends=say("; ").join(ends),
        conclude=conclude,
    )

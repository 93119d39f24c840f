"""The tables of a run report, as Markdown."""

from typing import Any

from reports import formatting as show
from reports.markdown import flat, table
from reports.run.certificate import Certificate, float32_families
from reports.run.differences import PUBLISHED_LOSS_BOUND, Difference, TrainingDifference
from reports.run.meta import COCO_STATS
from reports.run.records import Evaluation, RunRecords
from reports.run.summary import Summary, comparable, evaluation_of, summarize


def summary_table(run: RunRecords) -> str:
    """A row per framework and control and, for each one after the first that trained, a row of differences."""
    summaries = [summarize(entry) for entry in run.entries]
    rows = [_summary_row(summary, run) for summary in summaries]
    trained = [summary for summary in summaries if summary.steps]
    rows += [_difference_row(trained[0], other) for other in trained[1:]]
    return table(rows)


def _summary_row(summary: Summary, run: RunRecords) -> dict[str, str]:
    row = {
        "framework": show.label(summary.name),
        "epochs": f"{summary.epochs} of {run.meta.epochs}",
        "final total loss": show.loss(summary.final_loss),
    }
    for split in ("train", "val"):
        stats = _stats(evaluation_of(summary, split))
        row |= {f"{name} {split}": show.average_precision(stats.get(name)) for name in ("AP", "AP50")}
    parameters = run.meta.parameters
    return row | {
        "time per epoch": show.seconds(summary.epoch_seconds),
        "first epoch": show.seconds(summary.first_epoch_seconds),
        "time per step": show.seconds(summary.step_seconds),
        "peak memory": show.megabytes(summary.peak_memory_mb),
        "parameters": _count(parameters.trainable_and_frozen),
        "with running statistics": _count(parameters.with_running_statistics),
    }


def _difference_row(reference: Summary, other: Summary) -> dict[str, str]:
    names = f"{show.label(other.name)} against {show.label(reference.name)}"
    row = {"framework": names, "epochs": "", "final total loss": show.ABSENT}
    fair = comparable(reference, other)
    if fair and reference.final_loss is not None and other.final_loss is not None:
        difference = Difference("final", reference.final_loss, other.final_loss)
        row["final total loss"] = show.percent(difference.relative)
    for split in ("train", "val"):
        left, right = _stats(evaluation_of(reference, split)), _stats(evaluation_of(other, split))
        for name in ("AP", "AP50"):
            defined = fair and left.get(name, -1) >= 0 and right.get(name, -1) >= 0
            row[f"{name} {split}"] = f"{right[name] - left[name]:+.4f}" if defined else show.ABSENT
    return row | {
        "time per epoch": show.ratio(other.epoch_seconds, reference.epoch_seconds),
        "first epoch": show.ratio(other.first_epoch_seconds, reference.first_epoch_seconds),
        "time per step": show.ratio(other.step_seconds, reference.step_seconds),
        "peak memory": show.ratio(other.peak_memory_mb, reference.peak_memory_mb),
        "parameters": "",
        "with running statistics": "",
    }


def first_step_table(comparison: TrainingDifference) -> str:
    """Every loss term of the first step in both frameworks, and their total."""
    names = show.label(comparison.reference.name), show.label(comparison.other.name)
    terms = [*comparison.first_terms, *([comparison.first_total] if comparison.first_total else [])]
    return table(
        [
            {
                "loss term": f"**{term.name}**" if term is comparison.first_total else f"`{term.name}`",
                names[0]: show.loss(term.reference),
                names[1]: show.loss(term.other),
                "relative difference": show.small(term.relative),
                "published bound": show.percent(PUBLISHED_LOSS_BOUND),
                "within": "yes" if term.within_bound else "**no**",
            }
            for term in terms
        ]
    )


def float32_table(certificate: Certificate) -> str | None:
    """The worst float32 gradient of every family of modules in each framework; None where none was measured."""
    rows = float32_families(certificate)
    return table(rows) if rows else None


def evaluation_table(run: RunRecords) -> str | None:
    """All COCO statistics of the last evaluation, a column per split and framework; None without one."""
    columns = {
        f"{show.label(framework.name)}, {split}": evaluation
        for split in ("train", "val")
        for framework in run.frameworks
        if (evaluation := framework.last_evaluation(split)) is not None
    }
    if not columns:
        return None
    recorded = {name for evaluation in columns.values() for name in evaluation.stats}
    names = [name for name in COCO_STATS if name in recorded] + sorted(recorded - set(COCO_STATS))
    return table(
        [
            {"statistic": name}
            | {title: show.average_precision(each.stats.get(name)) for title, each in columns.items()}
            for name in names
        ]
    )


def environment_table(run: RunRecords) -> str | None:
    """Versions and flags: a row per fact, a column per framework; facts of the host fill every column."""
    environment = run.meta.environment
    columns = {name: flat(facts) for name, facts in environment.items() if isinstance(facts, dict)}
    host = columns.pop("host", {})
    facts = list(dict.fromkeys(key for column in columns.values() for key in column))
    rows = [
        {"": key} | {show.label(name): column.get(key, show.ABSENT) for name, column in columns.items()}
        for key in facts
    ]
    titles = [show.label(name) for name in columns] or ["host"]
    rows += [{"": f"host: {key}"} | dict.fromkeys(titles, value) for key, value in host.items()]
    return table(rows, left=1 + len(titles)) if rows else None


def data_table(run: RunRecords) -> str:
    """The data: a row per split with its number of images and the hash of its manifest."""
    data = run.meta.data
    return table(
        [
            {
                "split": split,
                "kind": data.kind or show.ABSENT,
                "images": _count(images),
                "manifest (SHA-256)": f"`{run.manifests[split][:16]}`" if split in run.manifests else "not written",
            }
            for split, images in (("train", data.train_images), ("val", data.val_images))
        ],
        left=2,
    )


def _stats(evaluation: Evaluation | None) -> dict[str, float]:
    return evaluation.stats if evaluation else {}


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else show.ABSENT

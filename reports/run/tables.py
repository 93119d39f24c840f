"""The tables of a run report, as Markdown."""

from typing import Any

from reports import formatting as show
from reports.language import say
from reports.markdown import flat, table
from reports.run.certificate import Certificate, float32_families
from reports.run.differences import PUBLISHED_LOSS_BOUND, TrainingDifference
from reports.run.meta import COCO_STATS
from reports.run.records import RunRecords
from reports.run.summary import summarize

LOCAL = ("executable", "pid")  # facts of one computer that tell a reader nothing


def speed_table(run: RunRecords) -> str:
    """Times and memory: a row per framework and control and, for each that trained after the first, its ratios."""
    summaries = [summarize(entry) for entry in run.entries]
    trained = [summary for summary in summaries if summary.steps]
    rows = [
        {
            say("framework"): show.label(each.name),
            say("time per epoch"): show.seconds(each.epoch_seconds),
            say("first epoch"): show.seconds(each.first_epoch_seconds),
            say("time per step"): show.seconds(each.step_seconds),
            say("peak memory"): show.megabytes(each.peak_memory_mb),
        }
        for each in summaries
    ]
    for other in trained[1:]:
        reference = trained[0]
        rows.append(
            {
                say("framework"): say(
                    "{other} against {reference}",
                    other=show.label(other.name),
                    reference=show.label(reference.name),
                ),
                say("time per epoch"): show.ratio(other.epoch_seconds, reference.epoch_seconds),
                say("first epoch"): show.ratio(other.first_epoch_seconds, reference.first_epoch_seconds),
                say("time per step"): show.ratio(other.step_seconds, reference.step_seconds),
                say("peak memory"): show.ratio(other.peak_memory_mb, reference.peak_memory_mb),
            }
        )
    return table(rows)


def first_step_table(comparison: TrainingDifference) -> str:
    """Every loss term of the first step in both frameworks, and their total."""
    names = show.label(comparison.reference.name), show.label(comparison.other.name)
    terms = [*comparison.first_terms, *([comparison.first_total] if comparison.first_total else [])]
    return table(
        [
            {
                say("loss term"): f"**{term.name}**" if term is comparison.first_total else show.code(term.name),
                names[0]: show.loss(term.reference),
                names[1]: show.loss(term.other),
                say("relative difference"): show.small(term.relative),
                say("published bound"): show.percent(PUBLISHED_LOSS_BOUND),
                say("within"): say("yes") if term.within_bound else say("**no**"),
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
            {say("statistic"): show.plain(name)}
            | {title: show.average_precision(each.stats.get(name)) for title, each in columns.items()}
            for name in names
        ]
    )


def environment_tables(run: RunRecords) -> tuple[str | None, str | None]:
    """Facts that frameworks record with different values, and all facts; None for a run without them.

    A row per fact, a column per framework; facts of the host fill every column of the second table.
    """
    environment = run.meta.environment
    columns = {name: flat(facts) for name, facts in environment.items() if isinstance(facts, dict)}
    host = columns.pop("host", {})
    facts = list(dict.fromkeys(key for column in columns.values() for key in column))
    shown = {
        show.label(name): {key: show.plain(column.get(key, show.ABSENT)) for key in facts}
        for name, column in columns.items()
    }
    rows = {key: {"": show.plain(key)} | {title: shown[title][key] for title in shown} for key in facts}
    titles = [show.label(name) for name in columns] or ["host"]
    of_host = [
        {"": say("host: {key}", key=show.plain(key))} | dict.fromkeys(titles, show.plain(fact))
        for key, fact in host.items()
    ]
    everything = [*rows.values(), *of_host]
    differing = [
        rows[key]
        for key in facts
        if key not in LOCAL and len({column.get(key) for column in columns.values()}) == len(columns) > 1
        if all(key in column for column in columns.values())
    ]
    left = 1 + len(titles)
    return table(differing, left) if differing else None, table(everything, left) if everything else None


def host_sentence(run: RunRecords) -> str:
    """The machine in a few words; empty where it was not recorded."""
    host = run.meta.environment.get("host", {})
    facts = [host.get("cpu"), host.get("cores") and show.count(host["cores"], "core")]
    facts += [
        host.get("memory_gib") and say("{memory_gib} GiB of memory", memory_gib=host["memory_gib"]),
        host.get("platform"),
    ]
    return say(", ").join(show.plain(fact) for fact in facts if fact)


def data_table(run: RunRecords) -> str:
    """The data: a row per split with its number of images and the hash of its manifest."""
    data = run.meta.data
    return table(
        [
            {
                say("split"): split,
                say("kind"): show.plain(data.kind) or show.ABSENT,
                say("images"): _count(images),
                say("manifest (SHA-256)"): f"`{run.manifests[split][:16]}`"
                if split in run.manifests
                else say("not written"),
            }
            for split, images in (("train", data.train_images), ("val", data.val_images))
        ],
        left=2,
    )


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else show.ABSENT

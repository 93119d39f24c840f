"""The one table on the first screen of a run report."""

from collections.abc import Callable, Mapping, Sequence

from reports import formatting as show
from reports.html import slug
from reports.language import say
from reports.markdown import table
from reports.parity.tables import margin
from reports.run.differences import relative_difference
from reports.run.records import RunRecords
from reports.run.summary import Summary, comparable, evaluation_of, summarize
from reports.run.validation import last_validations

FUNCTION, TRAINING, LOSS = "Is it the same function?", "Does it train the same?", "Loss"  # headings of the page
DETECTION, SPEED, TRAINED = "How well does it detect?", "How fast is it?", "What was trained"
Number = float | None
Compare = Callable[[float, float], str]


def headline_table(run: RunRecords) -> str:
    """What a reader quotes, in at most eight rows: a column per framework, then one per difference from the first.

    Losses are compared by relative, APs by plain difference, time and memory by ratio; controls by the same.
    """
    summaries = [summarize(entry) for entry in run.entries]
    loss = TRAINING if len(run.frameworks) > 1 else LOSS
    rows = [_margins(run)] if run.certificate and run.certificate.float64 else []
    rows.append(_epochs(run, summaries))

    def add(
        title: str, section: str, values: Sequence[Number], write: Callable[[Number], str], compare: Compare
    ) -> None:
        named = dict(zip((each.name for each in summaries), values, strict=True))
        row = {"": _title(title, section)} | {show.label(name): write(value) for name, value in named.items()}
        rows.append(row | _against(summaries, named, compare))

    values = [each.final_loss for each in summaries]
    add(say("training loss (total), last epoch"), loss, values, show.loss, _relative)
    if losses := last_validations(run):
        values = [losses.get(each.name) for each in summaries]
        add(say("validation loss (final predictions), last epoch"), loss, values, show.loss, _relative)
    for split, images in (("train", say("training")), ("val", say("validation"))):
        values = [_average_precision(each, split) for each in summaries]
        add(say("AP, {images} images", images=images), DETECTION, values, show.average_precision, _plain)
    add(say("time per epoch"), SPEED, [each.epoch_seconds for each in summaries], show.seconds, _ratio)
    add(say("peak memory"), SPEED, [each.peak_memory_mb for each in summaries], show.megabytes, _ratio)
    columns = ["", *(show.label(each.name) for each in run.frameworks), *_pairs(summaries).values()]
    return table([{column: row.get(column, "") for column in columns} for row in rows])


def _title(text: str, heading: str) -> str:
    """The name of a row, leading to the section that derives its numbers."""
    return f"[{text}](#{slug(say(heading))})"


def _epochs(run: RunRecords, summaries: Sequence[Summary]) -> dict[str, str]:
    """The row of finished epochs."""
    planned = run.meta.epochs
    told = {
        show.label(each.name): say("{done} of {planned}", done=each.epochs, planned=planned) for each in summaries
    }
    return {"": _title(say("epochs"), TRAINED)} | told


def _margins(run: RunRecords) -> dict[str, str]:
    """The row of the certificate: the worst error of each framework after the first, as a share of its limit."""
    assert run.certificate and run.certificate.float64
    row = {"": _title(say("worst float64 error ÷ its limit, first step"), FUNCTION)}
    for framework in run.frameworks[1:]:
        own = [each for each in run.certificate.float64.comparisons if each.framework == framework.name]
        if own:
            pair = say(
                "{other} against {reference}",
                other=show.label(framework.name),
                reference=show.label(run.frameworks[0].name),
            )
            row[pair] = margin(max(each.margin for each in own))
    return row


def _pairs(summaries: Sequence[Summary]) -> dict[str, str]:
    """Names of those that trained beside the first one that did, with the titles of their columns."""
    reference, *others = [each.name for each in summaries if each.steps] or [""]
    return {
        other: say("{other} against {reference}", other=show.label(other), reference=show.label(reference))
        for other in others
    }


def _against(summaries: Sequence[Summary], values: Mapping[str, Number], compare: Compare) -> dict[str, str]:
    trained = [each for each in summaries if each.steps]
    row = {}
    for other in trained[1:]:
        left, right = values[trained[0].name], values[other.name]
        fair = compare is _ratio or comparable(trained[0], other)
        told = show.ABSENT
        if fair and left is not None and right is not None and min(left, right) >= 0:  # -1 is COCO's "no object"
            told = compare(left, right)
        row[_pairs(summaries)[other.name]] = told
    return row


def _relative(reference: float, other: float) -> str:
    return show.percent(relative_difference(reference, other))


def _plain(reference: float, other: float) -> str:
    return f"{other - reference:+.4f}"


def _ratio(reference: float, other: float) -> str:
    return show.ratio(other, reference)


def _average_precision(summary: Summary, split: str) -> Number:
    evaluation = evaluation_of(summary, split)
    return evaluation.stats.get("AP") if evaluation else None

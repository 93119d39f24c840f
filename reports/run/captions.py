"""Captions of the figures, computed from the same records as the figures."""

import numpy as np

from reports import formatting as show
from reports.language import say
from reports.parity.records import ParityRecords
from reports.run import validation
from reports.run.differences import PUBLISHED_LOSS_BOUND, TrainingDifference
from reports.run.loss_figure import means_of_epochs
from reports.run.matches import outcome, score_threshold
from reports.run.records import FrameworkRecords, RunRecords


def loss_curves(
    run: RunRecords, comparisons: tuple[TrainingDifference, ...], controls: tuple[TrainingDifference, ...]
) -> str:
    """Caption of the loss curves: how far each loss fell, and how fast the curves diverge."""
    falls = say("; ").join(_fall(framework) for framework in run.trained)
    parts = [say("Total loss per step, from its first to its last value: {falls}.", falls=falls)]
    if means_of_epochs(run):
        parts.append(say("Thick lines are means of epochs."))
    parts.append(validation.caption(run))
    for comparison in comparisons:
        if len(comparison.steps):
            parts.append(_parting(comparison))
    if controls:
        parts.append(
            say(
                "Grey: {frameworks} and {controls}, the same program from weights moved by one unit in the "
                "last place. Differences up to this size are no differences between the frameworks.",
                frameworks=show.label(run.frameworks[0].name),
                controls=show.count(len(controls), "control"),
            )
        )
    return " ".join(filter(None, parts))


def _fall(framework: FrameworkRecords) -> str:
    first, last = framework.steps[0].total, framework.steps[-1].total
    return say(
        "{framework} {first} to {last}",
        framework=show.label(framework.name),
        first=show.loss(first),
        last=show.loss(last),
    )


def _parting(comparison: TrainingDifference) -> str:
    relative_S = comparison.relative
    broken = int((~np.isfinite(relative_S)).sum())
    if broken:
        return say(
            "**At {broken} a loss is not a finite number**; the lower curve has gaps there.",
            broken=show.count(broken, "step"),
        )
    if not relative_S.any():
        return say("The two curves are identical at every step.")
    worst = int(np.argmax(relative_S))
    start, end = show.percent(relative_S[0]), show.percent(relative_S[-1])
    trend = say("grows") if relative_S[-1] > 2 * relative_S[0] else say("does not grow")
    return say(
        "Below, their relative difference {trend}, from {start} to {end}; it is largest ({relative_s}) at "
        "step {steps}. Rounding that differs in the last bit is amplified by every update, so two correct "
        "programs give a difference that starts at rounding and grows. A difference that is large from the "
        "first step on has another cause.",
        trend=trend,
        start=start,
        end=end,
        relative_s=show.percent(relative_S[worst]),
        steps=comparison.steps[worst] + 1,
    )


def certificate(judged: ParityRecords) -> str:
    """Caption of the certificate's figure."""
    inside = sum(record.ok for record in judged.comparisons)
    return say(
        "{inside:,} of {comparisons:,} tensors of the first step are within their limits (left of 1), "
        "computed in float64 before the training began; a mark is the worst tensor of a module. In float64 "
        "two programs of one function differ by rounding alone, so that any other formula is far to the "
        "right.",
        inside=inside,
        comparisons=len(judged.comparisons),
    )


def loss_terms(run: RunRecords) -> str:
    """Caption of the panels of loss terms."""
    one = len(run.trained) == 1
    return (
        say("The total split into its terms: a kind of loss per column, a place where it is computed per row. ")
        + ("" if one else say("An error in one loss would separate the curves of its panel before the others."))
    ).strip()


def first_step(comparison: TrainingDifference) -> str:
    """Caption of the first step: whether every term is within the published bound."""
    terms = comparison.first_terms
    within = sum(term.within_bound for term in terms)
    worst = comparison.worst_term
    assert worst is not None, "a figure of the first step has terms"
    if within < len(terms):
        return say(
            "**{terms} of {count} terms break the published bound** (crosses), the worst being {worst}: "
            "the two programs do not compute the same loss here.",
            terms=len(terms) - within,
            count=len(terms),
            worst=show.code(worst.name),
        )
    if worst.relative == 0:
        return say("All {terms} loss terms are identical.", terms=len(terms))
    return say(
        "All {terms} terms lie left of the published bound; the worst, {worst}, is "
        "{published_loss_bound:,.1f} times below it. No update has happened yet, so this is the loss of "
        "the same weights on the same batch, without the chaos of training.",
        terms=len(terms),
        worst=show.code(worst.name),
        published_loss_bound=PUBLISHED_LOSS_BOUND / worst.relative,
    )


def detections(run: RunRecords) -> str:
    """Caption of the detections: how many objects each framework finds in these pictures."""
    threshold = score_threshold(run)
    parts = []
    for split, images in (("train", say("training")), ("val", say("validation"))):
        samples = [sample for sample in run.samples if sample.split == split]
        objects = sum(len(sample.ground_truth) for sample in samples)
        told = []
        for framework in run.frameworks:
            if framework.predictions and samples:
                judged = [outcome(framework, sample, run.categories, threshold) for sample in samples]
                found, false = sum(len(each.found) for each in judged), sum(len(each.false) for each in judged)
                told.append(
                    say(
                        "{framework} {found} ({false} false)",
                        framework=show.label(framework.name),
                        found=found,
                        false=false,
                    )
                )
        if told:
            parts.append(
                say(
                    "of the {objects} in these {images} images {told}",
                    objects=show.count(objects, "object"),
                    images=images,
                    told=say(", ").join(told),
                )
            )
    return say(
        "Found with a score of {threshold:.2f} or more: {parts}. In the drawing alone, boxes that overlap "
        "a better one of their class by more than half are left out as duplicates. Compare the columns of "
        "a row; a few pictures measure nothing, the APs above count every box.",
        threshold=threshold,
        parts=say("; ").join(parts),
    )


def compilation(run: RunRecords) -> str:
    """How many kernels each framework compiled and how long that took; empty where none compiled any."""
    sentences = []
    for framework in run.trained:
        kernels, seconds = framework.compiled
        if kernels:
            words = say(
                "{kernels} in {seconds}", kernels=show.count(kernels, "kernel"), seconds=show.seconds(seconds)
            )
            sentences.append(
                say(
                    "{framework} compiled {words} while it trained and evaluated.",
                    framework=show.label(framework.name),
                    words=words,
                )
            )
    return " ".join(sentences)


def objects(run: RunRecords) -> str:
    """One sentence a split about its objects: how many are in use, and what became of the others."""
    said = []
    for split, account in (run.meta.data.account or {}).items():
        kinds: dict[str, list[str]] = {}
        for found in account["findings"]:
            kinds.setdefault(found["kind"], []).append(f"{found['count']:,} {show.plain(found['reason'])}")
        rest = "".join(f"; {show.plain(kind)}: {', '.join(reasons)}" for kind, reasons in kinds.items())
        used = say(
            "{trained:,} of {objects:,} objects are in use", trained=account["trained"], objects=account["objects"]
        )
        said.append(say("{split}: {used}{rest}.", split=show.plain(split), used=used, rest=rest))
    return " ".join(said)

"""Captions of the figures, computed from the same records as the figures."""

import numpy as np

from reports import formatting as show
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
    falls = "; ".join(_fall(framework) for framework in run.trained)
    parts = [f"Total loss per step, from its first to its last value: {falls}."]
    if means_of_epochs(run):
        parts.append("Thick lines are means of epochs.")
    parts.append(validation.caption(run))
    for comparison in comparisons:
        if len(comparison.steps):
            parts.append(_parting(comparison))
    if controls:
        parts.append(
            f"Grey: {show.label(run.frameworks[0].name)} and {show.count(len(controls), 'control')}, the same "
            "program from weights moved by one unit in the last place. A difference as large as this one is none "
            "between the frameworks."
        )
    return " ".join(filter(None, parts))


def _fall(framework: FrameworkRecords) -> str:
    first, last = framework.steps[0].total, framework.steps[-1].total
    return f"{show.label(framework.name)} {show.loss(first)} to {show.loss(last)}"


def _parting(comparison: TrainingDifference) -> str:
    relative_S = comparison.relative
    broken = int((~np.isfinite(relative_S)).sum())
    if broken:
        return f"**At {show.count(broken, 'step')} a loss is not a finite number**; the lower curve has gaps there."
    if not relative_S.any():
        return "The two curves are identical at every step."
    worst = int(np.argmax(relative_S))
    start, end = show.percent(relative_S[0]), show.percent(relative_S[-1])
    trend = "grows" if relative_S[-1] > 2 * relative_S[0] else "does not grow"
    return (
        f"Below, their relative difference {trend}, from {start} to {end}; it is largest "
        f"({show.percent(relative_S[worst])}) at step {comparison.steps[worst] + 1}. Rounding that differs in the "
        "last bit is amplified by every update, so two correct programs give a difference that starts at rounding "
        "and grows. A difference that is large from the first step on has another cause."
    )


def certificate(judged: ParityRecords) -> str:
    """Caption of the certificate's figure."""
    inside = sum(record.ok for record in judged.comparisons)
    return (
        f"{inside:,} of {len(judged.comparisons):,} tensors of the first step are within their limits (left of 1), "
        "computed in float64 before the training began; a mark is the worst tensor of a module. In float64 two "
        "programs of one function differ by rounding alone, so that any other formula is far to the right."
    )


def loss_terms(run: RunRecords) -> str:
    """Caption of the panels of loss terms."""
    one = len(run.trained) == 1
    return (
        "The total split into its terms: a kind of loss per column, a place where it is computed per row. "
        + ("" if one else "An error in one loss would separate the curves of its panel before the others.")
    ).strip()


def first_step(comparison: TrainingDifference) -> str:
    """Caption of the first step: whether every term is within the published bound."""
    terms = comparison.first_terms
    within = sum(term.within_bound for term in terms)
    worst = comparison.worst_term
    assert worst is not None, "a figure of the first step has terms"
    if within < len(terms):
        return (
            f"**{len(terms) - within} of {len(terms)} terms break the published bound** (crosses), the worst being "
            f"{show.code(worst.name)}: the two programs do not compute the same loss here."
        )
    if worst.relative == 0:
        return f"All {len(terms)} loss terms are identical."
    return (
        f"All {len(terms)} terms lie left of the published bound; the worst, {show.code(worst.name)}, is "
        f"{PUBLISHED_LOSS_BOUND / worst.relative:,.1f} times below it. No update has happened yet, so this is the "
        "loss of the same weights on the same batch, without the chaos of training."
    )


def detections(run: RunRecords) -> str:
    """Caption of the detections: how many objects each framework finds in these pictures."""
    threshold = score_threshold(run)
    parts = []
    for split, images in (("train", "training"), ("val", "validation")):
        samples = [sample for sample in run.samples if sample.split == split]
        objects = sum(len(sample.ground_truth) for sample in samples)
        told = []
        for framework in run.frameworks:
            if framework.predictions and samples:
                judged = [outcome(framework, sample, run.categories, threshold) for sample in samples]
                found, false = sum(len(each.found) for each in judged), sum(len(each.false) for each in judged)
                told.append(f"{show.label(framework.name)} {found} ({false} false)")
        if told:
            parts.append(f"of the {show.count(objects, 'object')} in these {images} images {', '.join(told)}")
    return (
        f"Found with a score of {threshold:.2f} or more: {'; '.join(parts)}. In the drawing alone, boxes that "
        "overlap a better one of their class by more than half are left out as duplicates. Compare the columns of "
        "a row; a few pictures measure nothing, the APs above count every box."
    )


def compilation(run: RunRecords) -> str:
    """How many kernels each framework compiled and how long that took; empty where none compiled any."""
    sentences = []
    for framework in run.trained:
        kernels, seconds = framework.compiled
        if kernels:
            words = f"{show.count(kernels, 'kernel')} in {show.seconds(seconds)}"
            sentences.append(f"{show.label(framework.name)} compiled {words} while it trained and evaluated.")
    return " ".join(sentences)


def objects(run: RunRecords) -> str:
    """One sentence a split about its objects: how many are in use, and what became of the others."""
    said = []
    for split, account in (run.meta.data.account or {}).items():
        kinds: dict[str, list[str]] = {}
        for found in account["findings"]:
            kinds.setdefault(found["kind"], []).append(f"{found['count']:,} {show.plain(found['reason'])}")
        rest = "".join(f"; {show.plain(kind)}: {', '.join(reasons)}" for kind, reasons in kinds.items())
        used = f"{account['trained']:,} of {account['objects']:,} objects are in use"
        said.append(f"{show.plain(split)}: {used}{rest}.")
    return " ".join(said)

"""What a reader should conclude from each figure, computed from the same records as the figure."""

import numpy as np

from reports import formatting as show
from reports.run.differences import PUBLISHED_LOSS_BOUND, TrainingDifference
from reports.run.records import FrameworkRecords, RunRecords


def loss_curves(run: RunRecords, comparisons: tuple[TrainingDifference, ...]) -> str:
    """How far each loss fell and how fast the curves part."""
    falls = "; ".join(_fall(framework) for framework in run.trained)
    parts = [f"Total loss per step, from its first to its last value: {falls}."]
    for comparison in comparisons:
        if len(comparison.steps):
            parts.append(_parting(comparison))
    return " ".join(parts)


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
        f"Beneath, their relative difference {trend}, from {start} to {end}; it is largest "
        f"({show.percent(relative_S[worst])}) at step {comparison.steps[worst] + 1}. Rounding that differs in the "
        "last bit is amplified by every update, so a difference that starts at rounding and rises is what two "
        "correct programs give; one that is large from the first step on would not be."
    )


def loss_terms(run: RunRecords) -> str:
    """What the small multiples are for."""
    one = len(run.trained) == 1
    return (
        "The total taken apart: a kind of loss in each column, the place where it is computed in each row. "
        + ("" if one else "A fault in one loss would part the curves of one panel before those of the others.")
    ).strip()


def first_step(comparison: TrainingDifference) -> str:
    """Whether the first step, where chaos has had no time, meets the published bound."""
    terms = comparison.first_terms
    within = sum(term.within_bound for term in terms)
    worst = comparison.worst_term
    assert worst is not None, "a figure of the first step has terms"
    if within < len(terms):
        return (
            f"**{len(terms) - within} of {len(terms)} terms break the published bound** (crosses), the worst being "
            f"`{worst.name}`: the two programs do not compute the same loss here."
        )
    if worst.relative == 0:
        return f"All {len(terms)} loss terms are identical."
    return (
        f"All {len(terms)} terms lie left of the published bound; the worst, `{worst.name}`, is "
        f"{PUBLISHED_LOSS_BOUND / worst.relative:,.1f} times below it. No update has happened yet, so this is the "
        "loss of the same weights on the same batch, without the chaos of training."
    )


def detections(run: RunRecords) -> str:
    """How sure the frameworks are of what is drawn."""
    shown = {sample.image_id for sample in run.samples}
    parts = []
    for framework in run.frameworks:
        results = [item for split in framework.predictions.values() for item in split]
        scores = [float(item["score"]) for item in results if int(item["image_id"]) in shown]
        if scores:
            parts.append(f"{show.label(framework.name)} {max(scores):.2f}")
    best = ", ".join(parts) if parts else "none"
    return (
        "The ten best-scored boxes of each image, with no threshold, so that an early model shows its guesses "
        f"too. The highest score in these pictures: {best}. Judge likeness between the columns of one row; four "
        "pictures measure nothing."
    )

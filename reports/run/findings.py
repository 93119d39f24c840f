"""What a run found, in full sentences, for the sections of its report; `verdict.py` says the same shortly."""

import numpy as np

from frameworks.shared.tolerances import PUBLISHED_AP
from reports import formatting as show
from reports.run import parting, precision_differences
from reports.run.certificate import Certificate, float32_sentence, sentence
from reports.run.differences import PUBLISHED_LOSS_BOUND, Difference, TrainingDifference
from reports.run.records import RunRecords
from reports.run.summary import Summary, comparable, evaluation_of, summarize

# Below this AP (a fraction) a detector has learnt next to nothing, and equal APs say nothing about parity.
AP_FLOOR = 0.01


def same_function(run: RunRecords, comparisons: tuple[TrainingDifference, ...]) -> str:
    """What the certificate proves, in float64 and float32, and how far the losses of the first step agree."""
    certificate = run.certificate
    certified = bool(certificate and certificate.float64)
    said = [_certificate(run, certificate)] if certificate else []
    said += [first_step(each, brief=certified) for each in comparisons]
    return " ".join(filter(None, said))


def same_training(comparisons: tuple[TrainingDifference, ...], controls: tuple[TrainingDifference, ...]) -> str:
    """How far the trainings part, beside the controls where there are any."""
    said = []
    for comparison in comparisons:
        stages = parting.stages(comparison, controls)
        said.append(_parting(comparison, stages) if stages else _totals(comparison))
        said += warnings(comparison)
    if comparisons and not controls:
        reference = show.label(comparisons[0].reference.name)
        said.append(f"No control was trained: nothing says how far {reference} parts from itself.")
    return " ".join(filter(None, said))


def detection(run: RunRecords, comparisons: tuple[TrainingDifference, ...]) -> str:
    """The APs, and what their differences say."""
    return " ".join(filter(None, (_precision(run, comparison) for comparison in comparisons)))


def _certificate(run: RunRecords, certificate: Certificate) -> str:
    names = [framework.name for framework in run.frameworks]
    text = sentence(certificate, names)
    text = text[0].upper() + text[1:] if certificate.float64 else f"The certificate was {text}"
    return " ".join(filter(None, [text, float32_sentence(certificate)]))


def _parting(comparison: TrainingDifference, stages: tuple[parting.Stage, ...]) -> str:
    """How far the frameworks part, as a multiple of the control's, at each stage."""
    other, reference = show.label(comparison.other.name), show.label(comparison.reference.name)
    first, *later = [f"{show.times(stage.ratio)} times" for stage in stages]
    ratios = [f"{times} {stage.name}" for times, stage in zip(later, stages[1:], strict=True)]
    begin = (
        f"{other} parts from {reference} {first} as far as {reference} from itself (weights moved by one unit in "
        f"the last place) {stages[0].name}"
    )
    text = f"{listed([begin, *ratios])}."
    far = [stage.name for stage in stages if stage.is_far]
    if far:
        text += f" **That is more than rounding explains {listed(far)}.**"
    if not any(stage.is_judged for stage in stages):
        grown = show.percent(parting.GROWN)
        text += f" Rounding has not grown to {grown} of the loss here, and until then such a ratio judges nothing."
    return text


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def trained(run: RunRecords) -> str:
    """What was trained, with which recipe, and how large the model is."""
    meta, data = run.meta, run.meta.data
    count, more = meta.parameters.trainable_and_frozen, meta.parameters.with_running_statistics
    statistics = f", {more:,} with the running statistics of batch norm" if more else ""
    size = f"{count:,} parameters{statistics}. " if count else ""
    what = f"{show.code(meta.preset)} (one spec, {show.code(meta.spec_hash[:12])}, seed {meta.seed})"
    return (
        f"{what}, {meta.epochs} epochs planned, "
        f"batch {meta.batch_size}, {meta.pixels}, {show.plain(meta.device)}; "
        f"{show.count(data.train_images or 0, 'training image')} beside "
        f"{show.count(data.val_images or 0, 'validation image')}. {size}{_recipe(meta.recipe)}"
    ).strip()


def _recipe(sentence: str) -> str:
    return f"Recipe: {show.prose(sentence)}. " if sentence else ""


def first_step(comparison: TrainingDifference, brief: bool = False) -> str:
    """How far the losses of the first training step agree; ``brief``: a certificate says more."""
    worst, total = comparison.worst_term, comparison.first_total
    if worst is None or total is None:
        return "The first step was not recorded for both, so losses of equal weights are not compared."
    bound = show.percent(PUBLISHED_LOSS_BOUND)
    terms = show.count(len(comparison.first_terms), "loss term")
    broken = [term for term in (*comparison.first_terms, total) if not term.within_bound]
    measured = (
        f"the total differs by {show.percent(total.relative)}, the worst term ({show.code(worst.name)}) by "
        f"{show.percent(worst.relative)}"
    )
    if broken:
        names = ", ".join(show.code(term.name) for term in broken[:4]) + (", …" if len(broken) > 4 else "")
        return (
            f"**The first step does not agree**: of {terms} and the total, {len(broken)} break the published "
            f"bound of {bound} ({names}); {measured}."
        )
    if brief:
        return f"In the training itself the first losses differ by at most {show.percent(worst.relative)}."
    return f"At the first step, before any update, all {terms} agree within the published {bound}: {measured}."


def _totals(comparison: TrainingDifference) -> str:
    if len(comparison.steps) < 2:
        return ""
    parts = []
    if comparison.end_of_first_epoch:
        step, relative = comparison.end_of_first_epoch
        parts.append(f"{show.percent(relative)} at the end of the first epoch (step {step + 1})")
    parts.append(f"{show.percent(comparison.relative[-1])} at the last common step ({comparison.steps[-1] + 1})")
    crossed = [(limit, comparison.first_above(limit)) for limit in (0.01, 0.1)]
    passing = [
        f"{limit:.0%} is never exceeded" if at is None else f"{limit:.0%} is first exceeded at step {at + 1}"
        for limit, at in crossed
    ]
    text = f"The total losses then differ by {' and by '.join(parts)}; {' and '.join(passing)}."
    if comparison.matchings_differ_at is not None:
        text += f" The matching of queries to objects first differs at step {comparison.matchings_differ_at + 1}."
    return text


def warnings(comparison: TrainingDifference) -> list[str]:
    """What makes two trainings two experiments, in bold."""
    said = []
    undefined = int((~np.isfinite(comparison.relative)).sum())
    if undefined:
        said.append(
            f"**At {show.count(undefined, 'step')} a total is not a finite number**, which counts as exceeding."
        )
    if comparison.learning_rates_differ_at is not None:
        at = comparison.learning_rates_differ_at + 1
        said.append(f"**The learning rates differ from step {at} on, so these are two experiments, not one.**")
    return said


def precisions(comparison: TrainingDifference) -> list[precision_differences.Value]:
    """The APs that both have after the same number of epochs, with their split."""
    left, right = summarize(comparison.reference), summarize(comparison.other)
    values = []
    for split in ("train", "val") if comparable(left, right) else ():
        ours, theirs = evaluation_of(left, split), evaluation_of(right, split)
        if ours is None or theirs is None:
            continue
        pair = ours.stats["AP"], theirs.stats["AP"]
        if min(pair) >= 0:  # COCO writes -1 where there is no object; NaN is no AP either
            values.append((split, *pair))
    return values


def _precision(run: RunRecords, comparison: TrainingDifference) -> str:
    """The APs of two frameworks, and what they say about the difference."""
    left, right = summarize(comparison.reference), summarize(comparison.other)
    if not comparable(left, right):
        return "APs are not compared, because the two are at different epochs."
    values = precisions(comparison)
    if not values:
        return "No AP was recorded for both, so none is compared."
    shown = {split: tuple(map(show.average_precision, pair)) for split, *pair in values}
    parts = {split: f"{ours} and {theirs} on {split}" for split, (ours, theirs) in shown.items()}
    begin = f"AP of {show.labels([left.name, right.name])}:"
    if judged := precision_differences.meaning(run, right.name, values, AP_FLOOR):
        return f"{begin} {', '.join(parts.values())}. {judged}"
    told = [f"{parts[split]} (difference {theirs - ours:+.4f})" for split, ours, theirs in values]
    return f"{begin} {', '.join(told)}. {_precision_meaning(run, values)}"


def _precision_meaning(run: RunRecords, values: list[tuple[str, float, float]]) -> str:
    proven = run.certificate and run.certificate.float64
    proof = "parity is " + ("certified above" if proven else "proven by `nox -s parity`, not by this run")
    blind = [split for split, ours, theirs in values if not max(ours, theirs) >= AP_FLOOR]
    if len(blind) == len(values):
        return f"**APs this close to 0 mean that this budget cannot tell the frameworks apart by AP**; {proof}."
    told, bound = [], show.percent(PUBLISHED_AP)
    for split, ours, theirs in values:
        if split not in blind:
            within = Difference(split, ours, theirs).relative < PUBLISHED_AP
            told.append(f"{'within' if within else 'outside'} the published {bound} on {split}")
    if blind:
        told.append(f"too close to 0 on {blind[0]} to tell anything")
    meaning = "with one seed and this few images it is no evidence either way"
    return f"The difference is {', '.join(told)}; {meaning}, and {proof}."


def cost(comparison: TrainingDifference) -> str:
    """Time and memory of another framework as multiples of the first one's; empty where either has none."""
    left, right = summarize(comparison.reference), summarize(comparison.other)
    parts = []
    if left.epoch_seconds and right.epoch_seconds:
        parts.append(
            f"{right.epoch_seconds / left.epoch_seconds:.2f} times the time per epoch ({_durations(left, right)})"
        )
    elif left.step_seconds and right.step_seconds:
        parts.append(f"{right.step_seconds / left.step_seconds:.2f} times the median time per step")
    if left.peak_memory_mb and right.peak_memory_mb:
        parts.append(f"{right.peak_memory_mb / left.peak_memory_mb:.2f} times the peak memory")
    if not parts:
        return ""
    return f"{show.label(right.name)} took {' and '.join(parts)} of {show.label(left.name)}."


def _durations(left: Summary, right: Summary) -> str:
    return f"{show.seconds(right.epoch_seconds)} against {show.seconds(left.epoch_seconds)}"

"""The verdict of a run in three lines, from its records: same function, same training, what was trained."""

import numpy as np

from frameworks.shared.tolerances import PUBLISHED_AP
from reports import formatting as show
from reports.run import parting, precision_differences
from reports.run.certificate import Certificate, float32_sentence, sentence
from reports.run.differences import (
    PUBLISHED_LOSS_BOUND,
    Difference,
    TrainingDifference,
    compare_controls,
    compare_run,
)
from reports.run.records import RunRecords
from reports.run.summary import Summary, comparable, evaluation_of, summarize

# Below this AP (a fraction) a detector has learnt next to nothing, and equal APs say nothing about parity.
AP_FLOOR = 0.01


def verdict(run: RunRecords) -> str:
    """The lines, in Markdown; an incomplete run says so first, and a run of one framework has the last alone."""
    comparisons, controls = compare_run(run), compare_controls(run)
    function, training, trained = [], [], [_what(run)]
    if run.certificate:
        function = [_certificate(run, run.certificate)]
    for comparison in comparisons:
        function.append(_first_step(comparison, brief=bool(run.certificate and run.certificate.float64)))
        stages = parting.stages(comparison, controls)
        training += [_parting(comparison, stages) if stages else "", _curves(comparison, brief=bool(stages))]
        for line, text in zip((training, trained), _precision(run, comparison), strict=True):
            line.append(text)
        trained.append(_cost(comparison))
    if comparisons and not controls:
        reference = show.label(run.trained[0].name)
        training.append(f"No control was trained: nothing says how far {reference} parts from itself.")
    if len(run.trained) == 1:
        trained.append(_alone(run))
    if len(run.frameworks) == 1:
        function = training = []
    lines = {"Same function": function, "Same training": training, "What was trained": trained}
    said = {title: " ".join(filter(None, sentences)) for title, sentences in lines.items()}
    state = [_state(run)] if _state(run) else []
    return "\n".join(state + [f"- **{title}.** {text}" for title, text in said.items() if text])


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
    text = f"{_listed([begin, *ratios])}."
    far = [stage.name for stage in stages if stage.is_far]
    if far:
        text += f" **That is more than rounding explains {_listed(far)}.**"
    if not any(stage.is_judged for stage in stages):
        grown = show.percent(parting.GROWN)
        text += f" Rounding has not grown to {grown} of the loss here, and until then such a ratio judges nothing."
    return text


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _state(run: RunRecords) -> str:
    if run.complete:
        return ""
    parts = []
    for framework in run.entries:
        name, done = show.label(framework.name), f"{len(framework.epochs)} of {run.meta.epochs} epochs"
        if framework.failure:
            kind = framework.failure.kind or "failure"
            parts.append(f"{name} stopped ({show.cell(kind)}) after {show.count(len(framework.steps), 'step')}")
        elif len(framework.epochs) < run.meta.epochs:
            parts.append(f"{name} recorded {done} ({show.count(len(framework.steps), 'step')}) so far")
        else:
            parts.append(f"{name} recorded all {show.count(run.meta.epochs, 'epoch')}")
    return f"**This run is incomplete**: {'; '.join(parts)}."


def _what(run: RunRecords) -> str:
    meta, data = run.meta, run.meta.data
    if not run.trained:
        return "No framework completed a step, so this report holds no result."
    each = " each" if len(run.trained) > 1 else ""
    names = show.labels(framework.name for framework in run.trained)
    shapes = "**NOT COCO: coloured shapes.** " if data.kind == "shapes" else ""
    return (
        f"{shapes}{names}{each} trained `{meta.preset}` (one spec, `{meta.spec_hash[:12]}`, "
        f"seed {meta.seed}) on {show.count(data.train_images or 0, 'training image')} beside "
        f"{show.count(data.val_images or 0, 'validation image')}: {meta.epochs} epochs planned, batch "
        f"{meta.batch_size}, {meta.pixels}, {meta.device}. "
        f"{_recipe(meta.recipe)}"
        f"Data: {(data.sentence or 'not described').rstrip('.')}."
    )


def _recipe(sentence: str) -> str:
    return f"Recipe: {sentence}. " if sentence else ""


def _first_step(comparison: TrainingDifference, brief: bool) -> str:
    """How far the losses of the first training step agree; ``brief``: a certificate says more."""
    worst, total = comparison.worst_term, comparison.first_total
    if worst is None or total is None:
        return "The first step was not recorded for both, so losses of equal weights are not compared."
    bound = show.percent(PUBLISHED_LOSS_BOUND)
    terms = show.count(len(comparison.first_terms), "loss term")
    broken = [term for term in (*comparison.first_terms, total) if not term.within_bound]
    measured = (
        f"the total differs by {show.percent(total.relative)}, the worst term (`{worst.name}`) by "
        f"{show.percent(worst.relative)}"
    )
    if broken:
        names = ", ".join(f"`{term.name}`" for term in broken[:4]) + (", …" if len(broken) > 4 else "")
        return (
            f"**The first step does not agree**: of {terms} and the total, {len(broken)} break the published "
            f"bound of {bound} ({names}); {measured}."
        )
    if brief:
        return f"In the training itself the first losses differ by at most {show.percent(worst.relative)}."
    return f"At the first step, before any update, all {terms} agree within the published {bound}: {measured}."


def _curves(comparison: TrainingDifference, brief: bool) -> str:
    """Where the totals part; ``brief``: only what no control explains."""
    if len(comparison.steps) < 2:
        return ""
    return " ".join(filter(None, ["" if brief else _totals(comparison), *_warnings(comparison)]))


def _totals(comparison: TrainingDifference) -> str:
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


def _warnings(comparison: TrainingDifference) -> list[str]:
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


def _precision(run: RunRecords, comparison: TrainingDifference) -> tuple[str, str]:
    """What the APs say about the difference, and the APs themselves where the first part has not said them."""
    left, right = summarize(comparison.reference), summarize(comparison.other)
    if not comparable(left, right):
        return "APs are not compared, because the two are at different epochs.", ""
    values = []
    for split in ("train", "val"):
        ours, theirs = evaluation_of(left, split), evaluation_of(right, split)
        if ours is None or theirs is None:
            continue
        pair = ours.stats["AP"], theirs.stats["AP"]
        if min(pair) >= 0:  # COCO writes -1 where there is no object; NaN is no AP either
            values.append((split, *pair))
    if not values:
        return "No AP was recorded for both, so none is compared.", ""
    shown = {split: tuple(map(show.average_precision, pair)) for split, *pair in values}
    parts = {split: f"{ours} and {theirs} on {split}" for split, (ours, theirs) in shown.items()}
    begin = f"AP of {show.labels([left.name, right.name])}:"
    if judged := precision_differences.meaning(run, right.name, values, AP_FLOOR):
        return judged, f"{begin} {', '.join(parts.values())}."
    told = [f"{parts[split]} (difference {theirs - ours:+.4f})" for split, ours, theirs in values]
    return f"{begin} {', '.join(told)}. {_precision_meaning(run, values)}", ""


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


def _cost(comparison: TrainingDifference) -> str:
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
    return (
        f"{show.label(right.name)} took {' and '.join(parts)} of {show.label(left.name)}; this is the log of a "
        "training run, not an interleaved benchmark."
    )


def _durations(left: Summary, right: Summary) -> str:
    return f"{show.seconds(right.epoch_seconds)} against {show.seconds(left.epoch_seconds)}"


def _alone(run: RunRecords) -> str:
    summary = summarize(run.trained[0])
    found = [(split, evaluation_of(summary, split)) for split in ("train", "val")]
    parts = [f"{show.average_precision(each.stats['AP'])} on {split}" for split, each in found if each]
    precision = f" AP is {' and '.join(parts)}." if parts else ""
    return f"Only {show.label(summary.name)} trained here, so nothing is compared.{precision}"

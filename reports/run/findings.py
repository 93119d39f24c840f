"""What a run found, in full sentences, for the sections of its report; `verdict.py` says the same shortly."""

import numpy as np

from frameworks.shared.tolerances import PUBLISHED_AP
from reports import formatting as show
from reports.language import say
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
        said.append(
            say("No control was trained: nothing says how far {reference} parts from itself.", reference=reference)
        )
    return " ".join(filter(None, said))


def detection(run: RunRecords, comparisons: tuple[TrainingDifference, ...]) -> str:
    """The APs, and what their differences say."""
    return " ".join(filter(None, (_precision(run, comparison) for comparison in comparisons)))


def _certificate(run: RunRecords, certificate: Certificate) -> str:
    names = [framework.name for framework in run.frameworks]
    text = sentence(certificate, names)
    text = text[0].upper() + text[1:] if certificate.float64 else say("The certificate was {text}", text=text)
    return " ".join(filter(None, [text, float32_sentence(certificate)]))


def _parting(comparison: TrainingDifference, stages: tuple[parting.Stage, ...]) -> str:
    """How far the frameworks part, as a multiple of the control's, at each stage."""
    other, reference = show.label(comparison.other.name), show.label(comparison.reference.name)
    first, *later = [say("{ratio} times", ratio=show.times(stage.ratio)) for stage in stages]
    ratios = [
        say("{times} {stage}", times=times, stage=stage.name)
        for times, stage in zip(later, stages[1:], strict=True)
    ]
    begin = say(
        "{other} parts from {reference} {first} as far as {reference} from itself (weights moved by one "
        "unit in the last place) {stage}",
        other=other,
        reference=reference,
        first=first,
        stage=stages[0].name,
    )
    text = say("{parts}.", parts=listed([begin, *ratios]))
    far = [stage.name for stage in stages if stage.is_far]
    if far:
        text += say(" **That is more than rounding explains {far}.**", far=listed(far))
    if not any(stage.is_judged for stage in stages):
        grown = show.percent(parting.GROWN)
        text += say(
            " Rounding has not grown to {grown} of the loss here, and until then such a ratio judges nothing.",
            grown=grown,
        )
    return text


def listed(parts: list[str]) -> str:
    """Clauses in a row: `a`, `a and b`, `a, b and c`."""
    text = parts[0]
    for each in parts[1:-1]:
        text = say("{first}, {second}", first=text, second=each)
    return say("{first} and {last}", first=text, last=parts[-1]) if len(parts) > 1 else text


def trained(run: RunRecords) -> str:
    """What was trained, with which recipe, and how large the model is."""
    meta, data = run.meta, run.meta.data
    count, more = meta.parameters.trainable_and_frozen, meta.parameters.with_running_statistics
    statistics = say(", {more:,} with the running statistics of batch norm", more=more) if more else ""
    size = say("{count:,} parameters{statistics}. ", count=count, statistics=statistics) if count else ""
    what = say(
        "{preset} (one spec, {spec_hash}, seed {seed})",
        preset=show.code(meta.preset),
        spec_hash=show.code(meta.spec_hash[:12]),
        seed=meta.seed,
    )
    return (
        say(
            "{what}, {epochs} epochs planned, batch {batch_size}, {pixels}, {device}; {train_images} beside "
            "{val_images}. {size}{recipe}",
            what=what,
            epochs=meta.epochs,
            batch_size=meta.batch_size,
            pixels=meta.pixels,
            device=show.plain(meta.device),
            train_images=show.count(data.train_images or 0, "training image"),
            val_images=show.count(data.val_images or 0, "validation image"),
            size=size,
            recipe=_recipe(meta.recipe),
        )
    ).strip()


def _recipe(sentence: str) -> str:
    return say("Recipe: {sentence}. ", sentence=show.prose(sentence)) if sentence else ""


def first_step(comparison: TrainingDifference, brief: bool = False) -> str:
    """How far the losses of the first training step agree; ``brief``: a certificate says more."""
    worst, total = comparison.worst_term, comparison.first_total
    if worst is None or total is None:
        return say("The first step was not recorded for both, so losses of equal weights are not compared.")
    bound = show.percent(PUBLISHED_LOSS_BOUND)
    terms = show.count(len(comparison.first_terms), "loss term")
    broken = [term for term in (*comparison.first_terms, total) if not term.within_bound]
    measured = say(
        "the total differs by {relative}, the worst term ({worst}) by {worst_relative}",
        relative=show.percent(total.relative),
        worst=show.code(worst.name),
        worst_relative=show.percent(worst.relative),
    )
    if broken:
        names = say(", ").join(show.code(term.name) for term in broken[:4]) + (
            say(", …") if len(broken) > 4 else ""
        )
        return say(
            "**The first step does not agree**: of {terms} and the total, {broken} break the published "
            "bound of {bound} ({names}); {measured}.",
            terms=terms,
            broken=len(broken),
            bound=bound,
            names=names,
            measured=measured,
        )
    if brief:
        return say(
            "In the training itself the first losses differ by at most {relative}.",
            relative=show.percent(worst.relative),
        )
    return say(
        "At the first step, before any update, all {terms} agree within the published {bound}: {measured}.",
        terms=terms,
        bound=bound,
        measured=measured,
    )


def _totals(comparison: TrainingDifference) -> str:
    if len(comparison.steps) < 2:
        return ""
    parts = []
    if comparison.end_of_first_epoch:
        step, relative = comparison.end_of_first_epoch
        parts.append(
            say(
                "{relative} at the end of the first epoch (step {step})",
                relative=show.percent(relative),
                step=step + 1,
            )
        )
    parts.append(
        say(
            "{relative} at the last common step ({steps})",
            relative=show.percent(comparison.relative[-1]),
            steps=comparison.steps[-1] + 1,
        )
    )
    crossed = [(limit, comparison.first_above(limit)) for limit in (0.01, 0.1)]
    passing = [
        say("{limit:.0%} is never exceeded", limit=limit)
        if at is None
        else say("{limit:.0%} is first exceeded at step {at}", limit=limit, at=at + 1)
        for limit, at in crossed
    ]
    text = say(
        "The total losses then differ by {parts}; {passing}.",
        parts=say(" and by ").join(parts),
        passing=listed(passing),
    )
    if comparison.matchings_differ_at is not None:
        text += say(
            " The matching of queries to objects first differs at step {matchings_differ_at}.",
            matchings_differ_at=comparison.matchings_differ_at + 1,
        )
    return text


def warnings(comparison: TrainingDifference) -> list[str]:
    """What makes two trainings two experiments, in bold."""
    said = []
    undefined = int((~np.isfinite(comparison.relative)).sum())
    if undefined:
        said.append(
            say(
                "**At {undefined} a total is not a finite number**, which counts as exceeding.",
                undefined=show.count(undefined, "step"),
            )
        )
    if comparison.learning_rates_differ_at is not None:
        at = comparison.learning_rates_differ_at + 1
        said.append(
            say("**The learning rates differ from step {at} on, so these are two experiments, not one.**", at=at)
        )
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
        return say("APs are not compared, because the two are at different epochs.")
    values = precisions(comparison)
    if not values:
        return say("No AP was recorded for both, so none is compared.")
    shown = {split: tuple(map(show.average_precision, pair)) for split, *pair in values}
    parts = {
        split: say("{ours} and {theirs} on {split}", ours=ours, theirs=theirs, split=split)
        for split, (ours, theirs) in shown.items()
    }
    begin = say("AP of {names}:", names=show.labels([left.name, right.name]))
    if judged := precision_differences.meaning(run, right.name, values, AP_FLOOR):
        return say("{begin} {told}. {meaning}", begin=begin, told=say(", ").join(parts.values()), meaning=judged)
    told = [
        say("{parts} (difference {theirs:+.4f})", parts=parts[split], theirs=theirs - ours)
        for split, ours, theirs in values
    ]
    meaning = _precision_meaning(run, values)
    return say("{begin} {told}. {meaning}", begin=begin, told=say(", ").join(told), meaning=meaning)


def _precision_meaning(run: RunRecords, values: list[tuple[str, float, float]]) -> str:
    proven = run.certificate and run.certificate.float64
    certified, elsewhere = (
        say("parity is certified above"),
        say("parity is proven by `nox -s parity`, not by this run"),
    )
    proof = certified if proven else elsewhere
    blind = [split for split, ours, theirs in values if not max(ours, theirs) >= AP_FLOOR]
    if len(blind) == len(values):
        return say(
            "**APs this close to 0 mean that this budget cannot tell the frameworks apart by AP**; {proof}.",
            proof=proof,
        )
    told, bound = [], show.percent(PUBLISHED_AP)
    for split, ours, theirs in values:
        if split not in blind:
            within = Difference(split, ours, theirs).relative < PUBLISHED_AP
            told.append(
                say(
                    "{side} the published {bound} on {split}",
                    side=say("within") if within else say("outside"),
                    bound=bound,
                    split=split,
                )
            )
    if blind:
        told.append(say("too close to 0 on {blind} to tell anything", blind=blind[0]))
    meaning = say("with one seed and this few images it is no evidence either way")
    return say(
        "The difference is {told}; {meaning}, and {proof}.", told=say(", ").join(told), meaning=meaning, proof=proof
    )


def cost(comparison: TrainingDifference) -> str:
    """Time and memory of another framework as multiples of the first one's; empty where either has none."""
    left, right = summarize(comparison.reference), summarize(comparison.other)
    parts = []
    if left.epoch_seconds and right.epoch_seconds:
        parts.append(
            say(
                "{epoch_seconds:.2f} times the time per epoch ({left})",
                epoch_seconds=right.epoch_seconds / left.epoch_seconds,
                left=_durations(left, right),
            )
        )
    elif left.step_seconds and right.step_seconds:
        parts.append(
            say(
                "{step_seconds:.2f} times the median time per step",
                step_seconds=right.step_seconds / left.step_seconds,
            )
        )
    if left.peak_memory_mb and right.peak_memory_mb:
        parts.append(
            say(
                "{peak_memory_mb:.2f} times the peak memory",
                peak_memory_mb=right.peak_memory_mb / left.peak_memory_mb,
            )
        )
    if not parts:
        return ""
    return say(
        "{right} took {parts} of {left}.",
        right=show.label(right.name),
        parts=listed(parts),
        left=show.label(left.name),
    )


def _durations(left: Summary, right: Summary) -> str:
    return say(
        "{epoch_seconds} against {reference}",
        epoch_seconds=show.seconds(right.epoch_seconds),
        reference=show.seconds(left.epoch_seconds),
    )

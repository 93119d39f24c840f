"""The verdict of a run: at most three short lines, which a reader can quote. Details: `findings.py`."""

from reports import formatting as show
from reports.language import say
from reports.parity.tables import margin
from reports.run import findings, parting, precision_differences
from reports.run.certificate import Certificate, sentence
from reports.run.differences import TrainingDifference, compare_controls, compare_run
from reports.run.records import FrameworkRecords, RunRecords
from reports.run.summary import evaluation_of, summarize


def verdict(run: RunRecords) -> str:
    """The lines, in Markdown; an incomplete run says so first, and a run of one framework has the last alone."""
    comparisons, controls = compare_run(run), compare_controls(run)
    lines = {
        say("Same function"): _function(run, comparisons),
        say("Same training"): _training(run, comparisons, controls),
    }
    if len(run.frameworks) == 1:
        lines = {}
    said = [say("- **{title}.** {text}", title=title, text=text) for title, text in lines.items() if text]
    state = _state(run)
    return "\n".join(
        [state, *said] if state else [*said, say("- **What was trained.** {run}", run=_trained(run, comparisons))]
    )


def _function(run: RunRecords, comparisons: tuple[TrainingDifference, ...]) -> str:
    certified = bool(run.certificate and run.certificate.float64)
    said = [_certificate(run, run.certificate)] if run.certificate else []
    said += [findings.first_step(each) for each in comparisons if not certified or _first_step_broken(each)]
    return " ".join(said)


def _certificate(run: RunRecords, certificate: Certificate) -> str:
    names, judged = [framework.name for framework in run.frameworks], certificate.float64
    if judged is None:
        return say("Not certified; why stands below.")
    if certificate.failed:
        return sentence(certificate, names)
    others = names[1:]
    return say(
        "{others} {verb} the same function as {names}: in float64, all {comparisons:,} tensors of the "
        "first step agree, from the predictions to the updated weights; the worst error is {margin} of its "
        "limit.",
        others=show.labels(others),
        verb=say("computes") if len(others) == 1 else say("compute"),
        names=show.label(names[0]),
        comparisons=len(judged.comparisons),
        margin=margin(judged.worst.margin),
    )


def _first_step_broken(comparison: TrainingDifference) -> bool:
    terms, total = comparison.first_terms, comparison.first_total
    return total is not None and not all(term.within_bound for term in (*terms, total))


def _training(
    run: RunRecords, comparisons: tuple[TrainingDifference, ...], controls: tuple[TrainingDifference, ...]
) -> str:
    said = []
    for comparison in comparisons:
        stages = parting.stages(comparison, controls)
        said += [_parting(comparison, stages) if stages else _last_difference(comparison)]
        said += findings.warnings(comparison)
        said.append(_precision(run, comparison))
    if comparisons and not controls:
        said.append(say("No control was trained."))
    return " ".join(filter(None, said))


def _parting(comparison: TrainingDifference, stages: tuple[parting.Stage, ...]) -> str:
    """How far the frameworks part in the last stage, and every stage in which that is too far."""
    other, reference, last = show.label(comparison.other.name), show.label(comparison.reference.name), stages[-1]
    far = [stage.name for stage in stages if stage.is_far]
    if far:
        judgement = say(". **That is more than rounding explains {far}.**", far=findings.listed(far))
    else:
        explained = say("rounding explains up to {far:g} times", far=parting.FAR)
        early = say("that early such a ratio judges nothing")
        judgement = say("; {meaning}.", meaning=explained if last.is_judged else early)
    return say(
        "{last} {other}'s loss is {ratio} times as far from {reference}'s as that of a control, "
        "{reference} with weights moved by one unit in the last place{judgement}",
        last=last.name.capitalize(),
        other=other,
        ratio=show.times(last.ratio),
        reference=reference,
        judgement=judgement,
    )


def _last_difference(comparison: TrainingDifference) -> str:
    if len(comparison.steps) < 2:
        return ""
    relative = show.percent(comparison.relative[-1])
    return say(
        "The total losses differ by {relative} at the last common step ({steps}).",
        relative=relative,
        steps=comparison.steps[-1] + 1,
    )


def _precision(run: RunRecords, comparison: TrainingDifference) -> str:
    """What the difference of the APs on the training images says, as far as that is short."""
    values = findings.precisions(comparison)
    if not values:
        return ""
    other = comparison.other.name
    if not any(max(ours, theirs) >= findings.AP_FLOOR for _, ours, theirs in values):
        return say("**APs this close to 0 mean that this budget cannot tell the frameworks apart by AP.**")
    return precision_differences.brief(run, other, values[0])


def _state(run: RunRecords) -> str:
    if run.complete:
        return ""
    parts = say("; ").join(_progress(run, framework) for framework in run.entries)
    alone = _alone(run) if len(run.trained) == 1 else ""
    nothing = "" if run.trained else say("No framework completed a step, so this report holds no result.")
    said = [say("**This run is incomplete**: {parts}.", parts=parts), _shapes(run), alone, nothing]
    return " ".join(filter(None, said))


def _progress(run: RunRecords, framework: FrameworkRecords) -> str:
    """How far one training came."""
    name, steps = show.label(framework.name), show.count(len(framework.steps), "step")
    if framework.failure:
        kind = show.plain(framework.failure.kind or say("failure"))
        return say("{name} stopped ({kind}) after {steps}", name=name, kind=kind, steps=steps)
    if len(framework.epochs) < run.meta.epochs:
        done = say("{done} of {planned} epochs", done=len(framework.epochs), planned=run.meta.epochs)
        return say("{name} recorded {done} ({steps}) so far", name=name, done=done, steps=steps)
    return say("{name} recorded all {epochs}", name=name, epochs=show.count(run.meta.epochs, "epoch"))


def _shapes(run: RunRecords) -> str:
    return say("**NOT COCO: coloured shapes.**") if run.meta.data.kind == "shapes" else ""


def _trained(run: RunRecords, comparisons: tuple[TrainingDifference, ...]) -> str:
    meta = run.meta
    each = say(" each") if len(run.trained) > 1 else ""
    text = say(
        "{framework}{each} trained {preset} on {train_images} for {epochs} (batch {batch_size}, {pixels}, "
        "{device}).",
        framework=show.labels(framework.name for framework in run.trained),
        each=each,
        preset=show.code(meta.preset),
        train_images=show.count(meta.data.train_images or 0, "training image"),
        epochs=show.count(meta.epochs, "epoch"),
        batch_size=meta.batch_size,
        pixels=meta.pixels,
        device=show.plain(meta.device),
    )
    alone = _alone(run) if len(run.trained) == 1 else ""
    return " ".join(filter(None, [_shapes(run), text, alone, *map(findings.cost, comparisons)]))


def _alone(run: RunRecords) -> str:
    summary = summarize(run.trained[0])
    found = [(split, evaluation_of(summary, split)) for split in ("train", "val")]
    parts = [
        say("{ap} on {split}", ap=show.average_precision(each.stats["AP"]), split=split)
        for split, each in found
        if each
    ]
    precision = say(" AP is {parts}.", parts=findings.listed(parts)) if parts else ""
    return say(
        "Only {summary} trained here, so nothing is compared.{precision}",
        summary=show.label(summary.name),
        precision=precision,
    )

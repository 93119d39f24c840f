"""Differences of AP, each beside the control's: the sentence of the verdict, and the table."""

from reports import formatting as show
from reports.language import say
from reports.markdown import table
from reports.run.records import PrecisionDifference, RunRecords

Value = tuple[str, float, float]  # split, AP of the first framework, AP of another


def meaning(run: RunRecords, other: str, values: list[Value], floor: float) -> str:
    """What the differences of `other` mean beside the controls'; empty where no control was compared.

    Args:
        values: the APs that both have.
        floor: an AP below which equality says nothing.
    """
    told, is_compared = [], False
    for split, *pair in values:
        controls = [each for each in run.precision if each.split == split and _is_control(run, each)]
        found = [each for each in run.precision if each.split == split and each.other == other]
        if not max(pair) >= floor:
            told.append(say("on {split} both are too close to 0 to tell anything", split=split))
        elif controls and found:
            is_compared = True
            own = max(controls, key=lambda each: abs(each.difference))
            text = say(
                "on {split} by {found}, the control by {own}",
                split=split,
                found=_with_interval(found[0]),
                own=_with_interval(own),
            )
            told.append(say("{text}: {meaning}", text=text, meaning=_judgement(found[0], own)))
    if not (told and run.precision and run.meta.controls):
        return ""
    drawn = say("{resamples:,} resamples of the images", resamples=run.precision[0].resamples)
    intervals = say(" (95 % intervals over {drawn})", drawn=drawn) if is_compared else ""
    return (
        say("AP differs{intervals} {told}.", intervals=intervals, told=say("; ").join(told))
        if intervals
        else say("AP: {told}.", told=say("; ").join(told))
    )


def brief(run: RunRecords, other: str, value: Value) -> str:
    """One split's difference and what it means, in a sentence; without a control it means nothing."""
    split, ours, theirs = value
    controls = [each for each in run.precision if each.split == split and _is_control(run, each)]
    found = [each for each in run.precision if each.split == split and each.other == other]
    if not (controls and found):
        return say(
            "AP on {split} differs by {theirs:+.4f}: one seed and few images, no evidence either way.",
            split=split,
            theirs=theirs - ours,
        )
    own = max(controls, key=lambda each: abs(each.difference))
    return say(
        "AP on {split} differs by {difference:+.4f}, the control's by {control:+.4f}: {found}.",
        split=split,
        difference=found[0].difference,
        control=own.difference,
        found=_judgement(found[0], own),
    )


def _judgement(found: PrecisionDifference, control: PrecisionDifference) -> str:
    if found.low <= 0 <= found.high:
        return say("these images cannot tell it from 0")
    if abs(found.difference) <= abs(control.difference):
        return say("no more than one framework differs from itself")
    if not control.low <= 0 <= control.high:
        share = abs(found.difference) / abs(control.difference)
        return say("one framework differs from itself, too; this is {share} times as much", share=show.times(share))
    return say("**more than one framework differs from itself**")


def precision_table(run: RunRecords) -> str | None:
    """A row for each split and each training beside the first; None for a run without such records."""
    if not run.precision:
        return None
    rows = [
        {
            "AP": f"{show.label(each.other)} − {show.label(each.reference)}",
            say("split"): each.split,
            say("difference"): f"{each.difference:+.4f}",
            say("95 % interval"): say("{low:+.4f} to {high:+.4f}", low=each.low, high=each.high),
        }
        for each in run.precision
    ]
    return table(rows, left=2)


def _is_control(run: RunRecords, each: PrecisionDifference) -> bool:
    return each.other in run.meta.control_names


def _with_interval(each: PrecisionDifference) -> str:
    return say(
        "{difference:+.4f} ({low:+.4f} to {high:+.4f})", difference=each.difference, low=each.low, high=each.high
    )

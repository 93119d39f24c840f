"""Differences of AP, each beside the control's: the sentence of the verdict, and the table."""

from reports import formatting as show
from reports.markdown import table
from reports.run.records import PrecisionDifference, RunRecords

Value = tuple[str, float, float]  # split, AP of the first framework, AP of another


def meaning(run: RunRecords, other: str, values: list[Value], floor: float) -> str:
    """What the differences of `other` mean beside the controls'; empty where no control was compared.

    Args:
        values: the APs that both have.
        floor: an AP below which equality says nothing.
    """
    told = []
    for split, *pair in values:
        controls = [each for each in run.precision if each.split == split and _is_control(run, each)]
        found = [each for each in run.precision if each.split == split and each.other == other]
        if not max(pair) >= floor:
            told.append(f"on {split} both are too close to 0 to tell anything")
        elif controls and found:
            own = max(controls, key=lambda each: abs(each.difference))
            text = f"on {split} by {_with_interval(found[0])}, the control by {_with_interval(own)}"
            told.append(f"{text}: {_judgement(found[0], own)}")
    if not (told and run.precision and run.meta.controls):
        return ""
    drawn = f"{run.precision[0].resamples:,} resamples of the images"
    intervals = f" (95 % intervals over {drawn})" if any(" by " in each for each in told) else ""
    return f"AP differs{intervals} {'; '.join(told)}." if intervals else f"AP: {'; '.join(told)}."


def brief(run: RunRecords, other: str, value: Value) -> str:
    """One split's difference and what it means, in a sentence; without a control it means nothing."""
    split, ours, theirs = value
    controls = [each for each in run.precision if each.split == split and _is_control(run, each)]
    found = [each for each in run.precision if each.split == split and each.other == other]
    if not (controls and found):
        return f"AP on {split} differs by {theirs - ours:+.4f}: one seed and few images, no evidence either way."
    own = max(controls, key=lambda each: abs(each.difference))
    return (
        f"AP on {split} differs by {found[0].difference:+.4f}, the control's by {own.difference:+.4f}: "
        f"{_judgement(found[0], own)}."
    )


def _judgement(found: PrecisionDifference, control: PrecisionDifference) -> str:
    if found.low <= 0 <= found.high:
        return "these images cannot tell it from 0"
    if abs(found.difference) <= abs(control.difference):
        return "no more than one framework differs from itself"
    if not control.low <= 0 <= control.high:
        share = abs(found.difference) / abs(control.difference)
        return f"one framework differs from itself, too; this is {show.times(share)} times as much"
    return "**more than one framework differs from itself**"


def precision_table(run: RunRecords) -> str | None:
    """A row for each split and each training beside the first; None for a run without such records."""
    if not run.precision:
        return None
    rows = [
        {
            "AP": f"{show.label(each.other)} − {show.label(each.reference)}",
            "split": each.split,
            "difference": f"{each.difference:+.4f}",
            "95 % interval": f"{each.low:+.4f} to {each.high:+.4f}",
        }
        for each in run.precision
    ]
    return table(rows, left=2)


def _is_control(run: RunRecords, each: PrecisionDifference) -> bool:
    return each.other in run.meta.control_names


def _with_interval(each: PrecisionDifference) -> str:
    return f"{each.difference:+.4f} ({each.low:+.4f} to {each.high:+.4f})"

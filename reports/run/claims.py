"""What published ports claim, beside what this run measured: claims.toml, judged from the records alone."""

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frameworks.config import PRESETS
from frameworks.state.parameters import model_facts
from reports import formatting as show
from reports.language import say
from reports.markdown import table
from reports.run.findings import AP_FLOOR
from reports.run.records import FrameworkRecords, RunRecords
from reports.run.summary import comparable, evaluation_of, summarize
from reports.run.throughput import evaluation_rate

CLAIMS = Path(__file__).parent.parent / "claims.toml"
PORT, ORIGINAL = "jittor", "torch"  # whose claims they are, and what they compare it with
TIMES_AGREE = 0.05  # a time is the claimed one up to so much of PyTorch's, if the control's is no farther from it


@dataclass(frozen=True)
class Claim:
    """One row of claims.toml."""

    about: str
    claim: str
    value: float


@dataclass(frozen=True)
class Judged:
    """A claim with the measured value in words, and a verdict: one of three, with why."""

    claim: Claim
    measured: str
    verdict: str


def read_claims() -> list[Claim]:
    """The claims, in their order on the page."""
    return [Claim(**each) for each in tomllib.loads(CLAIMS.read_text(encoding="utf-8"))["claims"]]


def claims_table(run: RunRecords) -> str | None:
    """A row per claim; None for a run that did not train both frameworks that the claims are about."""
    judged = judge(run)
    rows = [
        {
            say("claimed by a published port"): say(each.claim.claim),
            say("measured here"): each.measured,
            say("verdict"): each.verdict,
        }
        for each in judged
    ]
    return table(rows, left=3) if rows else None


def judge(run: RunRecords) -> list[Judged]:
    """Every claim with its verdict; [] for a run that did not train both frameworks."""
    if not {PORT, ORIGINAL} <= {each.name for each in run.trained}:
        return []
    rules: dict[str, Callable[[RunRecords, Claim], Judged]] = {
        "parameters": lambda _, claim: parameters(claim),
        "ap": _precision,
        "training time": _time,
        "training step": _time,
        "inference": _time,
    }
    return [rules.get(claim.about, _numbers)(run, claim) for claim in read_claims()]


def parameters(claim: Claim) -> Judged:
    """How many parameters the official R50 has, by the two ways of counting that give other numbers."""
    facts = model_facts(PRESETS["rtdetr_r50vd"].model)
    affine = facts.size(
        name
        for name in facts.shapes
        if facts.is_frozen_norm(name) and name.rpartition(".")[2] in ("weight", "bias")
    )
    every = facts.parameters + affine
    measured = say(
        "{parameters:,} parameters of the official code, {every:,} with those of frozen norms",
        parameters=facts.parameters,
        every=every,
    )
    rounded = f"{claim.value / 1e6:.2f}"
    if rounded == f"{facts.parameters / 1e6:.2f}":
        return Judged(claim, measured, _holds())
    if rounded == f"{every / 1e6:.2f}":
        counted = say(
            "holds if the {affine:,} weights and biases of frozen norms, which are constants, count", affine=affine
        )
        return Judged(claim, measured, counted)
    return Judged(claim, measured, _fails())


def _numbers(run: RunRecords, claim: Claim) -> Judged:
    """A bound on the numbers of the first step, in float64 and as far as recorded in float32."""
    certificate = run.certificate
    if not (certificate and certificate.float64):
        return Judged(claim, say("not recorded: the run has no certificate"), _open())
    exact = [each.error for each in certificate.float64.comparisons if each.stage == claim.about]
    if not exact:
        return Judged(claim, say("not recorded"), _open())
    single: dict[str, list[float]] = {PORT: [], ORIGINAL: []}
    for line in certificate.float32:
        if line["stage"] == claim.about and line["framework"] in single:
            single[line["framework"]].append(math.nan if line["error"] is None else line["error"])
    measured = say("{error} in float64", error=show.small(_worst(exact)))
    if not all(single.values()):
        measured = say("{measured}; float32 not recorded", measured=measured)
        return Judged(claim, measured, say("holds in float64") if _worst(exact) < claim.value else _fails())
    own, original = single[PORT], single[ORIGINAL]
    measured = say(
        "{measured}; in float32 {own}, {framework} itself {original}",
        measured=measured,
        own=show.small(_worst(own)),
        framework=show.label(ORIGINAL),
        original=show.small(_worst(original)),
    )
    if not _worst(exact) < claim.value:
        return Judged(claim, measured, _fails())
    if _worst(own) < claim.value:
        return Judged(claim, measured, _holds())
    if _worst(original) < claim.value:
        return Judged(claim, measured, say("holds in float64, does not hold in float32"))
    rounding = say(
        "holds in float64, does not hold in float32: {framework}'s own rounding is larger",
        framework=show.label(ORIGINAL),
    )
    return Judged(claim, measured, rounding)


def _worst(errors: list[float]) -> float:
    """The largest error; NaN is larger than any."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)


def _precision(run: RunRecords, claim: Claim) -> Judged:
    """The relative difference of the APs on each split, with its interval where one was recorded."""
    port, original = (summarize(_records(run, name)) for name in (PORT, ORIGINAL))
    if not comparable(original, port):
        return Judged(claim, say("not the same number of epochs"), _open())
    told, verdicts = [], []
    for split in ("val", "train"):
        ours, theirs = evaluation_of(original, split), evaluation_of(port, split)
        if ours is None or theirs is None:
            continue
        pair = ours.stats["AP"], theirs.stats["AP"]
        if not min(pair) >= AP_FLOOR:
            told.append(say("AP too close to 0 on {split}", split=split))
            continue
        relative = pair[1] / pair[0] - 1
        low, high = _interval(run, split, pair[0])
        between = say(" ({low} to {high})", low=_signed(low), high=_signed(high)) if low < high else ""
        told.append(
            say("{difference} on {split}{between}", difference=_signed(relative), split=split, between=between)
        )
        said = _within(relative, low, high, claim.value)
        verdicts.append(say("{verdict} on {split}", verdict=said, split=split))
    measured = say("; ").join(told) or say("no AP was recorded for both")
    return Judged(claim, measured, say("; ").join(verdicts) or _open())


def _within(relative: float, low: float, high: float, bound: float) -> str:
    """A verdict on |difference| < bound: only an interval that lies on one side of the bound decides."""
    if not low < high:
        verdict = _holds() if abs(relative) < bound else _fails()
        return say("{verdict}, but no interval was recorded,", verdict=verdict)
    if -bound < low and high < bound:
        return _holds()
    if low > bound or high < -bound:
        return _fails()
    return say("not comparable: too few images to tell")


def _interval(run: RunRecords, split: str, reference: float) -> tuple[float, float]:
    """The recorded interval of Jittor's AP minus PyTorch's, relative to PyTorch's; (NaN, NaN) without one."""
    for each in run.precision:
        if each.split == split and {each.reference, each.other} == {PORT, ORIGINAL}:
            low, high = each.low / reference, each.high / reference
            return (low, high) if each.other == PORT else (-high, -low)
    return math.nan, math.nan


def _time(run: RunRecords, claim: Claim) -> Judged:
    """Jittor's time as a share of PyTorch's on top of it, from the log of the run."""
    durations = [_duration(_records(run, name), claim.about) for name in (PORT, ORIGINAL)]
    port, original = durations
    if not port or not original:
        return Judged(claim, say("not recorded"), _open())
    more = port / original - 1
    measured = say(
        "{more} ({pixels}, batch {batch_size})",
        more=_signed(more),
        pixels=run.meta.pixels,
        batch_size=run.meta.batch_size,
    )
    repeated = [_duration(control, claim.about) for control in run.controls]
    first = _duration(run.frameworks[0], claim.about)
    noise = max((each / first - 1 for each in repeated if each and first), key=abs, default=0.0)
    if abs(more - claim.value) > max(TIMES_AGREE, abs(noise)):
        less, longer = say("**does not hold** here: less than that"), say("**does not hold** here: more than that")
        return Judged(claim, measured, longer if more > claim.value else less)
    if abs(noise) > TIMES_AGREE:
        unsteady = say(
            "not comparable: the control, the same program, differs by {difference}", difference=_signed(noise)
        )
        return Judged(claim, measured, unsteady)
    return Judged(claim, measured, _holds())


def _duration(records: FrameworkRecords, about: str) -> float | None:
    if about == "training step":
        return summarize(records).step_seconds
    if about == "training time":
        return sum(epoch.seconds for epoch in records.epochs) or None
    rate = evaluation_rate(records)
    return 1 / rate if rate else None


def _records(run: RunRecords, name: str) -> FrameworkRecords:
    return next(each for each in run.frameworks if each.name == name)


def _holds() -> str:
    return say("holds")


def _fails() -> str:
    return say("**does not hold**")


def _open() -> str:
    return say("not comparable")


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"

"""What published ports claim, beside what this run measured: claims.toml, judged from the records alone."""

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frameworks.config import PRESETS
from frameworks.state.parameters import model_facts
from reports import formatting as show
from reports.markdown import table
from reports.run.findings import AP_FLOOR
from reports.run.records import FrameworkRecords, RunRecords
from reports.run.summary import comparable, evaluation_of, summarize
from reports.run.throughput import evaluation_rate

CLAIMS = Path(__file__).parent.parent / "claims.toml"
PORT, ORIGINAL = "jittor", "torch"  # whose claims they are, and what they compare it with
TIMES_AGREE = 0.05  # a time is the claimed one up to so much of PyTorch's, if the control's is no farther from it
HOLDS, FAILS, OPEN = "holds", "**does not hold**", "not comparable"


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
        {"claimed by a published port": each.claim.claim, "measured here": each.measured, "verdict": each.verdict}
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
    measured = f"{facts.parameters:,} parameters of the official code, {every:,} with those of frozen norms"
    rounded = f"{claim.value / 1e6:.2f}"
    if rounded == f"{facts.parameters / 1e6:.2f}":
        return Judged(claim, measured, HOLDS)
    if rounded == f"{every / 1e6:.2f}":
        constants = f"the {affine:,} weights and biases of frozen norms, which are constants, count"
        return Judged(claim, measured, f"{HOLDS} if {constants}")
    return Judged(claim, measured, FAILS)


def _numbers(run: RunRecords, claim: Claim) -> Judged:
    """A bound on the numbers of the first step, in float64 and as far as recorded in float32."""
    certificate = run.certificate
    if not (certificate and certificate.float64):
        return Judged(claim, "not recorded: the run has no certificate", OPEN)
    exact = [each.error for each in certificate.float64.comparisons if each.stage == claim.about]
    if not exact:
        return Judged(claim, "not recorded", OPEN)
    single: dict[str, list[float]] = {PORT: [], ORIGINAL: []}
    for line in certificate.float32:
        if line["stage"] == claim.about and line["framework"] in single:
            single[line["framework"]].append(math.nan if line["error"] is None else line["error"])
    measured = f"{show.small(_worst(exact))} in float64"
    if not all(single.values()):
        return Judged(claim, f"{measured}; float32 not recorded", _below(exact, claim, "in float64"))
    own, original = single[PORT], single[ORIGINAL]
    measured += (
        f"; in float32 {show.small(_worst(own))}, {show.label(ORIGINAL)} itself {show.small(_worst(original))}"
    )
    if not _worst(exact) < claim.value:
        return Judged(claim, measured, FAILS)
    if _worst(own) < claim.value:
        return Judged(claim, measured, HOLDS)
    rounding = f": {show.label(ORIGINAL)}'s own rounding is larger" if not _worst(original) < claim.value else ""
    return Judged(claim, measured, f"{HOLDS} in float64, does not hold in float32{rounding}")


def _below(errors: list[float], claim: Claim, where: str) -> str:
    return f"{HOLDS} {where}" if _worst(errors) < claim.value else FAILS


def _worst(errors: list[float]) -> float:
    """The largest error; NaN is larger than any."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)


def _precision(run: RunRecords, claim: Claim) -> Judged:
    """The relative difference of the APs on each split, with its interval where one was recorded."""
    port, original = (summarize(_records(run, name)) for name in (PORT, ORIGINAL))
    if not comparable(original, port):
        return Judged(claim, "not the same number of epochs", OPEN)
    told, verdicts = [], []
    for split in ("val", "train"):
        ours, theirs = evaluation_of(original, split), evaluation_of(port, split)
        if ours is None or theirs is None:
            continue
        pair = ours.stats["AP"], theirs.stats["AP"]
        if not min(pair) >= AP_FLOOR:
            told.append(f"AP too close to 0 on {split}")
            continue
        relative = pair[1] / pair[0] - 1
        low, high = _interval(run, split, pair[0])
        between = f" ({_signed(low)} to {_signed(high)})" if low < high else ""
        told.append(f"{_signed(relative)} on {split}{between}")
        verdicts.append(f"{_within(relative, low, high, claim.value)} on {split}")
    return Judged(claim, "; ".join(told) or "no AP was recorded for both", "; ".join(verdicts) or OPEN)


def _within(relative: float, low: float, high: float, bound: float) -> str:
    """A verdict on |difference| < bound: only an interval that lies on one side of the bound decides."""
    if not low < high:
        return f"{HOLDS if abs(relative) < bound else FAILS}, but no interval was recorded,"
    if -bound < low and high < bound:
        return HOLDS
    if low > bound or high < -bound:
        return FAILS
    return f"{OPEN}: too few images to tell"


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
        return Judged(claim, "not recorded", OPEN)
    more = port / original - 1
    measured = f"{_signed(more)} ({run.meta.pixels}, batch {run.meta.batch_size})"
    repeated = [_duration(control, claim.about) for control in run.controls]
    first = _duration(run.frameworks[0], claim.about)
    noise = max((each / first - 1 for each in repeated if each and first), key=abs, default=0.0)
    if abs(more - claim.value) > max(TIMES_AGREE, abs(noise)):
        return Judged(claim, measured, f"{FAILS} here: {'more' if more > claim.value else 'less'} than that")
    if abs(noise) > TIMES_AGREE:
        return Judged(claim, measured, f"{OPEN}: the control, the same program, differs by {_signed(noise)}")
    return Judged(claim, measured, HOLDS)


def _duration(records: FrameworkRecords, about: str) -> float | None:
    if about == "training step":
        return summarize(records).step_seconds
    if about == "training time":
        return sum(epoch.seconds for epoch in records.epochs) or None
    rate = evaluation_rate(records)
    return 1 / rate if rate else None


def _records(run: RunRecords, name: str) -> FrameworkRecords:
    return next(each for each in run.frameworks if each.name == name)


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"

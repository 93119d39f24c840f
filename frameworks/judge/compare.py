"""Comparison of two traces, tensor by tensor, with NumPy only.

Each tensor gets its relative Frobenius error, which decides, and for the records its cosine and the largest
absolute error over the largest absolute value. Errors are not averaged over tensors, not taken relative to single
elements, and no limit grows with a tensor's size. A tensor is measured against its own norm, however small, unless
tolerances.ANALYTIC_ZEROS says why it is zero but for rounding.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.shared.stages import name_parts, stage_of
from frameworks.shared.tolerances import ANALYTIC_ZEROS, FLIPPED_UNITS, NEGLIGIBLE, float32_limit

# Default module of a stage; all other tensors without a module are attributed to "optimizer".
WHOLE_STAGES = {
    "losses": "criterion",
    "matching costs": "criterion",
    "matching": "criterion",
    "query selection": "decoder",
    "forward": "decoder",
    "denoising queries": "denoising",
    "post-processing": "postprocess",
}


class EmptyComparisonError(AssertionError):
    """Nothing was compared, which never passes."""


@dataclass(frozen=True)
class Comparison:
    """One tensor compared with the same tensor of the reference."""

    stage: str
    module: str
    tensor: str
    error: float  # relative Frobenius; NaN where a value is not finite, inf where nothing can be compared
    limit: float
    cosine: float | None = None
    max_abs: float | None = None
    reference_error: float | None = None  # what the limit is a multiple of: see compare_float32
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is finite and within the limit."""
        return math.isfinite(self.error) and self.error <= self.limit

    def describe(self, dtype: str, device: str) -> str:
        """One line for a failure message: module, tensor, error, limit, and the error it is compared with."""
        beside = "" if self.reference_error is None else f"; error on the other side {self.reference_error:.1e}"
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.module}: {self.tensor} ({self.stage}, {dtype}, {device}): "
            f"error {self.error:.2e}, limit {self.limit:.1e}{beside}{note}"
        )

    def record(self) -> dict[str, Any]:
        """The fields as a dictionary, with ``passed``."""
        return dataclasses.asdict(self) | {"passed": self.passed}


def compare(
    candidate: Arrays, reference: Arrays, limit: Callable[[str, str], float], modules: Iterable[str] = ()
) -> list[Comparison]:
    """Compare every tensor that either side has; one that is missing on a side fails.

    Args:
        limit: (stage, tensor name) -> largest relative error that passes; integers must be equal.
        modules: canonical module paths, from which each tensor's module is found.

    Raises:
        EmptyComparisonError: neither side has a tensor.
    """
    names = sorted(candidate.keys() | reference.keys())
    if not names:
        raise EmptyComparisonError("no tensor on either side: an empty comparison proves nothing")
    paths = sorted(modules, key=len, reverse=True)
    yardsticks = zero_yardsticks(reference)
    comparisons = []
    for name in names:
        stage, module = stage_of(name), module_of(name, paths)
        if name not in candidate or name not in reference:
            side = "candidate" if name not in candidate else "reference"
            result = Comparison(stage, module, name, math.inf, 0.0, note=f"missing on the {side}'s side")
        else:
            result = _compare_one(
                stage, module, name, candidate[name], reference[name], yardsticks.get(name), limit
            )
        comparisons.append(result)
    return comparisons


def compare_float32(
    candidate: Arrays,
    others: Sequence[Arrays],
    truth: Arrays,
    limit: Callable[[str, str, float], float] = float32_limit,
    modules: Iterable[str] = (),
    kinks: Mapping[str, float] | None = None,
) -> list[Comparison]:
    """Compare the candidate's float32 error against the float64 truth with the errors of other frameworks.

    Args:
        limit: (stage, tensor name, error) -> largest error that passes, where ``error`` is the smallest finite one
            among ``others`` (0 where there is none), and for a single number the largest of those of its stage.
        modules: as for ``compare``, in data-flow order.
        kinks: stage -> allowance behind a unit that is seen to have flipped (see tolerances.py): for the tensors of
            its module and of all before it.
    """
    errors: dict[str, float] = {}
    for other in others:
        for comparison in compare(other, truth, lambda stage, name: math.inf):
            if math.isfinite(comparison.error):
                errors[comparison.tensor] = min(errors.get(comparison.tensor, math.inf), comparison.error)
    shared: dict[str, float] = {}
    for name, error in errors.items():
        if truth[name].size == 1:
            shared[stage_of(name)] = max(shared.get(stage_of(name), 0.0), error)
    results, paths = [], list(modules)
    for comparison in compare(candidate, truth, lambda stage, name: math.inf, paths):
        stage, name = comparison.stage, comparison.tensor
        single = name in truth and truth[name].size == 1
        error = shared.get(stage, 0.0) if single else errors.get(name, 0.0)
        most = 0.0 if comparison.limit == 0.0 else limit(stage, name, error)
        results.append(dataclasses.replace(comparison, limit=most, reference_error=error))
    return _allow_kinks(results, candidate, truth, kinks or {}, paths)


def _allow_kinks(
    comparisons: list[Comparison],
    candidate: Arrays,
    truth: Arrays,
    kinks: Mapping[str, float],
    modules: Sequence[str],
) -> list[Comparison]:
    """The comparisons with the allowance of their stage from the last module in which a unit flipped backwards.

    The images always have it: a unit of a frozen stem has no bias whose gradient would show it.
    """
    flipped = [c.module for c in comparisons if c.stage in kinks and _one_flipped(c, candidate, truth)]
    last = max((place for place, module in enumerate(modules) if module in flipped), default=-1)
    # A module that contains the unit's own has parts before it.
    around = {module for module in modules if any(inner.startswith(f"{module}.") for inner in flipped)}
    behind = {"images", *modules[: last + 1], *around, *flipped}
    where = flipped[0] if flipped else "the stem"
    return [
        dataclasses.replace(c, limit=max(c.limit, kinks[c.stage]), note=f"at a kink: a unit of {where}")
        if c.stage in kinks and not c.passed and c.module in behind
        else c
        for c in comparisons
    ]


def _one_flipped(comparison: Comparison, candidate: Arrays, truth: Arrays) -> bool:
    """Whether a bias, one number for each unit, is within its limit once a few units are left out."""
    name = comparison.tensor
    if comparison.passed or not (name.startswith("gradient/") and name.endswith(".bias") and name in candidate):
        return False
    difference = np.sort(np.abs(_flat(candidate[name]) - _flat(truth[name])))[:-FLIPPED_UNITS]
    return difference.size > FLIPPED_UNITS and _norm(difference) <= comparison.limit * _norm(_flat(truth[name]))


def relative_error(candidate: np.ndarray, reference: np.ndarray) -> float:
    """||candidate - reference|| / ||reference||; infinite where the reference is zero and the candidate is not."""
    a, b = _flat(candidate), _flat(reference)
    return _ratio(_norm(a - b), _norm(b))


@dataclass(frozen=True)
class Yardstick:
    """What an analytically zero tensor is measured against."""

    norm: float  # the largest norm among the arrays of its kind: gradients, moments or updates of one step
    order: int  # 2 for second moments, which are squares: their root is measured
    reason: str

    def error(self, difference: float) -> float:
        """The error of a difference with this norm, in units of the largest tensor."""
        return _ratio(difference, self.norm) ** (1 / self.order)


def zero_yardsticks(reference: Arrays) -> dict[str, Yardstick]:
    """The yardsticks of the tensors that are analytically zero: listed with a reason, and negligible here.

    A listed tensor that is not negligible, for example under a frozen norm, is measured against its own norm.
    """
    listed = {name: reason for name in reference if (reason := reason_for_zero(name))}
    found: dict[str, Yardstick] = {}
    for kind in {_kind(name) for name in listed}:
        norms = {n: _norm(_flat(a)) for n, a in reference.items() if _kind(n) == kind}
        largest = max(norms.values())
        for name in listed.keys() & norms.keys():
            yardstick = Yardstick(largest, 2 if kind.endswith("moment2") else 1, listed[name])
            if yardstick.error(norms[name]) < NEGLIGIBLE:
                found[name] = yardstick
    return found


def reason_for_zero(name: str) -> str:
    """Why the gradient, moment or update ``name`` may be zero but for rounding; empty for all other arrays."""
    kind, _, parameter = "/".join(name_parts(name)).partition("/")
    if kind not in ("gradient", "moment1", "moment2", "update"):
        return ""
    return next((reason for pattern, reason in ANALYTIC_ZEROS.items() if re.fullmatch(pattern, parameter)), "")


def module_of(name: str, paths: list[str]) -> str:
    """The innermost listed module whose canonical path the name starts with; ``paths`` longest first."""
    parts = name_parts(name)
    for path in paths:
        if any(part == path or part.startswith(f"{path}.") for part in parts[1:]):
            return path
    if "prediction" in parts:
        return "criterion"
    owner = parts[1].partition(".")[0] if len(parts) > 1 else ""
    known = owner in ("images", "backbone", "encoder", "decoder")
    return WHOLE_STAGES.get(stage_of(name), owner if known else "optimizer")


def _compare_one(
    stage: str,
    module: str,
    name: str,
    candidate: np.ndarray,
    reference: np.ndarray,
    yardstick: Yardstick | None,
    limit: Callable[[str, str], float],
) -> Comparison:
    if candidate.shape != reference.shape:
        note = f"shape {candidate.shape}, expected {reference.shape}"
        return Comparison(stage, module, name, math.inf, 0.0, note=note)
    if reference.dtype.kind in "iub":
        different = int((candidate != reference).sum())
        note = f"{different} of {reference.size} entries differ" if different else ""
        return Comparison(stage, module, name, different / max(reference.size, 1), 0.0, note=note)
    if not (np.isfinite(candidate).all() and np.isfinite(reference).all()):
        bad = int((~np.isfinite(candidate)).sum()), int((~np.isfinite(reference)).sum())
        note = f"not finite: {bad[0]} values here, {bad[1]} in the reference"
        return Comparison(stage, module, name, math.nan, limit(stage, name), note=note)
    a, b = _flat(candidate), _flat(reference)
    difference, norm = a - b, _norm(b)
    size, norms = _norm(difference), _norm(a) * norm
    peak = float(np.abs(b).max(initial=0.0))
    return Comparison(
        stage,
        module,
        name,
        yardstick.error(size) if yardstick else _ratio(size, norm),
        limit(stage, name),
        cosine=float(a @ b) / norms if norms else None,
        max_abs=float(np.abs(difference).max(initial=0.0)) / peak if peak else None,
        note=f"analytically zero, measured against the largest of its kind: {yardstick.reason}"
        if yardstick
        else "",
    )


def _flat(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64).ravel()


def _norm(vector: np.ndarray) -> float:
    return math.sqrt(vector @ vector)


def _ratio(difference: float, norm: float) -> float:
    if norm == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return difference / norm


def _kind(name: str) -> str:
    """Which arrays have sizes that can be compared: those of one kind at one step, running statistics apart."""
    kind = name.rpartition("/")[0]
    return f"{kind} of statistics" if ".running_" in name else kind

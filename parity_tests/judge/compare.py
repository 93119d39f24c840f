"""The judge: compares traces with NumPy only, against a float64 truth.

Norms: relative Frobenius error, cosine, and the largest absolute error over the largest absolute value.
Never a mean of tensors, never an element-wise relative error, never a tolerance scaled by size.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.shared.stages import name_parts, stage_of

# A tensor whose true norm is below this share of the stage's largest is analytically zero (for example the
# bias of a batch norm that feeds another one): its relative error is noise over noise, so its error is
# measured against that largest norm instead. The threshold is the oracle's own (RECIPE section 6).
NEGLIGIBLE = 1e-6

# Stages whose tensors belong to one place; what is left over is about the optimizer's whole vectors.
WHOLE_STAGES = {
    "losses": "criterion",
    "matching": "criterion",
    "query selection": "decoder",
    "forward": "decoder",
    "denoising queries": "denoising",
    "post-processing": "postprocess",
}


class EmptyComparisonError(AssertionError):
    """Nothing was compared: that proves nothing, so it never passes."""


@dataclass(frozen=True)
class Comparison:
    """One tensor of one side against its reference."""

    stage: str
    module: str
    tensor: str
    error: float  # relative Frobenius; NaN where a value is not finite, inf where nothing can be compared
    limit: float
    cosine: float | None = None
    max_abs: float | None = None
    reference_error: float | None = None  # the other twin's error against the same truth, in float32
    note: str = ""

    @property
    def passed(self) -> bool:
        return math.isfinite(self.error) and self.error <= self.limit

    def describe(self, dtype: str, device: str) -> str:
        """One line for people: where, by how much, and what the other twin achieves."""
        beside = "" if self.reference_error is None else f"; the other twin's own error {self.reference_error:.1e}"
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.module}: {self.tensor} ({self.stage}, {dtype}, {device}): "
            f"error {self.error:.2e}, limit {self.limit:.1e}{beside}{note}"
        )

    def record(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"passed": self.passed}


def compare(
    candidate: Arrays, reference: Arrays, limit: Callable[[str, str], float], modules: Iterable[str] = ()
) -> list[Comparison]:
    """Compare every tensor that either side has.

    Args:
        limit: (stage, tensor name) -> largest relative error that passes; integers must be equal.
        modules: canonical module paths, to say which one a tensor belongs to.

    Raises:
        EmptyComparisonError: neither side has anything.
    """
    names = sorted(candidate.keys() | reference.keys())
    if not names:
        raise EmptyComparisonError("no tensor on either side: an empty comparison proves nothing")
    paths = sorted(modules, key=len, reverse=True)
    scales = _stage_scales(reference)
    comparisons = []
    for name in names:
        stage, module = stage_of(name), module_of(name, paths)
        if name not in candidate or name not in reference:
            side = "candidate" if name not in candidate else "reference"
            result = Comparison(stage, module, name, math.inf, 0.0, note=f"missing on the {side}'s side")
        else:
            result = _compare_one(stage, module, name, candidate[name], reference[name], scales, limit)
        comparisons.append(result)
    return comparisons


def compare_float32(
    candidate: Arrays,
    other: Arrays,
    truth: Arrays,
    factor: float,
    floor: float,
    modules: Iterable[str] = (),
    kinks: Mapping[str, float] | None = None,
) -> list[Comparison]:
    """Same arithmetic: the candidate's error against the float64 truth, held to the other twin's.

    The limit of a tensor is ``factor * max(other's error, floor)``, and at least the stage's allowance in
    ``kinks`` (see tolerances.py). Called both ways round it says which framework is at fault.
    """
    others = {c.tensor: c for c in compare(other, truth, lambda stage, name: math.inf)}
    mine = compare(candidate, truth, lambda stage, name: math.inf, modules)
    results = []
    for comparison in mine:
        beside = others.get(comparison.tensor)
        error = beside.error if beside and math.isfinite(beside.error) else 0.0
        limit = max(factor * max(error, floor), (kinks or {}).get(comparison.stage, 0.0))
        limit = 0.0 if comparison.limit == 0.0 else limit
        results.append(dataclasses.replace(comparison, limit=limit, reference_error=error))
    return results


def relative_error(candidate: np.ndarray, reference: np.ndarray, scale: float = 0.0) -> float:
    """||candidate - reference|| / ||reference||; against ``scale`` where the reference is negligible."""
    difference = np.linalg.norm((candidate.astype(np.float64) - reference.astype(np.float64)).ravel())
    norm = np.linalg.norm(reference.astype(np.float64).ravel())
    denominator = scale if norm < NEGLIGIBLE * scale else norm
    if denominator == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return float(difference / denominator)


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
    scales: dict[str, float],
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
    scale = scales.get(stage, 0.0)
    a, b = candidate.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    peak = float(np.abs(b).max(initial=0.0))
    zero = float(np.linalg.norm(b)) < NEGLIGIBLE * scale
    return Comparison(
        stage,
        module,
        name,
        relative_error(candidate, reference, scale),
        limit(stage, name),
        cosine=float(a @ b) / norms if norms else None,
        max_abs=float(np.abs(a - b).max(initial=0.0)) / peak if peak else None,
        note="analytically zero: measured against the stage's largest norm" if zero else "",
    )


def _stage_scales(reference: Arrays) -> dict[str, float]:
    """Largest norm of each stage that has analytically zero tensors: gradients and what follows from them."""
    scales: dict[str, float] = {}
    for name, array in reference.items():
        stage = stage_of(name)
        if stage in ("backward", "moments", "update") and array.dtype.kind == "f":
            scales[stage] = max(scales.get(stage, 0.0), float(np.linalg.norm(array.astype(np.float64).ravel())))
    return scales

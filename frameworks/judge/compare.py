"""Comparison of two traces, tensor by tensor, with NumPy only.

Each tensor gets its relative Frobenius error, which decides, and for the records its cosine and the largest
absolute error over the largest absolute value. Errors are not averaged over tensors, not taken relative to single
elements, and no limit grows with a tensor's size.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frameworks.arrays import Arrays
from frameworks.shared.stages import name_parts, stage_of
from frameworks.shared.tolerances import NEGLIGIBLE

# Default module of a stage; all other tensors without a module are attributed to "optimizer".
WHOLE_STAGES = {
    "losses": "criterion",
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
    others: Sequence[Arrays],
    truth: Arrays,
    factor: float,
    floor: float,
    modules: Iterable[str] = (),
    kinks: Mapping[str, float] | None = None,
) -> list[Comparison]:
    """Compare the candidate's float32 error against the float64 truth with the errors of other frameworks.

    The limit of a tensor is ``factor * max(error, floor)`` with the smallest finite error among ``others``
    (0 where there is none), and at least the stage's allowance in ``kinks`` (see tolerances.py).
    """
    errors: dict[str, list[float]] = {}
    for other in others:
        for comparison in compare(other, truth, lambda stage, name: math.inf):
            if math.isfinite(comparison.error):
                errors.setdefault(comparison.tensor, []).append(comparison.error)
    results = []
    for comparison in compare(candidate, truth, lambda stage, name: math.inf, modules):
        error = min(errors.get(comparison.tensor, [0.0]))
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
    """Largest norm in each stage that has analytically zero tensors: gradients, moments and updates."""
    scales: dict[str, float] = {}
    for name, array in reference.items():
        stage = stage_of(name)
        if stage in ("backward", "moments", "update") and array.dtype.kind == "f":
            scales[stage] = max(scales.get(stage, 0.0), float(np.linalg.norm(array.astype(np.float64).ravel())))
    return scales

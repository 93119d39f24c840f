"""Compare the training records of two frameworks step by step. Shapes: S steps that both recorded.

A relative difference is |other - reference| / |reference|. It is NaN where either side is not a finite
number, and NaN always counts as different.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frameworks.shared.tolerances import PUBLISHED
from reports.run.records import FrameworkRecords, RunRecords, Step

PUBLISHED_LOSS_BOUND = PUBLISHED["losses"]


@dataclass(frozen=True)
class Difference:
    """One quantity in both frameworks; a side that did not record it is NaN."""

    name: str
    reference: float
    other: float

    @property
    def relative(self) -> float:
        """|other - reference| / |reference|; inf where only the reference is 0."""
        return relative_difference(self.reference, self.other)

    @property
    def within_bound(self) -> bool:
        """Whether the published bound on losses (0.1 %) holds; never for NaN."""
        return self.relative < PUBLISHED_LOSS_BOUND


@dataclass(frozen=True)
class TrainingDifference:
    """`other` compared with `reference`; `steps` and `relative` are [S], one value per common step."""

    reference: FrameworkRecords
    other: FrameworkRecords
    steps: NDArray[np.int64]
    relative: NDArray[np.float64]
    first_terms: tuple[Difference, ...]
    first_total: Difference | None
    first_grad_norm: Difference | None
    learning_rates_differ_at: int | None
    matchings_differ_at: int | None

    def first_above(self, threshold: float) -> int | None:
        """The first step whose totals differ by more than `threshold`, or None."""
        above_S = ~(self.relative <= threshold)
        return int(self.steps[np.argmax(above_S)]) if above_S.any() else None

    @property
    def end_of_first_epoch(self) -> tuple[int, float] | None:
        """The last common step of the first epoch and the difference there; None before a second epoch."""
        epochs = [step.epoch for step in _common(self.reference, self.other)[0]]
        if not epochs or epochs[-1] == epochs[0]:
            return None
        index = max(i for i, epoch in enumerate(epochs) if epoch == epochs[0])
        return int(self.steps[index]), float(self.relative[index])

    @property
    def worst_term(self) -> Difference | None:
        """The loss term of the first step that differs most; NaN counts as the largest difference."""
        return max(self.first_terms, key=lambda term: _badness(term.relative), default=None)


def relative_difference(reference: float, other: float) -> float:
    """|other - reference| / |reference|: 0 when both are 0, NaN unless both are finite."""
    if not (math.isfinite(reference) and math.isfinite(other)):
        return math.nan
    if reference == other:
        return 0.0
    return abs(other - reference) / abs(reference) if reference else math.inf


def compare_run(run: RunRecords) -> tuple[TrainingDifference, ...]:
    """Compare every other trained framework with the first one of run.json."""
    trained = run.trained
    return tuple(compare(trained[0], other) for other in trained[1:])


def compare_controls(run: RunRecords) -> tuple[TrainingDifference, ...]:
    """Compare every control that trained with the framework that it repeats; () where that one did not train."""
    reference = run.frameworks[0]
    return tuple(compare(reference, control) for control in run.controls if control.steps and reference.steps)


def compare(reference: FrameworkRecords, other: FrameworkRecords) -> TrainingDifference:
    """Compare two frameworks that trained; having no common step is a result, not an error."""
    left, right = _common(reference, other)
    first = (left[0], right[0]) if left and left[0].step == 0 else None
    return TrainingDifference(
        reference=reference,
        other=other,
        steps=np.array([step.step for step in left], dtype=np.int64),
        relative=np.array(
            [relative_difference(a.total, b.total) for a, b in zip(left, right, strict=True)], dtype=np.float64
        ),
        first_terms=_terms(*first) if first else (),
        first_total=Difference("total", first[0].total, first[1].total) if first else None,
        first_grad_norm=Difference("gradient norm", first[0].grad_norm, first[1].grad_norm) if first else None,
        learning_rates_differ_at=_first_where(left, right, _learning_rates_differ),
        matchings_differ_at=_first_where(left, right, _matchings_differ),
    )


def _common(reference: FrameworkRecords, other: FrameworkRecords) -> tuple[list[Step], list[Step]]:
    by_step = {step.step: step for step in other.steps}
    left = [step for step in reference.steps if step.step in by_step]
    return left, [by_step[step.step] for step in left]


def _terms(left: Step, right: Step) -> tuple[Difference, ...]:
    # A term that only one side computes is shown as NaN: leaving it out would hide a missing loss.
    names = list(dict.fromkeys([*left.losses, *right.losses]))
    nan = math.nan
    return tuple(Difference(name, left.losses.get(name, nan), right.losses.get(name, nan)) for name in names)


def _first_where(left: list[Step], right: list[Step], differ: Callable[[Step, Step], bool]) -> int | None:
    return next((a.step for a, b in zip(left, right, strict=True) if differ(a, b)), None)


def _learning_rates_differ(left: Step, right: Step) -> bool:
    # Both use one schedule; the tolerance is for a framework that stores its rates in float32.
    return len(left.lr) != len(right.lr) or not np.allclose(left.lr, right.lr, rtol=1e-6, atol=0)


def _matchings_differ(left: Step, right: Step) -> bool:
    return None not in (left.match_hash, right.match_hash) and left.match_hash != right.match_hash


def _badness(relative: float) -> float:
    return math.inf if math.isnan(relative) else relative

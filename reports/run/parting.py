"""How far two trainings part, judged by how far one framework parts from itself. Shapes: S common steps.

A training amplifies rounding until it is as large as the loss allows. So a difference says something only beside
the control's: the same framework from weights moved by one unit in the last place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.language import say
from reports.run.differences import TrainingDifference

FIRST_STEPS = 10
# Half the relative distance of two float32 numbers: smaller is equal, and the mean of logarithms needs more than 0.
SMALLEST = 2.0**-24
# Measured on four trainings of one program (tiny, 160 steps, windows of 8): where a control has reached GROWN,
# another one is at most 3.9 times as far (432 ratios). Before, one of two may be a thousand times ahead: a single
# matching that flips early is enough. So only beyond GROWN a ratio is judged, by FAR.
GROWN, FAR = 1e-3, 5.0


@dataclass(frozen=True)
class Stage:
    """One stage of a run: geometric means over its steps of the relative differences of the total losses."""

    name: str
    difference: float  # between two frameworks
    control: float  # between one framework and itself

    @property
    def ratio(self) -> float:
        """The difference as a multiple of the control's; inf where a loss is not a finite number."""
        return self.difference / self.control

    @property
    def is_judged(self) -> bool:
        """Whether rounding has grown so far that the ratio of two differences means something."""
        return self.control >= GROWN

    @property
    def is_far(self) -> bool:
        """Whether the frameworks part further than one framework does; inf counts."""
        return self.is_judged and not self.ratio <= FAR


def stages(comparison: TrainingDifference, controls: tuple[TrainingDifference, ...]) -> tuple[Stage, ...]:
    """The stages that the comparison and all controls have; () without a control.

    The first step is left out: no update precedes it, and the certificate is about it.
    """
    if not controls:
        return ()
    steps = set(comparison.steps.tolist()).intersection(*(control.steps.tolist() for control in controls))
    epochs = {step.step: step.epoch for step in comparison.reference.steps if step.step in steps and step.step > 0}
    if not epochs:
        return ()
    first, last = min(epochs.values()), max(epochs.values())
    parts = {
        say("in steps 2 to {first_steps}", first_steps=min(FIRST_STEPS, max(epochs) + 1)): [
            step for step in epochs if step < FIRST_STEPS
        ],
        say("in the rest of the first epoch"): [
            s for s, epoch in epochs.items() if epoch == first and s >= FIRST_STEPS
        ],
        say("in the last epoch"): [s for s, epoch in epochs.items() if epoch == last > first and s >= FIRST_STEPS],
    }
    return tuple(
        Stage(name, _mean(comparison, within), _mean_of(controls, within))
        for name, within in parts.items()
        if within
    )


def band(controls: tuple[TrainingDifference, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The steps that all controls have, and the largest of their relative differences there, both [S]."""
    common = sorted(set.intersection(*(set(control.steps.tolist()) for control in controls)))
    rows = [_at(control, common) for control in controls]
    return np.array(common, np.int64), np.max(rows, axis=0)


def _at(comparison: TrainingDifference, steps: list[int]) -> NDArray[np.float64]:
    place = {int(step): index for index, step in enumerate(comparison.steps)}
    return comparison.relative[[place[step] for step in steps]]


def _mean(comparison: TrainingDifference, steps: list[int]) -> float:
    relative = _at(comparison, steps)
    relative = np.where(np.isfinite(relative), relative, np.inf)
    return float(np.exp(np.log(np.maximum(relative, SMALLEST)).mean()))


def _mean_of(comparisons: tuple[TrainingDifference, ...], steps: list[int]) -> float:
    return float(np.exp(np.mean([np.log(_mean(each, steps)) for each in comparisons])))

"""The envelope of the perturbed runs, what leaves it, and how fast runs part."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frameworks.shared.tolerances import FLOAT32_FLOOR
from reports import formatting as show
from reports.lockstep.records import BASE, FAULT, PERTURBED, QUANTITIES, Curves, Lockstep, Run

# The edge lies this far above the largest divergence of a perturbed run so far. Divergence grows by leaps: a
# decision that flips one step sooner than in any other run is no fault. What perturbed runs need is on the page.
SLACK = 3.0
# Growth is fitted until a run is this far from saturated, that is, from its largest divergence.
SATURATED = 0.1


@dataclass(frozen=True)
class Result:
    """One run against the envelope: ``left`` is the first step at which a quantity is above the edge, or None."""

    run: Run
    left: int | None
    quantity: str
    margin: float  # largest divergence / edge over steps and quantities

    @property
    def passed(self) -> bool:
        """A fault has to leave the envelope, every other run to stay inside."""
        return (self.left is not None) == (self.run.kind == FAULT)

    @property
    def sentence(self) -> str:
        """One line for people."""
        run = self.run
        name = f"fault in {run.which}" if run.kind == FAULT else f"{show.label(run.framework)} beside the reference"
        where = f"leaves the envelope at step {self.left} ({self.quantity})" if self.left else "stays inside"
        verdict = "" if self.passed else ": FAILED"
        return f"{run.dtype}, {name}: {where}, largest divergence / edge {self.margin:.2g}{verdict}"


def edge(runs: list[Run], quantity: str) -> NDArray[np.float64]:
    """[steps] upper edge: ``SLACK`` times the largest divergence of these runs so far.

    In float32 not below ``SLACK * FLOAT32_FLOOR``: a loss of few digits may come out equal in every perturbed run.
    """
    floor = FLOAT32_FLOOR if runs[0].dtype == "float32" else 0.0
    largest = np.maximum.accumulate(np.max([run.curves[quantity] for run in runs], axis=0))
    return SLACK * np.maximum(largest, floor)


def judged(lockstep: Lockstep) -> list[Result]:
    """Every candidate's base and every fault against the envelope of its dtype."""
    return [
        against(run, lockstep.of(dtype, PERTURBED))
        for dtype in lockstep.dtypes
        for run in (*lockstep.of(dtype, BASE), *lockstep.of(dtype, FAULT))
    ]


def against(run: Run, perturbed: list[Run]) -> Result:
    """One run against the envelope of perturbed ones; NaN is outside."""
    ratios = {name: _ratio(run.curves[name], edge(perturbed, name)[: len(run.curves[name])]) for name in QUANTITIES}
    outside = {name: int(np.argmax(~(ratio <= 1))) + 1 for name, ratio in ratios.items() if not (ratio <= 1).all()}
    first = min(outside, key=lambda name: outside[name], default="")
    margin = max(float(np.max(ratio)) for ratio in ratios.values())
    return Result(run, outside.get(first), first, margin)


def needed_slack(perturbed: list[Run]) -> float:
    """Largest ratio of a perturbed run to the others' envelope without slack; below ``SLACK``: no false alarm."""
    return max(SLACK * against(run, [other for other in perturbed if other is not run]).margin for run in perturbed)


def growth(curves: Curves, quantity: str = "parameters") -> float:
    """Factor by which a divergence grows with each step: a line fitted to its logarithm, up to saturation."""
    curve = curves[quantity]
    end = max(3, int(np.argmax(curve >= SATURATED * np.max(curve))) + 1)
    rows = [(step, np.log(value)) for step, value in enumerate(curve[:end]) if value > 0]
    if len(rows) < 2:
        return 1.0
    steps, logs = np.array(rows).T
    return float(np.exp(np.polyfit(steps, logs, 1)[0]))


def _ratio(curve: NDArray[np.float64], above: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((curve == 0) & (above == 0), 0.0, curve / above)

"""Refuse to time different models: compare predictions in float64 before anything is timed."""

import itertools

import numpy as np

from experiments.benchmarks.session import CONTROL, SEED, Session, drawn_weights
from frameworks import REFERENCE
from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.official_rtdetr.source import NAME as OFFICIAL
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.tolerances import SAME_PREDICTIONS, SAME_PREDICTIONS_OFFICIAL

SIZE = 192  # pixels


def check_agreement(session: Session, spec: ExperimentSpec) -> None:
    """Compare logits and boxes of evaluation mode in float64 with the reference's.

    In processes of their own: a float64 model would raise the peak memory of the processes that are timed.

    Raises:
        UserError: they differ by more than the limit.
    """
    traces: dict[str, Arrays] = {}
    inputs = {"images": drawn_inputs.images(1, SIZE, SIZE, SEED)}
    for entry in session.plan.entries:
        if entry.label != CONTROL:
            session.say(f"{spec.name}: checking what {entry.label} computes in float64")
            with session.open(entry) as framework:
                traces[entry.label] = framework.trace(
                    Case("forward", spec),
                    drawn_weights(spec.model),
                    inputs,
                    device=session.plan.device,
                    dtype="float64",
                )
    reference = traces.pop(REFERENCE)
    for label, tensor in itertools.product(traces, ("pred_logits", "pred_boxes")):
        expected = reference[f"forward/{tensor}"]
        difference = traces[label][f"forward/{tensor}"] - expected
        error = float(np.linalg.norm(difference) / np.linalg.norm(expected))
        limit = SAME_PREDICTIONS_OFFICIAL if label == OFFICIAL else SAME_PREDICTIONS
        facts = {"limit": limit, "image_size": SIZE, "dtype": "float64"}
        session.write("agreement", preset=spec.name, framework=label, tensor=tensor, error=error, **facts)
        session.say(f"  {label} {tensor}: relative difference {error:.1e} (limit {limit:.0e})")
        if not error <= limit:  # NaN must not pass
            raise UserError(
                f"{label}'s {tensor} of {spec.name} differ from {REFERENCE}'s by {error:.1e} in float64 (limit "
                f"{limit:.0e}): timings of two different models would say nothing"
            )

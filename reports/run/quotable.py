"""summary.json: every headline number of a run for programs. The keys are explained in docs/reports.md.

A number is null where the run did not record it, where COCO has no object to average over (-1), and where it is not
finite. Fractions are fractions, times are in seconds, memory in MB.
"""

import json
import math
from dataclasses import asdict
from typing import Any

from reports.run import parting
from reports.run.certificate import Certificate
from reports.run.differences import (
    Difference,
    TrainingDifference,
    compare_controls,
    compare_run,
    relative_difference,
)
from reports.run.meta import COCO_STATS
from reports.run.records import SPLITS, FrameworkRecords, RunRecords
from reports.run.summary import comparable, evaluation_of, summarize
from reports.run.validation import last_validations

SCHEMA = 1


def summary_text(run: RunRecords) -> str:
    """The text of summary.json."""
    return json.dumps(_finite(summary_of(run)), indent=1, allow_nan=False) + "\n"


def summary_of(run: RunRecords) -> dict[str, Any]:
    """All headline numbers of a run, under the keys of summary.json."""
    meta, controls = run.meta, compare_controls(run)
    compared = [(each, False) for each in compare_run(run)] + [(each, True) for each in controls]
    return {
        "schema": SCHEMA,
        "preset": meta.preset,
        "spec_hash": meta.spec_hash,
        "seed": meta.seed,
        "device": meta.device,
        "image_size": meta.image_size,
        "batch_size": meta.batch_size,
        "epochs_planned": meta.epochs,
        "complete": run.complete,
        "parameters": meta.parameters.trainable_and_frozen,
        "parameters_and_statistics": meta.parameters.with_running_statistics,
        "data": {
            "kind": meta.data.kind or None,
            "images": {"train": meta.data.train_images, "val": meta.data.val_images},
            "manifest_sha256": {split: run.manifests.get(split) for split in SPLITS},
        },
        "certificate": _certificate(run.certificate) if run.certificate else None,
        "trainings": {each.name: _training(run, each) for each in run.entries},
        # a control stands beside no other control: one against itself would be 1 or 0 by definition
        "differences": [_difference(run, each, () if is_control else controls) for each, is_control in compared],
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    judged = certificate.float64
    worst = judged.worst if judged else None
    return {
        "outcome": "failed" if certificate.failed else certificate.outcome,
        "tensors": len(judged.comparisons) if judged else None,
        "failed": len(judged.failures) if judged else None,
        "worst_tensor": worst.tensor if worst else None,
        "worst_error": worst.error if worst else None,
        "worst_limit": worst.limit if worst else None,
        "worst_share_of_limit": worst.margin if worst else None,
    }


def _training(run: RunRecords, records: FrameworkRecords) -> dict[str, Any]:
    summary = summarize(records)
    evaluations = {split: evaluation_of(summary, split) for split in SPLITS}
    return {
        "control": records.name in run.meta.control_names,
        "failure": records.failure.kind or "failure" if records.failure else None,
        "epochs": summary.epochs,
        "steps": summary.steps,
        "training_loss": summary.final_loss,
        "validation_loss": last_validations(run).get(records.name),
        **{
            split: {name: _statistic(each.stats.get(name)) if each else None for name in COCO_STATS}
            | {"epoch": each.epoch + 1 if each else None}
            for split, each in evaluations.items()
        },
        "first_epoch_seconds": summary.first_epoch_seconds,
        "epoch_seconds": summary.epoch_seconds,
        "step_seconds": summary.step_seconds,
        "peak_memory_mb": summary.peak_memory_mb,
    }


def _difference(
    run: RunRecords, comparison: TrainingDifference, controls: tuple[TrainingDifference, ...]
) -> dict[str, Any]:
    """`other` beside `reference`; losses and APs only after the same number of epochs."""
    left, right = summarize(comparison.reference), summarize(comparison.other)
    losses, fair = last_validations(run), comparable(left, right)
    validation = (losses.get(left.name), losses.get(right.name)) if fair else (None, None)
    return {
        "reference": left.name,
        "other": right.name,
        "first_step_total_relative": _relative(comparison.first_total),
        "first_step_worst_term": comparison.worst_term.name if comparison.worst_term else None,
        "first_step_worst_term_relative": _relative(comparison.worst_term),
        "steps_in_common": len(comparison.steps),
        "last_step_total_relative": float(comparison.relative[-1]) if len(comparison.relative) else None,
        "training_loss_relative": _apart(left.final_loss, right.final_loss) if fair else None,
        "validation_loss_relative": _apart(*validation),
        "AP": {split: _precision(run, comparison, split) if fair else None for split in SPLITS},
        "epoch_seconds_ratio": _ratio(left.epoch_seconds, right.epoch_seconds),
        "step_seconds_ratio": _ratio(left.step_seconds, right.step_seconds),
        "peak_memory_ratio": _ratio(left.peak_memory_mb, right.peak_memory_mb),
        "beside_controls": [
            asdict(stage) | {"ratio": stage.ratio, "judged": stage.is_judged, "far": stage.is_far}
            for stage in parting.stages(comparison, controls)
        ],
    }


def _precision(run: RunRecords, comparison: TrainingDifference, split: str) -> dict[str, Any] | None:
    """The difference of AP on a split, with its interval where one was computed."""
    left, right = comparison.reference.last_evaluation(split), comparison.other.last_evaluation(split)
    if left is None or right is None or not min(left.stats["AP"], right.stats["AP"]) >= 0:
        return None
    names = (comparison.reference.name, comparison.other.name)
    found = [each for each in run.precision if each.split == split and (each.reference, each.other) == names]
    low, high = (found[0].low, found[0].high) if found else (None, None)
    return {"difference": right.stats["AP"] - left.stats["AP"], "low": low, "high": high}


def _relative(difference: Difference | None) -> float | None:
    return difference.relative if difference else None


def _apart(reference: float | None, other: float | None) -> float | None:
    return None if reference is None or other is None else relative_difference(reference, other)


def _ratio(reference: float | None, other: float | None) -> float | None:
    return other / reference if other is not None and reference else None


def _statistic(value: float | None) -> float | None:
    return None if value is None or value < 0 else value


def _finite(value: Any) -> Any:
    """The same value with null for every number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Record what the detections after the last epoch say: COCO's numbers, every class, curves, and their differences.

Each framework and each control is compared with the first framework, by resampling the images for both alike.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.progress import Progress
from experiments.runs.bootstrap import Floats, interval, resampled_counts
from experiments.runs.data import Subset
from experiments.runs.evaluation import ground_truth, matched
from experiments.runs.folder import Run
from experiments.runs.resampled import Resampled, precision_curves, resample
from frameworks.files import write_atomically
from reports.jsonl import read_json
from reports.run import files

LEVEL = 0.95
RESAMPLES, FEWER, MANY_IMAGES = 1000, 200, 500  # of many images fewer resamples, which would take minutes

Row = dict[str, Any]


def record_differences(run: Run) -> None:
    """Write bootstrap.jsonl, classes.jsonl, curves.jsonl and the ground truth anew, from the recorded detections.

    Entries without detections of a split are left out.

    Raises:
        UserError: detections cannot be read, or a file cannot be written.
    """
    differences: list[Row] = []
    classes: list[Row] = []
    curves: list[Row] = []
    for split, subset in run.data.items():
        paths = {name: run.folder / name / files.predictions(split) for name in run.entries}
        there = {name: path for name, path in paths.items() if path.is_file()}
        if not there:
            continue
        truth = ground_truth(subset.split, subset.ids)
        write_atomically(run.folder / files.ground_truth(split), json.dumps(truth) + "\n")
        counts_RI = _counts(len(subset.ids), run.meta.seed, compared=len(there) > 1)
        with Progress("report", waiting=f"resampling the {split} images"):
            found = {name: _resampled(subset, path, counts_RI, curves, name) for name, path in there.items()}
        reference = run.entries[0]
        others = [name for name in there if name != reference and reference in there]
        drawn = {"resamples": len(counts_RI) - 1, "seed": run.meta.seed, "level": LEVEL}
        for name in others:
            about = {"split": split, "reference": reference, "other": name, "images": len(subset.ids)}
            differences.append(about | _differences(found[reference], found[name]) | drawn)
        classes += [{"split": split} | row for row in _class_rows(subset, found, reference, others)]
    for name, rows in ((files.BOOTSTRAP, differences), (files.CLASSES, classes), (files.CURVES, curves)):
        if rows:
            write_atomically(run.folder / name, "".join(json.dumps(row) + "\n" for row in rows))


def _counts(images: int, seed: int, compared: bool) -> NDArray[np.int64]:
    """The images themselves, then the resamples, which only a comparison needs."""
    resamples = (RESAMPLES if images <= MANY_IMAGES else FEWER) if compared else 0
    return np.concatenate([np.ones((1, images), np.int64), resampled_counts(images, resamples, seed)])


def _resampled(subset: Subset, path: Path, counts_RI: NDArray[np.int64], curves: list[Row], name: str) -> Resampled:
    """The numbers of one entry; its curves become a row of ``curves``."""
    evaluation = matched(subset.split, subset.ids, read_json(path))
    found = resample(evaluation, counts_RI)
    curves.append({"split": subset.split.name, "name": name, "precision": precision_curves(evaluation)})
    return found


def _differences(reference: Resampled, other: Resampled) -> Row:
    """The difference of AP, and in ``statistics`` those of all numbers that COCO defines here."""
    pairs = {name: (values_R, other.statistics[name]) for name, values_R in reference.statistics.items()}
    defined = {name: _difference(*pair) for name, pair in pairs.items() if pair[0][0] >= 0}
    return _difference(*pairs["AP"]) | {"statistics": defined}


def _class_rows(subset: Subset, found: Mapping[str, Resampled], reference: str, others: Sequence[str]) -> list[Row]:
    """A row per class that the images hold: AP and AP50 of every entry, and the differences of AP."""
    rows = []
    for place, one in enumerate(next(iter(found.values())).classes):
        each = {name: resampled.classes[place] for name, resampled in found.items()}
        facts = {"category_id": one.category, "name": subset.split.categories[one.category]}
        rows.append(
            facts
            | {"objects": one.objects, "images": one.images}
            | {"AP": {name: float(own.ap_R[0]) for name, own in each.items()}}
            | {"AP50": {name: float(own.ap50_R[0]) for name, own in each.items()}}
            | {"differences": {name: _difference(each[reference].ap_R, each[name].ap_R) for name in others}}
        )
    return rows


def _difference(reference_R: Floats, other_R: Floats) -> dict[str, float]:
    """The difference of two numbers and its interval; resamples without any object tell nothing."""
    defined = reference_R[1:] >= 0
    differences = (other_R - reference_R)[1:][defined]
    low, high = interval(differences, LEVEL) if len(differences) else (float("nan"), float("nan"))
    return {"difference": float(other_R[0] - reference_R[0]), "low": low, "high": high}

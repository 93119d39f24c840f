"""Record by how much the APs of a run differ: each framework and each control beside the first framework."""

import json
from pathlib import Path

import numpy as np

from experiments.progress import Progress
from experiments.runs.bootstrap import average_precision, category_matches, interval, resampled_counts
from experiments.runs.data import Subset
from experiments.runs.evaluation import matched
from experiments.runs.folder import Run
from frameworks.files import write_atomically
from reports.jsonl import read_json
from reports.run import files

LEVEL = 0.95
RESAMPLES, FEWER, MANY_IMAGES = 1000, 200, 500  # of many images fewer resamples, which would take minutes


def record_differences(run: Run) -> None:
    """Write bootstrap.jsonl anew: a line for each split and each entry beside the first.

    Entries without detections of a split are left out.

    Raises:
        UserError: detections cannot be read, or the file cannot be written.
    """
    reference, *others = run.entries
    lines = []
    for split, subset in run.data.items():
        paths = {name: run.folder / name / files.predictions(split) for name in run.entries}
        there = [name for name in others if paths[name].is_file()]
        if not there or not paths[reference].is_file():
            continue
        with Progress("report", waiting=f"resampling the {split} images"):
            counts_RI = _counts(len(subset.ids), run.meta.seed)
            values = {name: _values(subset, paths[name], counts_RI) for name in (reference, *there)}
        for name in there:
            found = _difference(values[reference], values[name])
            about = {"split": split, "reference": reference, "other": name, "images": len(subset.ids)}
            drawn = {"resamples": len(counts_RI) - 1, "seed": run.meta.seed, "level": LEVEL}
            lines.append(json.dumps(about | found | drawn) + "\n")
    if lines:
        write_atomically(run.folder / files.BOOTSTRAP, "".join(lines))


def _counts(images: int, seed: int) -> np.ndarray:
    """The images themselves, then the resamples."""
    resamples = RESAMPLES if images <= MANY_IMAGES else FEWER
    return np.concatenate([np.ones((1, images), np.int64), resampled_counts(images, resamples, seed)])


def _values(subset: Subset, path: Path, counts_RI: np.ndarray) -> np.ndarray:
    evaluation = matched(subset.split, subset.ids, read_json(path))
    return average_precision(category_matches(evaluation), counts_RI, np.asarray(evaluation.params.recThrs))


def _difference(reference_R: np.ndarray, other_R: np.ndarray) -> dict[str, float]:
    """The difference of the APs and its interval; resamples without any object tell nothing."""
    defined = reference_R[1:] >= 0
    differences = (other_R - reference_R)[1:][defined]
    low, high = interval(differences, LEVEL) if len(differences) else (float("nan"), float("nan"))
    return {"difference": float(other_R[0] - reference_R[0]), "low": low, "high": high}

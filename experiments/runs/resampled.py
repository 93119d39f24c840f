"""COCO's twelve numbers and the AP of every class for each resample of the images, and their curves.

Shapes: R resamples, I images.
"""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from experiments.runs.bootstrap import Floats, category_matches, mean_over_categories, precisions, recalls
from reports.run.meta import COCO_STATS

AREAS = ("", "_small", "_medium", "_large")  # COCO's order of the sizes of objects
FEWER_DETECTIONS = (1, 10)  # how many detections of an image AR1 and AR10 count; all other numbers count 100
CURVE_THRESHOLDS = (0.5, 0.75)


@dataclass(frozen=True)
class ClassPrecision:
    """One class that the images hold: its objects, the images with one, and AP and AP50, [R], -1 without one."""

    category: int
    objects: int
    images: int
    ap_R: Floats
    ap50_R: Floats


@dataclass(frozen=True)
class Resampled:
    """What COCO's numbers are in each resample, [R] each, -1 where COCO defines none; and the classes."""

    statistics: dict[str, Floats]
    classes: list[ClassPrecision]


def resample(evaluation: COCOeval, counts_RI: NDArray[np.int64]) -> Resampled:
    """The numbers of matched detections; ``counts_RI`` is how often each image is in each resample."""
    parameters: Any = evaluation.params
    grid, half = np.asarray(parameters.recThrs), _place(parameters.iouThrs, 0.5)
    statistics: dict[str, Floats] = {}

    def add(name: str, by_category: list[Floats]) -> None:
        statistics[name] = mean_over_categories(by_category, len(counts_RI))

    classes: list[ClassPrecision] = []
    for area, size in enumerate(AREAS):
        matches = category_matches(evaluation, area)
        found = [precisions(each, counts_RI, grid) for each in matches]
        add(f"AP{size}", [each.mean(axis=0) for each in found])
        add(f"AR{size or 100}", [recalls(each, counts_RI).mean(axis=0) for each in matches])
        if not size:
            for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
                add(name, [each[_place(parameters.iouThrs, threshold)] for each in found])
            for each, values_TR in zip(matches, found, strict=True):
                counts = int(each.objects_I.sum()), int((each.objects_I > 0).sum())
                classes.append(ClassPrecision(each.category, *counts, values_TR.mean(axis=0), values_TR[half]))
    for most in FEWER_DETECTIONS:
        matches = category_matches(evaluation, most=most)
        add(f"AR{most}", [recalls(each, counts_RI).mean(axis=0) for each in matches])
    return Resampled({name: statistics[name] for name in COCO_STATS}, classes)


def precision_curves(evaluation: COCOeval) -> dict[str, list[float]]:
    """Precision at COCO's recalls (0, 0.01, ..., 1) by threshold of IoU: the mean over the classes with objects."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by printing
        evaluation.accumulate()
    found: Any = evaluation.eval
    curves = {}
    for threshold in CURVE_THRESHOLDS:
        # thresholds of IoU, recalls, categories, sizes of objects, numbers of detections
        precision_GC = found["precision"][_place(found["params"].iouThrs, threshold), :, :, 0, -1]
        with_objects_C = precision_GC[0] >= 0
        if with_objects_C.any():
            curves[f"{threshold:.2f}"] = precision_GC[:, with_objects_C].mean(axis=1).tolist()
    return curves


def _place(thresholds: Any, wanted: float) -> int:
    return int(np.argmin(np.abs(np.asarray(thresholds) - wanted)))

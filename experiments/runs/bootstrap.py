"""AP of resampled images, and the interval of a difference of two APs: a paired bootstrap over images.

Detections are matched with objects once, image by image; a resample only changes how often each image counts.
Shapes: R resamples, I images, D detections of a category by falling score, T thresholds of IoU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CategoryMatches:
    """The detections of one category that count, by falling score, and its number of objects in each image."""

    image_D: NDArray[np.int64]  # position of the detection's image
    hit_TD: NDArray[np.bool_]  # it finds an object
    ignored_TD: NDArray[np.bool_]  # it counts neither way, as one on a crowd
    objects_I: NDArray[np.int64]


def category_matches(evaluation: COCOeval) -> list[CategoryMatches]:
    """The matches of an evaluation by category, for objects of any size; categories without one are left out."""
    parameters: Any = evaluation.params
    images, most = len(parameters.imgIds), parameters.maxDets[-1]
    areas = len(parameters.areaRng)
    found: list[Any] = evaluation.evalImgs  # by category, then by size of objects, of which any comes first
    categories = []
    for start in range(0, len(found), areas * images):
        rows = [(place, row) for place, row in enumerate(found[start : start + images]) if row is not None]
        objects_I = np.zeros(images, np.int64)
        for place, row in rows:
            objects_I[place] = int((np.asarray(row["gtIgnore"]) == 0).sum())
        if objects_I.any():
            categories.append(_category(rows, objects_I, most))
    return categories


def _category(rows: Sequence[tuple[int, Any]], objects_I: NDArray[np.int64], most: int) -> CategoryMatches:
    scores = np.concatenate([np.asarray(row["dtScores"][:most], np.float64) for _, row in rows])
    order = np.argsort(-scores, kind="mergesort")  # as COCO's: equal scores stay in the order of their images
    image_D = np.concatenate([np.full(len(row["dtScores"][:most]), place, np.int64) for place, row in rows])
    hit_TD = np.concatenate([np.asarray(row["dtMatches"])[:, :most] for _, row in rows], axis=1) != 0
    ignored_TD = np.concatenate([np.asarray(row["dtIgnore"])[:, :most] for _, row in rows], axis=1) != 0
    return CategoryMatches(image_D[order], hit_TD[:, order], ignored_TD[:, order], objects_I)


def average_precision(categories: Sequence[CategoryMatches], counts_RI: NDArray[np.int64], grid: Floats) -> Floats:
    """COCO's AP of each resample, [R], -1 where it has no object.

    Args:
        counts_RI: how often each image is in each resample.
        grid: the recalls at which precision is averaged (COCO: 0, 0.01, ..., 1).
    """
    sums_R, present_R = np.zeros(len(counts_RI)), np.zeros(len(counts_RI), np.int64)
    for category in categories:
        objects_R = counts_RI @ category.objects_I
        precision_R = _precision(category, counts_RI, objects_R, grid)
        sums_R += np.where(objects_R > 0, precision_R, 0.0)
        present_R += objects_R > 0
    return np.where(present_R > 0, sums_R / np.maximum(present_R, 1), -1.0)


def _precision(
    category: CategoryMatches, counts_RI: NDArray[np.int64], objects_R: NDArray[np.int64], grid: Floats
) -> Floats:
    """AP of one category, the mean over the thresholds of IoU, [R].

    Recall rises at hits alone, and the precision that COCO takes at a recall is the best at any later hit.
    """
    weight_RD = counts_RI[:, category.image_D]
    total_R = np.zeros(len(counts_RI))
    for hit_D, ignored_D in zip(category.hit_TD, category.ignored_TD, strict=True):
        true_D = hit_D & ~ignored_D
        if not true_D.any():
            continue
        kept_RK = np.cumsum(weight_RD * ~ignored_D, axis=1)[:, true_D]
        true_RK = np.cumsum(weight_RD[:, true_D], axis=1)
        precision_RK = true_RK / np.maximum(kept_RK, 1)
        best_RK = np.maximum.accumulate(precision_RK[:, ::-1], axis=1)[:, ::-1]
        recall_RK = true_RK / np.maximum(objects_R, 1)[:, None]
        reached_RK = np.where(true_RK > 0, np.searchsorted(grid, recall_RK, side="right"), 0)
        total_R += (best_RK * np.diff(reached_RK, axis=1, prepend=0)).sum(axis=1) / len(grid)
    return total_R / len(category.hit_TD)


def resampled_counts(images: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each of so many images is in each resample, [R, I]: drawn with replacement."""
    draw = np.random.Generator(np.random.PCG64(seed))
    return draw.multinomial(images, np.full(images, 1 / images), size=resamples)


def interval(values_R: Floats, level: float) -> tuple[float, float]:
    """The percentiles that leave out ``(1 - level) / 2`` of the values at either end."""
    tail = 50 * (1 - level)
    low, high = np.percentile(values_R, [tail, 100 - tail])
    return float(low), float(high)

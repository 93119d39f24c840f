"""AP and AR of resampled images, and the interval of a difference of two: a paired bootstrap over images.

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

    category: int  # COCO's id
    image_D: NDArray[np.int64]  # position of the detection's image
    hit_TD: NDArray[np.bool_]  # it finds an object
    ignored_TD: NDArray[np.bool_]  # it counts neither way, as one on a crowd
    objects_I: NDArray[np.int64]


def category_matches(evaluation: COCOeval, area: int = 0, most: int = 100) -> list[CategoryMatches]:
    """The matches of an evaluation by category; categories without an object are left out.

    Args:
        area: which sizes of objects count, COCO's order: any, small, medium, large.
        most: how many detections of each image count, the best.
    """
    parameters: Any = evaluation.params
    images, areas = len(parameters.imgIds), len(parameters.areaRng)
    found: list[Any] = evaluation.evalImgs  # by category, then by size of objects
    categories = []
    for number, category in enumerate(parameters.catIds):
        start = (number * areas + area) * images
        rows = [(place, row) for place, row in enumerate(found[start : start + images]) if row is not None]
        objects_I = np.zeros(images, np.int64)
        for place, row in rows:
            objects_I[place] = int((np.asarray(row["gtIgnore"]) == 0).sum())
        if objects_I.any():
            categories.append(_category(int(category), rows, objects_I, most))
    return categories


def _category(
    category: int, rows: Sequence[tuple[int, Any]], objects_I: NDArray[np.int64], most: int
) -> CategoryMatches:
    scores = np.concatenate([np.asarray(row["dtScores"][:most], np.float64) for _, row in rows])
    order = np.argsort(-scores, kind="mergesort")  # as COCO's: equal scores stay in the order of their images
    image_D = np.concatenate([np.full(len(row["dtScores"][:most]), place, np.int64) for place, row in rows])
    hit_TD = np.concatenate([np.asarray(row["dtMatches"])[:, :most] for _, row in rows], axis=1) != 0
    ignored_TD = np.concatenate([np.asarray(row["dtIgnore"])[:, :most] for _, row in rows], axis=1) != 0
    order = order[~ignored_TD[:, order].all(axis=0)]
    return CategoryMatches(category, image_D[order], hit_TD[:, order], ignored_TD[:, order], objects_I)


def average_precision(categories: Sequence[CategoryMatches], counts_RI: NDArray[np.int64], grid: Floats) -> Floats:
    """COCO's AP of each resample, [R], -1 where it has no object.

    Args:
        counts_RI: how often each image is in each resample.
        grid: the recalls at which precision is averaged (COCO: 0, 0.01, ..., 1).
    """
    by_category = [precisions(category, counts_RI, grid).mean(axis=0) for category in categories]
    return mean_over_categories(by_category, len(counts_RI))


def mean_over_categories(by_category: Sequence[Floats], resamples: int) -> Floats:
    """The mean of a statistic over the categories that a resample has objects of, [R]; -1 where there is none.

    Args:
        by_category: the statistic of each category, [R], -1 where a resample has no object of it.
    """
    sums_R, present_R = np.zeros(resamples), np.zeros(resamples, np.int64)
    for values_R in by_category:
        sums_R += np.where(values_R >= 0, values_R, 0.0)
        present_R += values_R >= 0
    return np.where(present_R > 0, sums_R / np.maximum(present_R, 1), -1.0)


def recalls(category: CategoryMatches, counts_RI: NDArray[np.int64]) -> Floats:
    """COCO's AR of one category at each threshold of IoU, [T, R]: the share of objects found; -1 without one."""
    objects_R, images = counts_RI @ category.objects_I, counts_RI.shape[1]
    true_TD = category.hit_TD & ~category.ignored_TD
    found_TI = np.stack([np.bincount(category.image_D[true_D], minlength=images) for true_D in true_TD])
    return np.where(objects_R > 0, found_TI @ counts_RI.T / np.maximum(objects_R, 1), -1.0)


def precisions(category: CategoryMatches, counts_RI: NDArray[np.int64], grid: Floats) -> Floats:
    """AP of one category at each threshold of IoU, [T, R]; -1 where a resample has no object of it.

    Recall rises at hits alone, and the precision that COCO takes at a recall is the best at any later hit.
    """
    objects_R, weight_RI = counts_RI @ category.objects_I, counts_RI.astype(np.float64)
    found_TR = np.zeros((len(category.hit_TD), len(counts_RI)))
    for found_R, hit_D, ignored_D in zip(found_TR, category.hit_TD, category.ignored_TD, strict=True):
        true_D = hit_D & ~ignored_D
        if not true_D.any():
            continue
        kept_RK = weight_RI @ _kept_by_image(category.image_D, true_D, ignored_D, counts_RI.shape[1])
        true_RK = np.cumsum(counts_RI[:, category.image_D[true_D]], axis=1)
        precision_RK = true_RK / np.maximum(kept_RK, 1)
        best_RK = np.maximum.accumulate(precision_RK[:, ::-1], axis=1)[:, ::-1]
        recall_RK = true_RK / np.maximum(objects_R, 1)[:, None]
        reached_RK = np.where(true_RK > 0, np.searchsorted(grid, recall_RK, side="right"), 0)
        found_R[:] = (best_RK * np.diff(reached_RK, axis=1, prepend=0)).sum(axis=1) / len(grid)
    return np.where(objects_R > 0, found_TR, -1.0)


def _kept_by_image(
    image_D: NDArray[np.int64], true_D: NDArray[np.bool_], ignored_D: NDArray[np.bool_], images: int
) -> Floats:
    """How many detections of each image count up to each hit, [I, K]; a resample's number is their weighted sum.

    Summing them for every resample instead would take as long as there are detections, which are many more.
    """
    before_D, hits = np.cumsum(true_D) - true_D, int(true_D.sum())  # hits before each detection
    counted_D = ~ignored_D & (before_D < hits)
    cells = image_D[counted_D] * hits + before_D[counted_D]
    found_IK = np.bincount(cells, minlength=images * hits).reshape(images, hits)
    return np.cumsum(found_IK, axis=1).astype(np.float64)


def resampled_counts(images: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each of so many images is in each resample, [R, I]: drawn with replacement."""
    draw = np.random.Generator(np.random.PCG64(seed))
    return draw.multinomial(images, np.full(images, 1 / images), size=resamples)


def interval(values_R: Floats, level: float) -> tuple[float, float]:
    """The percentiles that leave out ``(1 - level) / 2`` of the values at either end."""
    tail = 50 * (1 - level)
    low, high = np.percentile(values_R, [tail, 100 - tail])
    return float(low), float(high)

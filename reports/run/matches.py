"""Which boxes a picture shows, and which of them are right. For pictures alone: COCO's AP counts every box.

Shapes: N and M boxes, [x, y, width, height] in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.run.records import Box, FrameworkRecords, RunRecords, Sample

SCORE, OVERLAP = 0.3, 0.5


@dataclass(frozen=True)
class Outcome:
    """The boxes of one framework on one image, best first, and the objects that none of them found."""

    found: tuple[Box, ...]
    false: tuple[Box, ...]
    missed: tuple[Box, ...]


def score_threshold(run: RunRecords) -> float:
    """The score from which boxes are shown, one for all frameworks.

    It is SCORE; where no model is that sure yet, half of the best score on the images of the pictures.
    """
    shown = {sample.image_id for sample in run.samples}
    results = [item for each in run.frameworks for split in each.predictions.values() for item in split]
    scores = [float(item["score"]) for item in results if int(item["image_id"]) in shown]
    return min(SCORE, max(scores, default=2 * SCORE) / 2)


def outcome(framework: FrameworkRecords, sample: Sample, categories: dict[int, str], threshold: float) -> Outcome:
    """Take the boxes from `threshold` on, drop duplicates, and match the rest with the objects.

    A box finds the object of its class that it overlaps most, by an IoU of OVERLAP or more, if no better-scored box
    has found it; a duplicate overlaps a better-scored box of its class by more than that.
    """
    boxes = _without_duplicates(_boxes(framework, sample, categories, threshold))
    truth = sample.ground_truth
    same_NM = np.array([[box.category == each.category for each in truth] for box in boxes], bool)
    iou_NM = overlaps(boxes, truth)
    place_N = pair(iou_NM, same_NM.reshape(iou_NM.shape))
    found = tuple(box for box, place in zip(boxes, place_N, strict=True) if place is not None)
    false = tuple(box for box, place in zip(boxes, place_N, strict=True) if place is None)
    return Outcome(found, false, tuple(each for place, each in enumerate(truth) if place not in place_N))


def pair(iou_NM: NDArray[np.float64], same_NM: NDArray[np.bool_]) -> list[int | None]:
    """The object that each box finds, best box first: of its class, not found yet, and overlapped most; else None.

    Args:
        same_NM: whether box and object are of one class.
    """
    free_M, found_N = np.ones(iou_NM.shape[1], bool), list[int | None]()
    for iou_M, same_M in zip(iou_NM, same_NM, strict=True):
        candidates_M = np.where(free_M & same_M, iou_M, 0.0)
        best = int(candidates_M.argmax()) if len(candidates_M) else -1
        found = best >= 0 and candidates_M[best] >= OVERLAP
        found_N.append(best if found else None)
        if found:
            free_M[best] = False
    return found_N


def _boxes(framework: FrameworkRecords, sample: Sample, categories: dict[int, str], threshold: float) -> list[Box]:
    """The boxes of one image whose score is `threshold` or more, best first."""
    results: list[dict[str, Any]] = framework.predictions.get(sample.split, [])
    boxes = []
    for item in results:
        if int(item["image_id"]) == sample.image_id and float(item["score"]) >= threshold:
            x, y, width, height = (float(value) for value in item["bbox"])
            name = categories.get(int(item["category_id"]), f"category {item['category_id']}")
            boxes.append(Box(name, (x, y, width, height), float(item["score"])))
    return sorted(boxes, key=lambda box: -(box.score or 0.0))


def _without_duplicates(boxes: list[Box]) -> list[Box]:
    iou_NN = overlaps(boxes, boxes)
    kept: list[int] = []
    for number, box in enumerate(boxes):
        better = [each for each in kept if boxes[each].category == box.category]
        if not (iou_NN[number, better] > OVERLAP).any():
            kept.append(number)
    return [boxes[number] for number in kept]


def overlaps(boxes: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """Intersection over union of every box with every other one, [N, M]; 0 where both are empty."""
    both_NM, area_N, area_M = _areas(boxes, others)
    return _divided(both_NM, area_N[:, None] + area_M[None] - both_NM)


def covered(boxes: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """The share of every other box that lies under each box, [N, M]; 0 for an empty one."""
    both_NM, _, area_M = _areas(boxes, others)
    return _divided(both_NM, np.broadcast_to(area_M, both_NM.shape))


def _areas(
    boxes: Sequence[Box], others: Sequence[Box]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Areas of the intersections [N, M], of the boxes [N] and of the others [M]."""
    left_N4, right_M4 = (np.array([box.bbox for box in each], float).reshape(-1, 4) for each in (boxes, others))
    start_NM2 = np.maximum(left_N4[:, None, :2], right_M4[None, :, :2])
    end_NM2 = np.minimum((left_N4[:, :2] + left_N4[:, 2:])[:, None], (right_M4[:, :2] + right_M4[:, 2:])[None])
    both_NM = np.maximum(end_NM2 - start_NM2, 0.0).prod(axis=-1)
    return both_NM, left_N4[:, 2:].prod(axis=1), right_M4[:, 2:].prod(axis=1)


def _divided(parts_NM: NDArray[np.float64], wholes_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(parts_NM, wholes_NM, out=np.zeros_like(parts_NM), where=wholes_NM > 0)

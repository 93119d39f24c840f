"""Training targets from the annotations of one image, in the steps of the official `CocoDetection`.

Shapes: N boxes that remain of the A annotations of one image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.data.categories import Classes
from experiments.data.coco import Annotation


class PixelTargets(NamedTuple):
    """`labels` [N] int64 in 0..K-1; `boxes_xyxy` [N, 4] float32, corners in pixels of the image."""

    labels: np.ndarray
    boxes_xyxy: np.ndarray


class ImageTargets(NamedTuple):
    """`labels` [N] int64 in 0..K-1; `boxes_cxcywh` [N, 4] float32, centre and size as fractions of the image's."""

    labels: np.ndarray
    boxes_cxcywh: np.ndarray


def build_targets(annotations: Sequence[Annotation], size_wh: tuple[int, int], classes: Classes) -> PixelTargets:
    """Drop crowds, clamp boxes to the image of `size_wh` pixels, drop boxes without width or height.

    An image without boxes gives arrays of length 0 and stays in training as a negative. Raises UserError for a
    category that is none of `classes`.
    """
    single = [annotation for annotation in annotations if not annotation.iscrowd]
    labels_A = np.array([classes.label_of(annotation.category_id) for annotation in single], dtype=np.int64)
    boxes_xyxy_A4 = clamped_boxes(single, size_wh)
    kept_A = (boxes_xyxy_A4[:, 2:] > boxes_xyxy_A4[:, :2]).all(axis=1)
    return PixelTargets(labels_A[kept_A], boxes_xyxy_A4[kept_A])


def normalised(targets: PixelTargets, size_wh: tuple[int, int]) -> ImageTargets:
    """Centres and sizes as fractions of an image of `size_wh` pixels."""
    low_N2, high_N2 = targets.boxes_xyxy[:, :2], targets.boxes_xyxy[:, 2:]
    size_whwh_4 = np.array([*size_wh, *size_wh], dtype=np.float32)
    boxes_cxcywh_N4 = np.concatenate([(low_N2 + high_N2) / 2, high_N2 - low_N2], axis=1) / size_whwh_4
    return ImageTargets(targets.labels, boxes_cxcywh_N4)


def clamped_boxes(annotations: Sequence[Annotation], size_wh: tuple[int, int]) -> np.ndarray:
    """The parts of the boxes inside the image, xyxy in pixels, [A, 4] float32; a box without such a part is empty:
    its right or lower side does not lie beyond the left or upper one."""
    boxes_xyxy_A4 = np.array([each.bbox_xywh for each in annotations], dtype=np.float32).reshape(-1, 4)
    boxes_xyxy_A4[:, 2:] += boxes_xyxy_A4[:, :2]
    return boxes_xyxy_A4.clip(0, np.array([*size_wh, *size_wh], dtype=np.float32))

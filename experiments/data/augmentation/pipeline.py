"""The official pipeline of training images: strong changes, flip, resize; small boxes are dropped twice.

Shapes: N boxes of one image.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.data.augmentation.annotated_image import AnnotatedImage
from experiments.data.augmentation.iou_crop import draw_window, iou_crop
from experiments.data.augmentation.photometric import distort, draw_distortion
from experiments.data.augmentation.zoom_out import draw_canvas
from experiments.data.images import flip_horizontal
from experiments.data.keyed_random import Draws, uniform
from experiments.data.targets import ImageTargets, normalised
from frameworks.config import AugmentationSpec
from frameworks.images import resize_bilinear


class DrawKey(NamedTuple):
    """What the changes to an image depend on, beside the spec."""

    seed: int
    epoch: int
    image_id: int


def augment(
    annotated: AnnotatedImage, spec: AugmentationSpec, key: DrawKey, size_hw: tuple[int, int]
) -> tuple[Image.Image, ImageTargets]:
    """Change an image as `spec` says and resize it to `size_hw`, (height, width) in pixels.

    Each kind of change has draws of its own, so that switching one off leaves the others as they were.
    """
    if not spec.strong_stop_epoch or key.epoch < spec.strong_stop_epoch:
        annotated = _change_strongly(annotated, spec, key)
    annotated = annotated.keep(_large_enough(annotated.targets.boxes_xyxy, spec.min_box_size))
    image, targets = annotated.image, normalised(annotated.targets, annotated.image.size)
    if uniform("flip", *key) < spec.horizontal_flip:
        image, boxes_cxcywh_N4 = flip_horizontal(image, targets.boxes_cxcywh)
        targets = targets._replace(boxes_cxcywh=boxes_cxcywh_N4)
    sizes_N2 = targets.boxes_cxcywh[:, 2:] * np.array(size_hw[::-1], dtype=np.float32)
    kept_N = (sizes_N2 >= spec.min_box_size).all(axis=1)
    return resize_bilinear(image, size_hw), ImageTargets(targets.labels[kept_N], targets.boxes_cxcywh[kept_N])


def _change_strongly(annotated: AnnotatedImage, spec: AugmentationSpec, key: DrawKey) -> AnnotatedImage:
    distortion = draw_distortion(Draws("photometric", *key), spec.photometric_distort)
    annotated = annotated._replace(image=distort(annotated.image, distortion))
    draws = Draws("zoom out", *key)
    if draws.chance(spec.zoom_out):
        annotated = annotated.cut(draw_canvas(draws, annotated.image.size))
    draws = Draws("iou crop", *key)
    if draws.chance(spec.iou_crop):
        window = draw_window(draws, annotated.image.size, annotated.targets.boxes_xyxy)
        annotated = annotated if window is None else iou_crop(annotated, window)
    return annotated


def _large_enough(boxes_xyxy_N4: np.ndarray, least_side: float) -> np.ndarray:
    return (boxes_xyxy_N4[:, 2:] - boxes_xyxy_N4[:, :2] >= least_side).all(axis=1)

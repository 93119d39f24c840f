"""IoU crop: a part of the image that overlaps some box enough, as torchvision's `RandomIoUCrop` with its defaults.

Shapes: N boxes of one image.
"""

import numpy as np

from experiments.data.augmentation.annotated_image import AnnotatedImage, Window
from experiments.data.keyed_random import Draws

SCALES = (0.3, 1.0)  # sides of the crop over those of the image
ASPECTS = (0.5, 2.0)  # width over height of the crop, in pixels
LEAST_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the crop and its best box; 1: the image stays whole
TRIALS = 40  # crops that are tried before another least IoU is drawn


def draw_window(draws: Draws, size_wh: tuple[int, int], boxes_xyxy_N4: np.ndarray) -> Window | None:
    """A crop of an image of `size_wh` pixels with boxes in pixels; None: the image stays whole.

    The crop has the centre of a box in it, and at least the drawn IoU with one of the boxes whose centres it has.
    """
    if not len(boxes_xyxy_N4):
        return None  # no crop could have a centre in it
    while (least_iou := LEAST_IOUS[draws.index(len(LEAST_IOUS))]) < 1:
        for _ in range(TRIALS):
            window = _candidate(draws, size_wh)
            if window is None:
                continue
            inside_N = centres_inside(boxes_xyxy_N4, window)
            if inside_N.any() and ious(boxes_xyxy_N4[inside_N], window).max() >= least_iou:
                return window
    return None


def iou_crop(annotated: AnnotatedImage, window: Window) -> AnnotatedImage:
    """Cut the image and those of its boxes whose centres are in `window`; drop the others."""
    return annotated.keep(centres_inside(annotated.targets.boxes_xyxy, window)).cut(window)


def _candidate(draws: Draws, size_wh: tuple[int, int]) -> Window | None:
    """A crop of allowed size and aspect, or None."""
    width, height = (int(side * draws.uniform(*SCALES)) for side in size_wh)
    if not width or not height or not ASPECTS[0] <= width / height <= ASPECTS[1]:
        return None
    left = int((size_wh[0] - width) * draws.uniform())
    top = int((size_wh[1] - height) * draws.uniform())
    return Window(left, top, left + width, top + height)


def centres_inside(boxes_xyxy_N4: np.ndarray, window: Window) -> np.ndarray:
    """Whether the centre of each box is inside `window` and not on its border; [N] bool."""
    centres_N2 = (boxes_xyxy_N4[:, :2] + boxes_xyxy_N4[:, 2:]) / 2
    return ((centres_N2 > window[:2]) & (centres_N2 < window[2:])).all(axis=1)


def ious(boxes_xyxy_N4: np.ndarray, window: Window) -> np.ndarray:
    """Intersection over union of each box and `window`, [N]."""
    overlaps_N2 = np.minimum(boxes_xyxy_N4[:, 2:], window[2:]) - np.maximum(boxes_xyxy_N4[:, :2], window[:2])
    common_N = overlaps_N2.clip(0).prod(axis=1)
    areas_N = (boxes_xyxy_N4[:, 2:] - boxes_xyxy_N4[:, :2]).prod(axis=1)
    area = (window.right - window.left) * (window.bottom - window.top)
    return common_N / (areas_N + area - common_N)

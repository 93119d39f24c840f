"""An image with its boxes, and the cut that moves both.

Shapes: N boxes of one image.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.data.targets import PixelTargets


class Window(NamedTuple):
    """A rectangle in pixels of an image, as Pillow gives one; it may reach beyond the image."""

    left: int
    top: int
    right: int
    bottom: int


class AnnotatedImage(NamedTuple):
    """An 8-bit RGB image and its targets in pixels."""

    image: Image.Image
    targets: PixelTargets

    def keep(self, kept_N: np.ndarray) -> "AnnotatedImage":
        """The image with those boxes alone where `kept_N` is true, and their labels."""
        labels_N, boxes_xyxy_N4 = self.targets
        return self._replace(targets=PixelTargets(labels_N[kept_N], boxes_xyxy_N4[kept_N]))

    def cut(self, window: Window) -> "AnnotatedImage":
        """The part of the image in `window`, black where the image does not reach; boxes end at its border."""
        size_whwh_4 = np.array([window.right - window.left, window.bottom - window.top] * 2, dtype=np.float32)
        corner_4 = np.array([window.left, window.top] * 2, dtype=np.float32)
        boxes_xyxy_N4 = (self.targets.boxes_xyxy - corner_4).clip(0, size_whwh_4)
        return AnnotatedImage(self.image.crop(window), self.targets._replace(boxes_xyxy=boxes_xyxy_N4))

"""Annotated images, and what training changes of them. Decoding and resizing: frameworks/images.py.

Shapes: H, W image height and width; N boxes of one image.
"""

import numpy as np
from PIL import Image

from experiments.data.coco import CocoSplit
from frameworks.images import load_image


def load_annotated(split: CocoSplit, image_id: int) -> Image.Image:
    """The RGB image `image_id` of `split`, in its annotations' frame. Raises UserError as `load_image` does."""
    record = split.images[image_id]
    return load_image(split.image_folder / record.file_name, (record.width, record.height))


def resize_nearest(pixels_HW3: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize [H, W, 3] to (height, width) in pixels by repeating or leaving out rows and columns.

    The rows and columns are those that PyTorch's `interpolate` takes in its default mode, as the official
    multi-scale training does: the index is rounded down after a multiplication in float32.
    """
    if pixels_HW3.shape[:2] == size_hw:
        return pixels_HW3
    rows_H, columns_W = (
        np.floor(np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new)))
        .astype(int)
        .clip(max=old - 1)
        for old, new in zip(pixels_HW3.shape[:2], size_hw, strict=True)
    )
    return pixels_HW3[rows_H][:, columns_W]


def flip_horizontal(image: Image.Image, boxes_cxcywh_N4: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Mirror left and right; boxes are normalised cxcywh, [N, 4], and are returned as a new array."""
    flipped_cxcywh_N4 = boxes_cxcywh_N4.copy()
    flipped_cxcywh_N4[:, 0] = 1 - boxes_cxcywh_N4[:, 0]
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), flipped_cxcywh_N4

"""One image of a batch: the task that describes it completely, and the work that the task asks for.

Shapes: H, W height and width of the input of the model; N boxes of one image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data.augmentation.annotated_image import AnnotatedImage
from experiments.data.augmentation.pipeline import DrawKey, augment
from experiments.data.images import resize_nearest
from experiments.data.targets import ImageTargets, PixelTargets, normalised
from frameworks.config import AugmentationSpec
from frameworks.images import load_image, resize_bilinear


@dataclass(frozen=True)
class ExampleTask:
    """An image to prepare, with everything that its preparation depends on.

    `size_wh`: pixels of the file in its annotations' frame; `image_size`: (height, width) to which it is resized;
    `input_size`: (height, width) of its batch, other than `image_size` in multi-scale training; without
    `augmentation` the image is only resized.
    """

    path: Path
    size_wh: tuple[int, int]
    targets: PixelTargets
    key: DrawKey
    image_size: tuple[int, int]
    input_size: tuple[int, int]
    augmentation: AugmentationSpec | None = None


class Example(NamedTuple):
    """A prepared image: `pixels` [H, W, 3] uint8, and its targets."""

    pixels: np.ndarray
    targets: ImageTargets


def prepare_example(task: ExampleTask) -> Example:
    """Decode, augment and resize the image of `task`. Raises UserError for a file that is not the image."""
    image = load_image(task.path, task.size_wh)
    if task.augmentation is None:
        image, targets = resize_bilinear(image, task.image_size), normalised(task.targets, task.size_wh)
    else:
        annotated = AnnotatedImage(image, task.targets)
        image, targets = augment(annotated, task.augmentation, task.key, task.image_size)
    return Example(resize_nearest(np.asarray(image), task.input_size), targets)

"""Batches of images and targets, the same for every framework and every resumed run.

Shapes: B images a batch, N boxes of all its images together, H and W height and width of the model's input.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from experiments.data.augmentation.pipeline import DrawKey
from experiments.data.coco import CocoSplit
from experiments.data.keyed_random import Draws, uniform
from experiments.data.preparation.client import prepare_elsewhere
from experiments.data.preparation.example import ExampleTask
from experiments.data.targets import ImageTargets, build_targets
from frameworks.config import AugmentationSpec
from frameworks.errors import UserError
from frameworks.images import to_chw
from frameworks.threads import cores

_AHEAD = 2  # batches prepared while the framework computes: one may take longer than a step, few take memory
WORKERS = min(8, max(2, cores()))  # processes by default
_STRIDE = 32  # sides of an input are multiples of the coarsest stride


@dataclass(frozen=True)
class Batch:
    """One batch as NumPy arrays.

    `arrays`: `images` [B, 3, H, W] float32 in [0, 1]; `labels` [N] int64 and `boxes` [N, 4] float32 normalised
    cxcywh, those of all images one after the other; `counts` [B] int64, boxes of each image;
    `original_sizes_wh` [B, 2] int64, pixels before the resize.
    """

    image_ids: list[int]
    arrays: dict[str, np.ndarray]


def batch_count(images: int, batch_size: int, *, drop_last: bool) -> int:
    """Number of batches of an epoch of `images` images."""
    return images // batch_size if drop_last else math.ceil(images / batch_size)


@dataclass(frozen=True)
class EpochOrder:
    """How the epochs of one training cut, shuffle and augment their images.

    `image_size` is (height, width) in pixels; multi-scale batches have the sizes of `augmentation.scales` instead.
    """

    seed: int
    batch_size: int
    image_size: tuple[int, int]
    augmentation: AugmentationSpec
    drop_last: bool = True
    shuffle: bool = True

    def image_ids(self, ids: Sequence[int], epoch: int) -> list[list[int]]:
        """The image ids of every batch of an epoch."""
        order = list(ids)
        if self.shuffle:
            order.sort(key=lambda image_id: (uniform("order", self.seed, epoch, image_id), image_id))
        count = batch_count(len(ids), self.batch_size, drop_last=self.drop_last)
        return [order[self.batch_size * number : self.batch_size * (number + 1)] for number in range(count)]

    def input_size(self, epoch: int, number: int) -> tuple[int, int]:
        """Height and width of batch `number` of an epoch, in pixels.

        A drawn side is that of a square. A rectangle keeps its aspect: the side becomes its longer one, the other
        follows in multiples of 32.
        """
        scales, stop = self.augmentation.scales, self.augmentation.scales_stop_epoch
        if not scales or (stop and epoch >= stop):
            return self.image_size
        side = scales[Draws("scale", self.seed, epoch, number).index(len(scales))]
        height, width = (
            max(_STRIDE, round(side * each / max(self.image_size) / _STRIDE) * _STRIDE) for each in self.image_size
        )
        return height, width


def epoch_batches(
    split: CocoSplit, ids: Sequence[int], order: EpochOrder, epoch: int, *, start: int = 0, workers: int = WORKERS
) -> Iterator[Batch]:
    """The training batches of one epoch, counted from 0, from batch `start` on.

    Order, changes and sizes are functions of (seed, epoch, image id or number of the batch): they depend neither on
    the order of `ids`, nor on earlier epochs and batches, nor on `workers`, the number of processes that decode and
    augment. Without `shuffle` the order is that of `ids`.

    Raises:
        UserError: at once for arguments out of range, unknown or repeated ids, and an epoch without a batch; while
            iterating for an image that cannot be read.
    """
    _check(split, ids, order.image_size, batch_size=order.batch_size, workers=workers)
    for name, value in {"epoch": epoch, "start": start}.items():
        if value < 0:
            raise UserError(f"{name} is {value}; {name} is counted from 0")
    chunks = order.image_ids(ids, epoch)
    if not chunks:
        size = order.batch_size
        raise UserError(f"{len(ids)} images make no full batch of {size}; use a smaller batch or more images")

    def task(image_id: int, number: int) -> ExampleTask:
        plain = _plain_task(split, image_id, order.image_size)
        key, input_size = DrawKey(order.seed, epoch, image_id), order.input_size(epoch, number)
        return replace(plain, key=key, augmentation=order.augmentation, input_size=input_size)

    numbers = range(start, len(chunks))
    return _stream(([task(image_id, number) for image_id in chunks[number]] for number in numbers), workers)


def evaluation_batches(
    split: CocoSplit,
    ids: Sequence[int],
    *,
    batch_size: int,
    image_size: tuple[int, int],
    workers: int = WORKERS,
) -> Iterator[Batch]:
    """All images `ids` in their order, resized to `image_size`, (height, width); the last batch may be smaller.

    Raises UserError as `epoch_batches` does.
    """
    _check(split, ids, image_size, batch_size=batch_size, workers=workers)
    chunks = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
    return _stream(([_plain_task(split, image_id, image_size) for image_id in chunk] for chunk in chunks), workers)


def _check(split: CocoSplit, ids: Sequence[int], image_size: tuple[int, int], **positive: int) -> None:
    if min(image_size) < 1:
        raise UserError(f"image_size is {image_size}; expected a height and a width of 1 or more")
    for name, value in positive.items():
        if value < 1:
            raise UserError(f"{name} is {value}; expected 1 or more")
    if not ids:
        raise UserError(f"no image ids were given for the {split.name} split; choose at least one image")
    if len(set(ids)) != len(ids):
        raise UserError(f"{len(ids) - len(set(ids))} image ids occur twice; give each image once")
    unknown = [image_id for image_id in ids if image_id not in split.images]
    if unknown:
        raise UserError(
            f"image id {unknown[0]} is not in {split.annotation_file} ({len(unknown)} of {len(ids)} ids are not); "
            "choose ids of that split"
        )


def _plain_task(split: CocoSplit, image_id: int, image_size: tuple[int, int]) -> ExampleTask:
    """The task to decode and resize an image, without a random change."""
    record = split.images[image_id]
    size_wh = (record.width, record.height)
    targets = build_targets(split.annotations[image_id], size_wh, split.classes)
    path = split.image_folder / record.file_name
    return ExampleTask(path, size_wh, targets, DrawKey(0, 0, image_id), image_size, image_size)


class _PendingBatch:
    """A batch whose images are being prepared; threads of `pool` each wait for a process and fill one image in."""

    def __init__(self, tasks: list[ExampleTask], pool: ThreadPoolExecutor) -> None:
        self._tasks = tasks
        self._images_B3HW = np.empty((len(tasks), 3, *tasks[0].input_size), dtype=np.float32)
        self._targets = [
            pool.submit(_prepare_into, image_3HW, task)
            for image_3HW, task in zip(self._images_B3HW, tasks, strict=True)
        ]

    def result(self) -> Batch:
        """Wait for the batch. Raises UserError for an image that cannot be read."""
        targets = [future.result() for future in self._targets]
        arrays = {
            "images": self._images_B3HW,
            "labels": np.concatenate([each.labels for each in targets]),
            "boxes": np.concatenate([each.boxes_cxcywh for each in targets]),
            "counts": np.array([len(each.labels) for each in targets], dtype=np.int64),
            "original_sizes_wh": np.array([task.size_wh for task in self._tasks], dtype=np.int64),
        }
        return Batch([task.key.image_id for task in self._tasks], arrays)


def _prepare_into(image_3HW: np.ndarray, task: ExampleTask) -> ImageTargets:
    example = prepare_elsewhere(task)
    to_chw(example.pixels, image_3HW)
    return example.targets


def _stream(batches: Iterable[list[ExampleTask]], workers: int) -> Iterator[Batch]:
    """Prepare `workers` examples at a time, some batches ahead of the one in use, and yield batches in order."""
    pending: deque[_PendingBatch] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        for tasks in batches:
            pending.append(_PendingBatch(tasks, pool))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the caller stops early
        pool.shutdown(cancel_futures=True)

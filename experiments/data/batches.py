"""Batches of images and targets, the same for every framework and every resumed run.

Shapes: B images a batch, N boxes of all its images together, S the side of the square input.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from experiments.data.coco import CocoSplit
from experiments.data.images import flip_horizontal, load_annotated, resize_bilinear, to_chw
from experiments.data.keyed_random import uniform
from experiments.data.targets import ImageTargets, build_targets
from frameworks.errors import UserError

_AHEAD = 1  # batches prepared while the framework computes: enough to hide decoding, little memory


@dataclass(frozen=True)
class Batch:
    """One batch as NumPy arrays.

    `arrays`: `images` [B, 3, S, S] float32 in [0, 1]; `labels` [N] int64 and `boxes` [N, 4] float32 normalised
    cxcywh, those of all images one after the other; `counts` [B] int64, boxes of each image;
    `original_sizes_wh` [B, 2] int64, pixels before the resize.
    """

    image_ids: list[int]
    arrays: dict[str, np.ndarray]


class _Example(NamedTuple):
    pixels: np.ndarray  # [3, S, S]
    targets: ImageTargets
    size_wh: tuple[int, int]


def batch_count(images: int, batch_size: int, *, drop_last: bool) -> int:
    """Number of batches of an epoch of `images` images."""
    return images // batch_size if drop_last else math.ceil(images / batch_size)


@dataclass(frozen=True)
class EpochOrder:
    """How the epochs of one training cut and shuffle their images; `image_size` is the side S in pixels."""

    seed: int
    batch_size: int
    image_size: int
    flip_probability: float = 0.5
    drop_last: bool = True
    shuffle: bool = True

    def image_ids(self, ids: Sequence[int], epoch: int) -> list[list[int]]:
        """The image ids of every batch of an epoch."""
        order = list(ids)
        if self.shuffle:
            order.sort(key=lambda image_id: (uniform("order", self.seed, epoch, image_id), image_id))
        count = batch_count(len(ids), self.batch_size, drop_last=self.drop_last)
        return [order[self.batch_size * number : self.batch_size * (number + 1)] for number in range(count)]


def epoch_batches(
    split: CocoSplit, ids: Sequence[int], order: EpochOrder, epoch: int, *, start: int = 0, workers: int = 2
) -> Iterator[Batch]:
    """The training batches of one epoch, counted from 0, from batch `start` on.

    Order and flips are functions of (seed, epoch, image id): they depend neither on the order of `ids`, nor on
    earlier epochs, nor on `workers`, the number of decoding threads. Without `shuffle` the order is that of `ids`.

    Raises:
        UserError: at once for arguments out of range, unknown or repeated ids, and an epoch without a batch; while
            iterating for an image that cannot be read.
    """
    _check(split, ids, batch_size=order.batch_size, image_size=order.image_size, workers=workers)
    if not 0 <= order.flip_probability <= 1:
        raise UserError(f"flip_probability is {order.flip_probability}; expected a probability from 0 to 1")
    if epoch < 0:
        raise UserError(f"epoch is {epoch}; epochs are counted from 0")
    chunks = order.image_ids(ids, epoch)
    if not chunks:
        size = order.batch_size
        raise UserError(f"{len(ids)} images make no full batch of {size}; use a smaller batch or more images")

    def prepare(image_id: int) -> _Example:
        flip = uniform("flip", order.seed, epoch, image_id) < order.flip_probability
        return _example(split, image_id, order.image_size, flip=flip)

    return _stream(chunks[start:], prepare, workers)


def evaluation_batches(
    split: CocoSplit, ids: Sequence[int], *, batch_size: int, image_size: int, workers: int = 2
) -> Iterator[Batch]:
    """All images `ids` in their order, without flips; the last batch may be smaller.

    Raises UserError as `epoch_batches` does.
    """
    _check(split, ids, batch_size=batch_size, image_size=image_size, workers=workers)
    chunks = [list(ids[start : start + batch_size]) for start in range(0, len(ids), batch_size)]
    return _stream(chunks, lambda image_id: _example(split, image_id, image_size, flip=False), workers)


def _check(split: CocoSplit, ids: Sequence[int], **positive: int) -> None:
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


def _example(split: CocoSplit, image_id: int, image_size: int, *, flip: bool) -> _Example:
    record = split.images[image_id]
    size_wh = (record.width, record.height)
    image = load_annotated(split, image_id)
    targets = build_targets(split.annotations[image_id], size_wh)
    if flip:
        image, boxes_cxcywh_N4 = flip_horizontal(image, targets.boxes_cxcywh)
        targets = targets._replace(boxes_cxcywh=boxes_cxcywh_N4)
    return _Example(to_chw(resize_bilinear(image, (image_size, image_size))), targets, size_wh)


def _stream(chunks: Sequence[list[int]], prepare: Callable[[int], _Example], workers: int) -> Iterator[Batch]:
    """Prepare examples on threads (Pillow decodes and resizes outside Python's lock), yield batches in order."""
    pending: deque[tuple[list[int], list[Future[_Example]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        for chunk in chunks:
            pending.append((chunk, [pool.submit(prepare, image_id) for image_id in chunk]))
            if len(pending) > _AHEAD:
                yield _collate(*pending.popleft())
        while pending:
            yield _collate(*pending.popleft())
    finally:  # also when the caller stops early
        pool.shutdown(cancel_futures=True)


def _collate(image_ids: list[int], futures: list[Future[_Example]]) -> Batch:
    examples = [future.result() for future in futures]
    arrays = {
        "images": np.stack([example.pixels for example in examples]),
        "labels": np.concatenate([example.targets.labels for example in examples]),
        "boxes": np.concatenate([example.targets.boxes_cxcywh for example in examples]),
        "counts": np.array([len(example.targets.labels) for example in examples], dtype=np.int64),
        "original_sizes_wh": np.array([example.size_wh for example in examples], dtype=np.int64),
    }
    return Batch(image_ids, arrays)

"""Time the decoding and augmentation of images, to compare it with the steps of a training.

    python -m experiments.benchmarks.images --data COCO

Prints images per second for the flip alone and for the official augmentation, by image size and number of
processes. A pipeline is fast enough when that is more than a step's batch size over its seconds.
"""

import contextlib
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import cast

from experiments.command import COMPLETE, Parser, run_command
from experiments.data.batches import Batch, EpochOrder, epoch_batches
from experiments.data.coco import CocoSplit, load_split
from frameworks.config import AugmentationSpec, preset
from frameworks.errors import UserError

_BATCH_SIZE = 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: _time(arguments))


def _time(arguments: list[str] | None) -> int:
    parser = Parser(prog="python -m experiments.benchmarks.images", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="folder in COCO's layout")
    parser.add_argument("--image-size", type=int, nargs="+", default=[160, 640], metavar="PX")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--images", type=int, default=120, metavar="N", help="timed in each row (default: 120)")
    given = parser.parse_args(arguments)
    split = load_split(given.data, "train")
    if given.images < 1 or min(given.image_size) < 1:
        raise UserError(f"{given.images} images of {given.image_size} pixels asked for; expected 1 or more")
    official = replace(preset("rtdetr_r18vd").data.augmentation, scales=())
    flip = AugmentationSpec(photometric_distort=0, zoom_out=0, iou_crop=0, min_box_size=0)
    print("| augmentation | image size | processes | images/s |\n|---|---|---|---|")
    for name, augmentation in {"flip": flip, "official": official}.items():
        for side in given.image_size:
            order = EpochOrder(0, min(_BATCH_SIZE, len(split.images)), (side, side), augmentation)
            for workers in given.workers:
                rate = images_per_second(split, order, given.images, workers)
                print(f"| {name} | {side} | {workers} | {rate:.1f} |", flush=True)
    return COMPLETE


def images_per_second(split: CocoSplit, order: EpochOrder, images: int, workers: int) -> float:
    """Time at least `images` images, epoch after epoch; the first batch, which starts processes, is not counted."""
    done, begin = -order.batch_size, time.perf_counter()
    epoch = 0
    while True:
        batches = epoch_batches(split, list(split.images), order, epoch, workers=workers)
        with contextlib.closing(cast(Generator[Batch, None, None], batches)):
            for batch in batches:
                done += len(batch.image_ids)
                if done <= 0:
                    begin = time.perf_counter()
                elif done >= images:
                    return done / (time.perf_counter() - begin)
        epoch += 1


if __name__ == "__main__":
    sys.exit(main())

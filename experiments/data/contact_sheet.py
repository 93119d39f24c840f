"""Draw what the augmentation makes of one image, epoch after epoch, with its boxes, as one picture.

    python -m experiments.data.contact_sheet --data COCO --image 139 --out sheet.png

The first tile is the image as evaluation sees it, the others are those of the epochs of a training with the
same seed, but for their size.
"""

import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from experiments.command import COMPLETE, Parser, run_command
from experiments.data.batches import Batch, EpochOrder, epoch_batches, evaluation_batches
from experiments.data.coco import CocoSplit, load_split
from frameworks.config import load_spec
from frameworks.errors import UserError

_GAP = 4  # pixels between tiles
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#f032e6")


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: _draw(arguments))


def _draw(arguments: list[str] | None) -> int:
    parser = Parser(prog="python -m experiments.data.contact_sheet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="folder in COCO's layout")
    parser.add_argument("--image", type=int, help="id of a training image (default: the first with objects)")
    parser.add_argument("--preset", default="rtdetr_r18vd", help="whose augmentation: a preset or a YAML file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiles", type=int, default=20, help="default: 20")
    parser.add_argument("--side", type=int, default=160, help="longer side of a tile in pixels (default: 160)")
    parser.add_argument("--out", required=True, type=Path, help="PNG file to write")
    given = parser.parse_args(arguments)
    if given.tiles < 1 or given.side < 1:
        raise UserError(f"{given.tiles} tiles of {given.side} pixels asked for; expected 1 or more of each")
    split = load_split(given.data, "train")
    data = load_spec(given.preset).data
    height, width = (max(1, round(given.side * each / max(data.image_size))) for each in data.image_size)
    augmentation = replace(data.augmentation, scales=())
    order = EpochOrder(given.seed, batch_size=1, image_size=(height, width), augmentation=augmentation)
    image_id = given.image if given.image is not None else _first_with_objects(split)
    tiles = itertools.islice(_batches(split, image_id, order), given.tiles)
    sheet = contact_sheet([draw_boxes(batch) for batch in tiles])
    try:
        sheet.save(given.out, "PNG", optimize=True)
    except OSError as error:
        raise UserError(f"{given.out}: cannot be written ({error.strerror}); choose another file") from None
    print(f"image {image_id}, preset {given.preset}, seed {given.seed}: {given.out}")
    return COMPLETE


def _first_with_objects(split: CocoSplit) -> int:
    return next((image_id for image_id, found in split.annotations.items() if found), next(iter(split.images)))


def _batches(split: CocoSplit, image_id: int, order: EpochOrder) -> Iterator[Batch]:
    """The image as it is evaluated, then in each epoch of the training."""
    yield from evaluation_batches(split, [image_id], batch_size=1, image_size=order.image_size, workers=1)
    for epoch in itertools.count():
        yield from epoch_batches(split, [image_id], order, epoch, workers=1)


def draw_boxes(batch: Batch) -> Image.Image:
    """The first image of a batch with its boxes, one colour for each label."""
    pixels_HW3 = (batch.arrays["images"][0].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels_HW3)
    draw = ImageDraw.Draw(image)
    count, size_whwh_4 = batch.arrays["counts"][0], np.array(image.size * 2)
    for label, box in zip(batch.arrays["labels"][:count], batch.arrays["boxes"][:count], strict=True):
        x0, y0, x1, y1 = np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2]) * size_whwh_4
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=_COLOURS[label % len(_COLOURS)], width=2)
    return image


def contact_sheet(tiles: list[Image.Image]) -> Image.Image:
    """The tiles, all of one size, in rows on white; about as many rows as columns."""
    width, height = (side + _GAP for side in tiles[0].size)
    columns = math.ceil(math.sqrt(len(tiles)))
    sheet = Image.new("RGB", (columns * width - _GAP, math.ceil(len(tiles) / columns) * height - _GAP), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * width, index // columns * height))
    return sheet


if __name__ == "__main__":
    sys.exit(main())

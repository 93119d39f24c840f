"""A generated data set of coloured shapes in COCO's format, for machines without a network.

Each shape has the COCO category that looks most like it, so that labels, metrics and models are those of COCO.
"""

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from experiments.data.categories import COCO_NAMES
from experiments.data.coco import SplitName, annotation_path, image_folder
from frameworks.errors import UserError
from frameworks.files import write_atomically

MARKER = "SHAPES.txt"
DESCRIPTION = "twin-detr coloured shapes, not COCO"
_SCALE = 1000  # outlines are given in thousandths of the box
_CROWD_CATEGORY = 37
_FIRST_VAL_ID = 500_001  # the same for every size of the training split, so ids do not move when that grows
_ATTEMPTS = 30  # tries to place one object beside the others before it is left out


@dataclass(frozen=True)
class _Shape:
    """`draw` paints on a mask inside a box x0, y0, x1, y1; the colour is varied a little from object to object."""

    colour: tuple[int, int, int]
    draw: Callable[[ImageDraw.ImageDraw, tuple[int, int, int, int]], None]


def _disc(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    draw.ellipse(box, fill=255)


def _ring(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    draw.ellipse(box, outline=255, width=max(3, min(box[2] - box[0], box[3] - box[1]) // 5))


def _polygon(*points: tuple[int, int]) -> Callable[[ImageDraw.ImageDraw, tuple[int, int, int, int]], None]:
    def draw_polygon(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
        x0, y0, x1, y1 = box
        outline = [(x0 + (x1 - x0) * x // _SCALE, y0 + (y1 - y0) * y // _SCALE) for x, y in points]
        draw.polygon(outline, fill=255)

    return draw_polygon


_OCTAGON = ((293, 0), (707, 0), (1000, 293), (1000, 707), (707, 1000), (293, 1000), (0, 707), (0, 293))
# all of them darker than any background, so that greyscale hides none
SHAPES: dict[int, _Shape] = {
    13: _Shape((200, 40, 40), _polygon(*_OCTAGON)),  # stop sign
    37: _Shape((210, 110, 20), _disc),  # sports ball
    38: _Shape((60, 90, 210), _polygon((500, 0), (1000, 500), (500, 1000), (0, 500))),  # kite
    59: _Shape((140, 100, 20), _polygon((0, 0), (1000, 0), (500, 1000))),  # pizza, a slice of it
    60: _Shape((200, 90, 170), _ring),  # donut
    72: _Shape((40, 160, 120), _polygon((0, 0), (1000, 0), (1000, 1000), (0, 1000))),  # tv
}


@dataclass
class _Scene:
    """An image while it is being drawn; `boxes` are the x0, y0, x1, y1 that are taken."""

    canvas: Image.Image
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)


def write_shapes(destination: Path | str, *, train: int, val: int, seed: int) -> None:
    """Write `train` + `val` images of 200 to 400 pixels a side and their annotations; same arguments, same files.

    In each split the second image has no object, the third carries a crowd, and every fifth from the fourth on is
    greyscale. The folder appears under its name only when it is complete. Raises UserError if a count is below 1,
    if `destination` exists and is not empty, or if it cannot be written.
    """
    destination = Path(destination)
    if train < 1 or val < 1:
        raise UserError(f"{train} training and {val} validation shapes asked for; expected 1 or more of each")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError(f"{destination}: exists and is not empty; name a new folder for the shapes")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
        try:
            _write_split(unfinished, "train", train, first_id=1, seed=seed)
            _write_split(unfinished, "val", val, first_id=_FIRST_VAL_ID, seed=seed)
            write_atomically(unfinished / MARKER, f"{DESCRIPTION}: {train} train + {val} val, seed {seed}\n")
            unfinished.chmod(0o755)
            unfinished.replace(destination)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{destination}: cannot write the shapes ({error.strerror}); choose another folder"
        ) from None


def _write_split(root: Path, name: SplitName, count: int, *, first_id: int, seed: int) -> None:
    folder = image_folder(root, name)
    folder.mkdir()
    images, annotations = [], []
    for index in range(count):
        image_id = first_id + index
        # seeded by the position in the split, so a larger data set begins with the smaller one's images
        scene = _draw_scene(random.Random(f"{seed}/{name}/{index}"), index)
        file_name = f"{image_id:012d}.png"  # lossless: the pixels do not depend on the JPEG library at hand
        scene.canvas.save(folder / file_name)
        width, height = scene.canvas.size
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for found in scene.objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **found})
    document = {
        "info": {"description": DESCRIPTION},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": each, "name": COCO_NAMES[each]} for each in SHAPES],
    }
    write_atomically(annotation_path(root, name), json.dumps(document))


def _draw_scene(random_: random.Random, index: int) -> _Scene:
    scene = _Scene(_background(random_))
    if index == 2:
        _add_crowd(scene, random_)
    if index != 1:
        for _ in range(random_.randint(2, 6)):
            _add_object(scene, random_)
    if index % 5 == 3:
        scene.canvas = scene.canvas.convert("L")
    return scene


def _background(random_: random.Random) -> Image.Image:
    """A plain light colour that gets a little lighter from top to bottom."""
    width, height = random_.randint(200, 400), random_.randint(200, 400)
    base_3 = np.array([random_.randint(180, 230) for _ in range(3)])
    rows_H13 = base_3 + (np.arange(height) * 20 // height)[:, None, None]
    return Image.fromarray(np.broadcast_to(rows_H13, (height, width, 3)).astype(np.uint8))


def _add_object(scene: _Scene, random_: random.Random) -> None:
    category = random_.choice(list(SHAPES))
    box = _free_box(scene, random_, random_.randint(24, 110), random_.randint(24, 110))
    if box is None:
        return
    mask = Image.new("L", scene.canvas.size)
    SHAPES[category].draw(ImageDraw.Draw(mask), box)
    _paint(scene, mask, category, random_, iscrowd=0)


def _add_crowd(scene: _Scene, random_: random.Random) -> None:
    """Many small discs in one box, as COCO marks a crowd of objects."""
    box = _free_box(scene, random_, 90, 60)
    if box is None:
        return
    mask = Image.new("L", scene.canvas.size)
    draw = ImageDraw.Draw(mask)
    for row in range(box[1], box[3] - 10, 12):
        for column in range(box[0], box[2] - 10, 12):
            _disc(draw, (column, row, column + 10, row + 10))
    _paint(scene, mask, _CROWD_CATEGORY, random_, iscrowd=1)


def _free_box(scene: _Scene, random_: random.Random, width: int, height: int) -> tuple[int, int, int, int] | None:
    """A box that touches no other, so that every annotated object is visible; None after too many tries."""
    for _ in range(_ATTEMPTS):
        x0 = random_.randint(0, scene.canvas.width - width - 1)
        y0 = random_.randint(0, scene.canvas.height - height - 1)
        box = (x0, y0, x0 + width, y0 + height)
        if all(box[0] > b[2] or box[2] < b[0] or box[1] > b[3] or box[3] < b[1] for b in scene.boxes):
            return box
    return None


def _paint(scene: _Scene, mask: Image.Image, category: int, random_: random.Random, *, iscrowd: int) -> None:
    """Paint the masked shape on the canvas; its exact box and area are measured on the mask."""
    colour = tuple(min(255, max(0, channel + random_.randint(-25, 25))) for channel in SHAPES[category].colour)
    scene.canvas.paste(colour, mask=mask)
    box = mask.getbbox()
    assert box is not None, "an empty mask has no object"
    scene.boxes.append(box)
    scene.objects.append(
        {
            "category_id": category,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "area": int(np.count_nonzero(np.asarray(mask))),
            "iscrowd": iscrowd,
        }
    )

"""Small data sets for the tests: COCO documents written by hand, shapes, and the real images if there are any."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.data.coco import CocoSplit, annotation_path, image_folder, load_split, parse_split
from experiments.data.shapes import write_shapes
from frameworks.errors import UserError

Document = dict[str, Any]
ROOT = Path("/nowhere")


def shapes(folder: Path, train: int = 7, val: int = 4, seed: int = 0) -> Path:
    """A data set of shapes under `folder`."""
    root = folder / f"shapes-{train}-{val}-{seed}"
    if not root.exists():
        write_shapes(root, train=train, val=val, seed=seed)
    return root


def document() -> Document:
    """Two images, three objects of two categories; the second image carries only a crowd."""
    return {
        "info": {"description": "written by hand"},
        "images": [
            {"id": 7, "file_name": "b.png", "width": 40, "height": 20},
            {"id": 3, "file_name": "a.png", "width": 30, "height": 50},
        ],
        "annotations": [
            annotation(2, 3, 1, [0.0, 0.0, 10.0, 10.0]),
            annotation(1, 3, 90, [5.0, 5.0, 10.0, 20.0]),
            annotation(9, 7, 1, [0.0, 0.0, 30.0, 10.0]) | {"iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    }


def annotation(id_: int, image_id: int, category_id: int, bbox_xywh: list[float]) -> Document:
    """One object as COCO writes it."""
    return {
        "id": id_,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": bbox_xywh,
        "area": bbox_xywh[2] * bbox_xywh[3],
        "iscrowd": 0,
        "segmentation": [[0, 0, 1, 0, 1, 1]],
    }


def split_of(per_image: dict[int, list[int]], order: list[int] | None = None) -> CocoSplit:
    """A split without files: image id -> category ids of its objects; `order` is that of the JSON's image list."""
    names = {1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane"}
    objects = [(image_id, category) for image_id, found in per_image.items() for category in found]
    written = {
        "images": [
            {"id": each, "file_name": f"{each}.png", "width": 9, "height": 9} for each in order or per_image
        ],
        "annotations": [annotation(n + 1, *pair, [1.0, 1.0, 5.0, 5.0]) for n, pair in enumerate(objects)],
        "categories": [{"id": each, "name": name} for each, name in names.items()],
    }
    return parse_split(written, ROOT, "train")


def write(root: Path, written: Document) -> Path:
    """Write a train split with plain images of the sizes the document gives."""
    image_folder(root, "train").mkdir(parents=True)
    annotation_path(root, "train").parent.mkdir()
    for row in written["images"]:
        Image.new("RGB", (row["width"], row["height"])).save(image_folder(root, "train") / row["file_name"])
    annotation_path(root, "train").write_text(json.dumps(written))
    return root


def real_coco(name: str) -> CocoSplit:
    """A split of the real images named by $COCO_ROOT; skips the test, with the reason, where there are none."""
    root = os.environ.get("COCO_ROOT")
    if not root:
        pytest.skip("COCO_ROOT names no folder of real COCO images, which this test is about")
    return load_split(root, "val" if name == "val" else "train")


def user_error(call: Callable[[], object], *fragments: str | Path) -> str:
    """Check that `call` fails with one line that has every fragment; returns the line."""
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line, f"more than one line: {line}"
    for fragment in fragments:
        assert str(fragment) in line, f"{fragment!r} is not in: {line}"
    return line


def own_classes(root: Path, names: list[str], first_id: int = 1, images: int = 4) -> Path:
    """A data set with a class for each name, ids from `first_id`, in COCO's layout: `images` images of 64x48 px a
    split, each with two objects, all classes in turn."""
    ids = range(first_id, first_id + len(names))
    for split in ("train", "val"):
        folder, path = root / f"{split}2017", root / f"annotations/instances_{split}2017.json"
        folder.mkdir(parents=True)
        path.parent.mkdir(exist_ok=True)
        objects = []
        for number in range(2 * images):
            category, box = ids[number % len(names)], [4.0 + 20 * (number % 2), 6.0, 18.0, 30.0]
            objects.append(annotation(number + 1, number // 2 + 1, category, box))
        rows = [{"id": n + 1, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(images)]
        for n, row in enumerate(rows):
            Image.new("RGB", (64, 48), (40 * n, 90, 200 - 40 * n)).save(folder / row["file_name"])
        listed = [{"id": id_, "name": name} for id_, name in zip(ids, names, strict=True)]
        path.write_text(json.dumps({"images": rows, "annotations": objects, "categories": listed}))
    return root


def voc_year(folder: Path, lists: dict[str, list[str]], objects: dict[str, list[str]]) -> Path:
    """One year of Pascal VOC: `lists` by name (train, val, ...) of image names, `objects` the XML text of each
    image's objects; images are 60x40 px."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for name, listed in lists.items():
        (folder / "ImageSets/Main" / f"{name}.txt").write_text("".join(f"{each}\n" for each in listed))
    for name, found in objects.items():
        Image.new("RGB", (60, 40), (200, 90, 30)).save(folder / "JPEGImages" / f"{name}.jpg")
        size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(found)}</annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    return folder


def voc_object(name: str, box_xyxy: tuple[float, float, float, float], difficult: int = 0) -> str:
    """The XML of one object; the corners stand in an order that some of VOC's files have."""
    x0, y0, x1, y1 = box_xyxy
    corners = f"<xmax>{x1}</xmax><xmin>{x0}</xmin><ymax>{y1}</ymax><ymin>{y0}</ymin>"
    flags = f"<pose>Left</pose><difficult>{difficult}</difficult>"
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    return f"<object><name>{name}</name>{flags}{part}<bndbox>{corners}</bndbox></object>"

"""What a detection tells: COCO's JSON for each framework, pictures with the boxes drawn, and lines of text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.data.categories import Classes
from experiments.detection.differences import Difference, shown_partners
from experiments.detection.model import Model
from experiments.detection.pictures import Picture
from frameworks.config import spec_hash
from frameworks.detector import Found
from frameworks.errors import UserError
from frameworks.files import replacing, write_atomically
from reports.frameworks import style_of
from reports.run.records import Box

LONGEST_SIDE = 2048  # pixels of a picture before the boxes are drawn; the page is 1022 px wide


class Document:
    """COCO's JSON of one framework's detections: ``images``, ``categories``, and ``annotations`` with scores."""

    def __init__(self, framework: str, model: Model, threshold: float) -> None:
        about = {"framework": framework, "source": model.source, "spec_hash": spec_hash(model.spec)}
        self.classes = model.classes
        self.info: dict[str, Any] = about | {"threshold": threshold, "skipped": []}
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, picture: Picture, found: Found, apart: Difference | None) -> None:
        """Add a picture and its detections; ``apart`` is the difference from the other framework."""
        (width, height), image_id = picture.image.size, len(self.images) + 1
        image = {"id": image_id, "file_name": str(picture.path), "width": width, "height": height}
        image |= {} if picture.frame is None else {"frame": picture.frame}
        image |= {} if apart is None else {"difference": vars(apart)}
        self.images.append(image)
        for label, score, box_xywh in zip(found.labels_N, found.scores_N, found.boxes_xywh(), strict=True):
            entry = {"id": len(self.annotations) + 1, "image_id": image_id, "score": float(score)}
            entry |= {"category_id": self.classes.id_of(int(label)), "bbox": [float(each) for each in box_xywh]}
            self.annotations.append(entry | {"area": float(box_xywh[2] * box_xywh[3]), "iscrowd": 0})

    def write(self, path: Path) -> None:
        """Write everything so far, atomically. Raises UserError where the file cannot be written."""
        ids_names = zip(self.classes.ids, self.classes.names, strict=True)
        categories = [{"id": category_id, "name": name} for category_id, name in ids_names]
        parts = {"info": self.info, "images": self.images, "categories": categories}
        text = json.dumps(parts | {"annotations": self.annotations}, ensure_ascii=False)
        write_atomically(path, text + "\n")


def boxes_of(found: Found, classes: Classes, scale: float = 1.0) -> list[Box]:
    """Detections as named boxes, best first, in pixels times ``scale``."""
    return [
        Box(classes.names[label], (x, y, width, height), score)
        for label, score, (x, y, width, height) in zip(
            found.labels_N.tolist(), found.scores_N.tolist(), (found.boxes_xywh() * scale).tolist(), strict=True
        )
    ]


def draw(image: Image.Image, found: Mapping[str, Found], classes: Classes, path: Path) -> Path:
    """Draw the detections of each framework side by side into a PNG, without duplicates, and return ``path``.

    Raises:
        UserError: the file cannot be written.
    """
    from reports.run.detections import draw_side_by_side  # only here: matplotlib takes a second

    scale = min(1.0, LONGEST_SIDE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    shown = {name: boxes_of(each, classes, scale) for name, each in found.items()}
    pixels_HW3 = np.asarray(image if scale == 1 else image.resize(size, Image.Resampling.BILINEAR))
    try:
        with replacing(path) as part:
            draw_side_by_side(pixels_HW3, shown, part)
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror}); choose a folder with space and rights") from None
    return path


def rows(every: Mapping[str, Found], classes: Classes, threshold: float) -> list[str]:
    """A line for each detection: class, then score and box [left, top, width, height]; partners on one line.

    A detection is shown if its score, or that of its partner in the other framework, is ``threshold`` or more.
    Two frameworks have a line of their names above.
    """
    boxes = [boxes_of(found, classes) for found in every.values()]
    above = [[number for number, box in enumerate(each) if (box.score or 0) >= threshold] for each in boxes]
    if len(every) == 1:
        return [_line(boxes[0][i].category, _text(boxes[0][i])) for i in above[0]]
    first, second = boxes
    one, other = every.values()
    pairs = dict(shown_partners(one, other, threshold))
    left = sorted({*above[0], *pairs})
    lines = [_line(first[i].category, _text(first[i]), _text(second[pairs[i]]) if i in pairs else "") for i in left]
    lines += [_line(second[j].category, "", _text(second[j])) for j in above[1] if j not in pairs.values()]
    return [_line("", *(style_of(name).label for name in every)), *lines] if lines else []


def _line(name: str, *columns: str) -> str:
    return f"  {name:<16} {' | '.join(f'{column:<42}' for column in columns)}".rstrip()


def _text(box: Box) -> str:
    return f"{box.score:.4f} [{', '.join(f'{value:7.1f}' for value in box.bbox)}]"

"""COCO's `instances` files as checked, immutable records.

    root/annotations/instances_{train,val}2017.json
    root/{train,val}2017/*.jpg

Every error of a data set is found here and named; all later code may assume valid input.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from experiments.data.categories import COCO_NAMES
from frameworks.errors import UserError

SplitName = Literal["train", "val"]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image; `file_name` is relative to the split's image folder, sizes are in pixels."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object; `bbox_xywh` (top left corner, size) and `area` are in pixels of the original image."""

    id: int
    image_id: int
    category_id: int
    bbox_xywh: tuple[float, float, float, float]
    area: float
    iscrowd: bool


@dataclass(frozen=True)
class CocoSplit:
    """One split.

    `images` and `annotations` are keyed by image id in ascending order, whatever the order of the JSON file;
    `annotations` has an entry, possibly empty, for every image.
    """

    root: Path
    name: SplitName
    image_folder: Path
    annotation_file: Path
    images: Mapping[int, ImageRecord]
    annotations: Mapping[int, tuple[Annotation, ...]]
    categories: Mapping[int, str]


def image_folder(root: Path, name: SplitName) -> Path:
    """Folder of the images of a split in COCO's layout."""
    return root / f"{name}2017"


def annotation_path(root: Path, name: SplitName) -> Path:
    """File of the annotations of a split in COCO's layout."""
    return root / "annotations" / f"instances_{name}2017.json"


def load_split(root: Path | str, name: SplitName) -> CocoSplit:
    """Read and check one split.

    Raises UserError for an unknown split name, a missing folder or file, broken JSON, missing or mistyped keys,
    repeated ids, and annotations of unknown images or categories. Image files are not opened here.
    """
    root = Path(root)
    if name not in ("train", "val"):
        raise UserError(f"split {name!r} is unknown; expected 'train' or 'val'")
    for folder in (root, image_folder(root, name)):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected COCO's layout: annotations/, train2017/, val2017/")
    path = annotation_path(root, name)
    try:
        with path.open("rb") as stream:
            document = read_document(stream, str(path))
    except OSError as error:
        raise UserError(
            f"{path}: cannot read ({error.strerror}); expected COCO's annotation file of the {name} split there"
        ) from None
    return parse_split(document, root, name)


def read_document(stream: IO[bytes], where: str) -> Document:
    """Parse an `instances` file without its segmentations, which take nine tenths of the memory of COCO's file.

    Raises UserError, naming `where`, if it is not a JSON object.
    """
    try:
        document = json.load(stream, object_hook=_without_segmentation)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error}); fetch or write the file again") from None
    if not isinstance(document, dict):
        raise UserError(
            f"{where}: expected a JSON object with images, annotations and categories, got a list or value"
        )
    return document


def _without_segmentation(mapping: Document) -> Document:
    mapping.pop("segmentation", None)
    return mapping


def parse_split(document: Document, root: Path, name: SplitName) -> CocoSplit:
    """Check a parsed `instances` document and turn it into a CocoSplit; raises UserError as `load_split` does."""
    path = annotation_path(root, name)
    categories = dict(_rows(document, "categories", path, _category))
    images: dict[int, ImageRecord] = {}
    for image in _rows(document, "images", path, _image):
        if image.id in images:
            raise UserError(f"{path}: image id {image.id} occurs twice; ids must be unique")
        images[image.id] = image
    if not images:
        raise UserError(f"{path}: 'images' is empty; expected at least one image")

    per_image: dict[int, list[Annotation]] = {image_id: [] for image_id in sorted(images)}
    seen: set[int] = set()
    for annotation in _rows(document, "annotations", path, _annotation):
        _check_references(annotation, seen, images, categories, path)
        seen.add(annotation.id)
        per_image[annotation.image_id].append(annotation)
    return CocoSplit(
        root=root,
        name=name,
        image_folder=image_folder(root, name),
        annotation_file=path,
        images={image_id: images[image_id] for image_id in per_image},
        # sorted by id: the order of targets decides between equal matches and must not depend on the file's
        annotations={
            image_id: tuple(sorted(found, key=lambda annotation: annotation.id))
            for image_id, found in per_image.items()
        },
        categories=dict(sorted(categories.items())),
    )


def _check_references(
    annotation: Annotation,
    seen: set[int],
    images: Mapping[int, ImageRecord],
    categories: Mapping[int, str],
    path: Path,
) -> None:
    where = f"{path}: annotation {annotation.id}"
    if annotation.id in seen:
        raise UserError(f"{where} occurs twice; annotation ids must be unique")
    if annotation.id < 1:  # COCOeval stores the matched id and reads 0 as "no match"
        raise UserError(f"{where}: ids must be 1 or more, pycocotools takes id 0 for 'no match'")
    if annotation.image_id not in images:
        raise UserError(f"{where} belongs to image {annotation.image_id}, which 'images' does not list")
    if annotation.category_id not in categories:
        raise UserError(f"{where} has category {annotation.category_id}, which 'categories' does not list")


def _rows(document: Document, key: str, path: Path, build: Callable[[Document], Any]) -> Iterator[Any]:
    """The records under `key`, each built with errors that name the file, the list and the position."""
    rows = document.get(key)
    if not isinstance(rows, list):
        found = "is missing" if rows is None else "is not a list"
        raise UserError(f"{path}: '{key}' {found}; expected COCO's 'instances' format")
    for index, row in enumerate(rows):
        try:
            yield build(row)
        except KeyError as error:
            raise UserError(f"{path}: {key}[{index}] has no {error}; expected COCO's 'instances' format") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{path}: {key}[{index}] is malformed ({error}); correct the file") from None


def _category(row: Document) -> tuple[int, str]:
    category_id, name = _integer(row, "id"), str(row["name"])
    expected = COCO_NAMES.get(category_id)
    # a data set with ids 1..N of its own would pass as person, bicycle, ...; its names show the error
    if name != expected:
        raise ValueError(
            f"id {category_id} is named {name!r}, in COCO it is {expected or 'not used'!r}; map it to COCO's"
        )
    return category_id, name


def _image(row: Document) -> ImageRecord:
    image = ImageRecord(_integer(row, "id"), str(row["file_name"]), _integer(row, "width"), _integer(row, "height"))
    if image.width < 1 or image.height < 1:
        raise ValueError(f"size {image.width}x{image.height}, expected at least 1x1")
    name = PurePosixPath(image.file_name)
    if not image.file_name or name.is_absolute() or ".." in name.parts:
        raise ValueError(f"file_name {image.file_name!r}, expected a path inside the split's image folder")
    return image


def _annotation(row: Document) -> Annotation:
    x, y, width, height = (float(value) for value in row["bbox"])
    area = float(row["area"])
    if not math.isfinite(x + y + width + height + area):
        raise ValueError(f"bbox {row['bbox']} or area {row['area']} is not finite")
    return Annotation(
        id=_integer(row, "id"),
        image_id=_integer(row, "image_id"),
        category_id=_integer(row, "category_id"),
        bbox_xywh=(x, y, width, height),
        area=area,
        iscrowd=bool(row.get("iscrowd", 0)),  # as in the official loader
    )


def _integer(row: Document, key: str) -> int:
    value = row[key]
    if not isinstance(value, int):
        raise TypeError(f"{key} is {value!r}, expected an integer")
    return value

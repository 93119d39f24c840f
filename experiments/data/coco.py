"""COCO's `instances` files as checked, immutable records.

    root/annotations/instances_{train,val}2017.json
    root/{train,val}2017/*.jpg

and the other places of `LAYOUTS`. Every error of a data set is found here and named; all later code may assume
valid input.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, TypeVar

from experiments.data.categories import COCO, Classes, classes_of
from experiments.data.findings import Finding, Tally
from experiments.data.json_stream import read_object
from experiments.data.values import flag, integer, number
from frameworks.errors import UserError
from frameworks.files import require_file

SplitName = Literal["train", "val"]
Document = dict[str, Any]
T = TypeVar("T")
# Names of annotation file and image folder of a split, COCO's own first; {} is "train", or "val" or "valid".
LAYOUTS = (
    ("annotations/instances_{}2017.json", "{}2017"),
    ("annotations/instances_{}2017.json", "images/{}2017"),
    ("annotations/instances_{}.json", "{}"),
    ("annotations/instances_{}.json", "images/{}"),
    ("annotations/instances_{}.json", "images"),
    ("{}/_annotations.coco.json", "{}"),
)
RENUMBERED = "annotation ids missing, repeated or below 1, replaced"
_WORDS = {"train": ("train",), "val": ("val", "valid")}


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
    `annotations` has an entry, possibly empty, for every image. `categories` are those that the file lists,
    `classes` those of the whole data set. `findings` tells what was changed while reading.
    """

    root: Path
    name: SplitName
    image_folder: Path
    annotation_file: Path
    images: Mapping[int, ImageRecord]
    annotations: Mapping[int, tuple[Annotation, ...]]
    categories: Mapping[int, str]
    classes: Classes = COCO
    findings: tuple[Finding, ...] = ()


def image_folder(root: Path, name: SplitName) -> Path:
    """Folder of the images of a split in COCO's layout."""
    return root / f"{name}2017"


def annotation_path(root: Path, name: SplitName) -> Path:
    """File of the annotations of a split in COCO's layout."""
    return root / "annotations" / f"instances_{name}2017.json"


def find_files(root: Path, name: SplitName) -> tuple[Path, Path]:
    """Annotation file and image folder of a split: the first of `LAYOUTS` that is there, or else COCO's."""
    for annotations, images in LAYOUTS:
        for word in _WORDS[name]:
            path, folder = root / annotations.format(word), root / images.format(word)
            if path.is_file() and folder.is_dir():
                return path, folder
    return annotation_path(root, name), image_folder(root, name)


def load_split(root: Path | str, name: SplitName) -> CocoSplit:
    """Read and check one split.

    Raises UserError for an unknown split name, a missing folder or file, broken JSON, missing or mistyped keys,
    repeated image ids, and annotations of unknown images or categories. Image files are not opened here.
    """
    root = Path(root)
    if name not in ("train", "val"):
        raise UserError(f"split {name!r} is unknown; expected 'train' or 'val'")
    path, images = find_files(root, name)
    for folder in (root, images):
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; expected annotations/, train2017/ and val2017/ as in COCO, or "
                "another layout of docs/training.md"
            )
    require_file(path)
    try:
        with path.open("rb") as stream:
            document = read_document(stream, str(path))
    except OSError as error:
        raise UserError(
            f"{path}: cannot read ({error.strerror}); expected COCO's annotation file of the {name} split there"
        ) from None
    return parse_split(document, root, name, files=(path, images))


def read_document(stream: IO[bytes], where: str) -> Document:
    """Parse an `instances` file without its segmentations, nine tenths of COCO's file, which is not read at once.

    Raises UserError, naming `where`, if it is not a JSON object.
    """
    try:
        return read_object(stream, _without_segmentation)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: no JSON object ({error}); fetch or write the file again") from None


def _without_segmentation(mapping: Document) -> Document:
    mapping.pop("segmentation", None)
    return mapping


def parse_split(
    document: Document, root: Path, name: SplitName, *, files: tuple[Path, Path] | None = None
) -> CocoSplit:
    """Check a parsed `instances` document and turn it into a CocoSplit; raises UserError as `load_split` does.

    `files` are annotation file and image folder where they are not COCO's.
    """
    path, folder = files or (annotation_path(root, name), image_folder(root, name))
    tally = Tally()
    categories = _by_id(_rows(document, "categories", path, lambda row: _category(row, tally)), "category", path)
    images = _by_id(_rows(document, "images", path, lambda row: _image(row, tally)), "image", path)
    if not images:
        raise UserError(f"{path}: 'images' is empty; expected at least one image")
    annotations: dict[int, list[Annotation]] = {image_id: [] for image_id in images}
    ids = iter(_annotation_ids(document, path, tally))
    for annotation in _rows(document, "annotations", path, lambda row: _annotation(row, next(ids), tally)):
        _check_references(annotation, images, categories, path)
        annotations[annotation.image_id].append(annotation)
    try:
        classes = classes_of(categories)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return CocoSplit(
        root=root,
        name=name,
        image_folder=folder,
        annotation_file=path,
        images=images,
        # sorted by id: the order of targets decides between equal matches and must not depend on the file's
        annotations={key: tuple(sorted(found, key=lambda each: each.id)) for key, found in annotations.items()},
        categories=categories,
        classes=classes,
        findings=tally.findings(),
    )


def _by_id(pairs: Iterable[tuple[int, T]], what: str, path: Path) -> dict[int, T]:
    found: dict[int, T] = {}
    for id_, value in pairs:
        if id_ in found:
            raise UserError(f"{path}: {what} id {id_} occurs twice; ids must be unique")
        found[id_] = value
    return dict(sorted(found.items(), key=lambda pair: pair[0]))


def _annotation_ids(document: Document, path: Path, tally: Tally) -> list[int]:
    """The id of every annotation, a new one where the file's cannot stay.

    COCOeval stores the id of a match and reads 0 as "no match", so ids have to be 1 or more and different.
    """
    given = _rows(document, "annotations", path, lambda row: integer(row, "id", tally) if "id" in row else 0)
    ids: list[int] = list(given)
    free = max([0, *ids]) + 1
    used: dict[int, None] = {}  # in order
    for index, annotation_id in enumerate(ids):
        unusable = annotation_id < 1 or annotation_id in used
        if unusable:
            tally.add("changed", RENUMBERED, f"annotations[{index}]: id {annotation_id} is now {free}")
        used[free if unusable else annotation_id] = None
        free += unusable
    return list(used)


def _check_references(
    annotation: Annotation, images: Mapping[int, ImageRecord], categories: Mapping[int, str], path: Path
) -> None:
    where = f"{path}: annotation {annotation.id}"
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


def _category(row: Document, tally: Tally) -> tuple[int, str]:
    category_id, name = integer(row, "id", tally), row["name"]
    if category_id < 0:
        raise ValueError(f"id is {category_id}, expected 0 or more")
    if not isinstance(name, (str, int)) or not str(name).strip():
        raise TypeError(f"name is {name!r}, expected text")
    if any("\ud800" <= letter <= "\udfff" for letter in str(name)):  # half of a letter, as \ud83d in JSON
        raise ValueError(f"name is {name!r}, which has half of a letter")
    return category_id, str(name)


def _image(row: Document, tally: Tally) -> tuple[int, ImageRecord]:
    width, height = integer(row, "width", tally), integer(row, "height", tally)
    image = ImageRecord(integer(row, "id", tally), str(row["file_name"]), width, height)
    if image.width < 1 or image.height < 1:
        raise ValueError(f"size {image.width}x{image.height}, expected at least 1x1")
    name = PurePosixPath(image.file_name)
    if not image.file_name or name.is_absolute() or ".." in name.parts:
        raise ValueError(f"file_name {image.file_name!r}, expected a path inside the split's image folder")
    return image.id, image


def _annotation(row: Document, id_: int, tally: Tally) -> Annotation:
    x, y, width, height = (number(value, "bbox", tally) for value in row["bbox"])
    return Annotation(
        id=id_,
        image_id=integer(row, "image_id", tally),
        category_id=integer(row, "category_id", tally),
        bbox_xywh=(x, y, width, height),
        area=number(row["area"], "area", tally),
        iscrowd=flag(row, "iscrowd", tally),
    )

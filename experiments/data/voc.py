"""Pascal VOC's layout, read into the records of COCO's.

    root/VOCdevkit/VOC2007, root/VOC2007 or root itself with Annotations/*.xml, JPEGImages/, ImageSets/Main/*.txt
    root/trainval.txt, test.txt (lines "IMAGE XML") and label_list.txt, as the official `VOCDetection` reads them

As in the official code, difficult objects are objects like any other and corners are taken as they stand. The
classes are VOC's 20, or those of `label_list.txt`, one a line; their labels serve as category ids.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.data.categories import Classes
from experiments.data.coco import Annotation, CocoSplit, ImageRecord, SplitName, find_files
from experiments.data.findings import Tally
from experiments.data.values import flag, number
from frameworks.errors import UserError
from frameworks.files import require_file
from frameworks.images import load_image

VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LABELS = "label_list.txt"
_OFFICIAL = {"train": "trainval.txt", "val": "test.txt"}
_SUFFIXES = (".jpg", ".jpeg", ".png")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Files(NamedTuple):
    image: Path
    annotation: Path


def is_voc(root: Path) -> bool:
    """Whether a folder has Pascal VOC's layout, and no annotation file of COCO's format."""
    has_json = find_files(root, "train")[0].is_file()
    return not has_json and (bool(_years(root)) or (root / _OFFICIAL["train"]).is_file())


def load_voc_split(root: Path, name: SplitName) -> CocoSplit:
    """Read and check one split of a folder in VOC's layout.

    With a `test.txt` as VOC2007 has one, training takes `trainval.txt` of every year and validation `test.txt`;
    without one, `train.txt` and `val.txt`. The id of an image is its position in the list, from 1.

    Raises UserError for missing or broken files and for an object of a class that is not listed.
    """
    classes = _classes(root)
    tally = Tally()
    images: dict[int, ImageRecord] = {}
    annotations: dict[int, tuple[Annotation, ...]] = {}
    count = 0
    lists = _lists(root, name)
    listed = [pair for path in lists for pair in _listed(root, path)]
    if not listed:
        raise UserError(f"{lists[0]}: lists no image; expected at least one")
    for image_id, files in enumerate(listed, start=1):
        tree = _parse(files.annotation)
        images[image_id] = _image(root, image_id, files, tree)
        objects = enumerate(tree.findall("object"), start=count + 1)
        found = tuple(_annotation(id_, image_id, each, classes, files, tally) for id_, each in objects)
        annotations[image_id], count = found, count + len(found)
    categories = dict(zip(classes.ids, classes.names, strict=True))
    return CocoSplit(root, name, root, lists[0], images, annotations, categories, classes, tally.findings())


def _years(root: Path) -> list[Path]:
    """The folders of VOC's years below `root`, or `root` itself."""
    candidates = [*sorted(root.glob("VOCdevkit/VOC*")), *sorted(root.glob("VOC*")), root]
    return [
        each for each in candidates if all((each / part).is_dir() for part in ("Annotations", "ImageSets/Main"))
    ]


def _lists(root: Path, name: SplitName) -> list[Path]:
    """The files that list the images of a split."""
    if (root / _OFFICIAL["train"]).is_file():
        return [root / _OFFICIAL[name]]
    years = [each / "ImageSets" / "Main" for each in _years(root)]
    tests = [year / "test.txt" for year in years if (year / "test.txt").is_file()]
    if tests and name == "val":
        return tests
    return [year / ("trainval.txt" if tests else f"{name}.txt") for year in years]


def _listed(root: Path, path: Path) -> Iterator[_Files]:
    """Image and annotation file of each line of a list."""
    for words in map(str.split, _lines(path)):
        if any(Path(word).is_absolute() or ".." in Path(word).parts for word in words):
            raise UserError(f"{path}: {' '.join(words)!r:.100} leaves the data set; expected files inside {root}")
        if path.parent == root and len(words) == 2:
            yield _Files(root / words[0], root / words[1])
        elif path.parent == root:
            raise UserError(f"{path}: the line {' '.join(words)!r} has no two parts; expected IMAGE XML")
        else:
            year = path.parents[2]
            candidates = [year / "JPEGImages" / f"{words[0]}{suffix}" for suffix in _SUFFIXES]
            image = next((each for each in candidates if each.is_file()), candidates[0])
            yield _Files(image, year / "Annotations" / f"{words[0]}.xml")


def _lines(path: Path) -> list[str]:
    require_file(path)
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{path}: cannot read ({reason}); expected a list of Pascal VOC's layout there") from None


def _classes(root: Path) -> Classes:
    path = root / LABELS
    names = tuple(line.strip() for line in _lines(path)) if path.is_file() else VOC_NAMES
    if not names or len(set(names)) != len(names):
        raise UserError(f"{path}: holds {len(set(names))} different of {len(names)} names; expected a class a line")
    return Classes(tuple(range(len(names))), names)


def _parse(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot()
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}), but a list names it") from None
    except (ET.ParseError, ValueError, LookupError) as error:  # the last two: of encodings
        raise UserError(f"{path}: not valid XML ({error}); fetch or write the file again") from None


def _image(root: Path, image_id: int, files: _Files, tree: ET.Element) -> ImageRecord:
    """The image's record; its size is the file's where the annotation, as some tools write it, gives none."""
    texts = [tree.findtext(f"size/{side}") or "0" for side in ("width", "height")]
    try:
        width, height = (int(number(text, "size", Tally())) for text in texts)
    except (TypeError, ValueError) as error:
        raise UserError(f"{files.annotation}: {error}; correct the file") from None
    if width < 1 or height < 1:
        width, height = load_image(files.image).size
    return ImageRecord(image_id, files.image.relative_to(root).as_posix(), width, height)


def _annotation(
    id_: int, image_id: int, found: ET.Element, classes: Classes, files: _Files, tally: Tally
) -> Annotation:
    name = (found.findtext("name") or "").strip()
    if name not in classes.names:
        raise UserError(
            f"{files.annotation}: an object is of the class {name!r}, which is none of {classes}; "
            f"list your classes in {LABELS}, one a line"
        )
    try:
        x0, y0, x1, y1 = (number(found.findtext(f"bndbox/{side}"), side, Tally()) for side in _CORNERS)
        difficult = flag({"difficult": found.findtext("difficult") or "0"}, "difficult", Tally())
    except (TypeError, ValueError) as error:
        raise UserError(f"{files.annotation}: a {name}: {error}; correct the file") from None
    if difficult:
        tally.add("changed", "marked difficult, taken like any other", f"a {name} in {files.annotation.name}")
    box_xywh = (x0, y0, x1 - x0, y1 - y0)
    return Annotation(id_, image_id, classes.names.index(name), box_xywh, box_xywh[2] * box_xywh[3], iscrowd=False)

"""The account of a data set: how many objects are trained on, and what becomes of every other one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.data.categories import COCO, COCO_NAMES
from experiments.data.coco import Annotation, CocoSplit, ImageRecord
from experiments.data.findings import Finding, Kind, Tally
from experiments.data.targets import clamped_boxes
from frameworks.config import DataSpec

_SMALL, _MEDIUM = 32**2, 96**2  # COCO's limits of the area, in pixels
_CORNER = 2.0  # pixels; a box within such a corner of the image is none that a person drew
_SHOWN = 3  # findings that the short form names
NORMALISED = "with coordinates that look normalised; expected pixels"


@dataclass(frozen=True)
class SplitAccount:
    """The account of the chosen images of one split.

    `objects` are all that are listed, `trained` those that become targets; `per_class` counts the latter by name in
    the order of the labels, `sizes` by COCO's sizes. `smallest` and `largest` image are (width, height) in pixels.
    """

    split: str
    images: int
    images_without_objects: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    objects: int
    trained: int
    per_class: dict[str, int]
    sizes: dict[str, int]
    findings: tuple[Finding, ...]

    def of_kind(self, kind: Kind) -> list[Finding]:
        """The findings of one kind, the most frequent first."""
        return sorted((each for each in self.findings if each.kind == kind), key=lambda each: -each.count)

    def to_dict(self) -> dict[str, Any]:
        """The account as plain data, for run.json."""
        return asdict(self)


def account_of(split: CocoSplit, ids: Iterable[int], data: DataSpec | None = None) -> SplitAccount:
    """Account for every object of the images `ids`, of which there is one or more.

    With `data`, objects that resizing makes smaller than `min_box_size` count as dropped, as they are in training.
    """
    tally = Tally()
    per_class: Counter[int] = Counter()
    sizes: dict[str, int] = dict.fromkeys(("small", "medium", "large"), 0)
    images = sorted((split.images[image_id] for image_id in ids), key=lambda image: image.width * image.height)
    empty = 0
    for image in images:
        targets = _targets(split, image, data, tally)
        empty += not targets
        for each in targets:
            per_class[each.category_id] += 1
            sizes["small" if each.area < _SMALL else "medium" if each.area < _MEDIUM else "large"] += 1
    return SplitAccount(
        split=split.name,
        images=len(images),
        images_without_objects=empty,
        smallest=(images[0].width, images[0].height),
        largest=(images[-1].width, images[-1].height),
        objects=sum(len(split.annotations[image.id]) for image in images),
        trained=per_class.total(),
        per_class={name: per_class[id_] for id_, name in zip(split.classes.ids, split.classes.names, strict=True)},
        sizes=sizes,
        findings=(*split.findings, *tally.findings(), *_nearly_coco(split)),
    )


def _targets(split: CocoSplit, image: ImageRecord, data: DataSpec | None, tally: Tally) -> list[Annotation]:
    """The annotations of an image that become targets; everything else about them goes into `tally`."""
    targets: list[Annotation] = []
    annotations = split.annotations[image.id]
    boxes_xyxy = clamped_boxes(annotations, (image.width, image.height)).tolist()
    for each, box_xyxy in zip(annotations, boxes_xyxy, strict=True):
        if reason := _why_dropped(each, box_xyxy, image, data):
            tally.add("dropped", reason, _example(each, image))
            continue
        targets.append(each)
        if _is_cut(each, image):
            tally.add("changed", "cut at the image's border", _example(each, image))
        if max(each.bbox_xywh) <= _CORNER and max(image.width, image.height) > 8 * _CORNER:
            tally.add("looks wrong", NORMALISED, _example(each, image))
        if each.area < 0:
            tally.add("looks wrong", "with a negative area, so that COCO's AP ignores them", _example(each, image))
    first: dict[tuple[int, tuple[float, ...]], Annotation] = {}
    for each in targets:
        if first.setdefault((each.category_id, each.bbox_xywh), each) is not each:
            tally.add("looks wrong", "listed twice, with the same class and box", _example(each, image))
    return targets


def _example(each: Annotation, image: ImageRecord) -> str:
    box = ", ".join(f"{value:.6g}" for value in each.bbox_xywh)
    return f"annotation {each.id} of {image.file_name} ({image.width}x{image.height}): bbox [{box}]"


def _why_dropped(
    each: Annotation, box_xyxy: Sequence[float], image: ImageRecord, data: DataSpec | None
) -> str | None:
    """The reason why `build_targets` or the resize drops an object; None if it is trained on."""
    x, y, width, height = each.bbox_xywh
    x0, y0, x1, y1 = box_xyxy
    if each.iscrowd:
        return "marked as crowd"
    if width < 0 or height < 0:
        return "with reversed corners (negative width or height)"
    if width > 0 and height > 0 and (x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0):
        return "outside the image"
    if not (x1 > x0 and y1 > y0):
        return "without width or height"
    return _too_small(x1 - x0, y1 - y0, image, data) if data else None


def _too_small(width: float, height: float, image: ImageRecord, data: DataSpec) -> str | None:
    """The reason why a box with these sides is dropped before or after the resize; None if it is not."""
    rows, columns = data.image_size
    smallest = data.augmentation.min_box_size
    if width * min(1, columns / image.width) < smallest or height * min(1, rows / image.height) < smallest:
        return f"under {smallest:g} px wide or high, as it stands or once the image is {columns}x{rows} px"
    return None


def _is_cut(each: Annotation, image: ImageRecord) -> bool:
    """Whether a box reaches more than a pixel beyond its image; less than that is rounding."""
    x, y, width, height = each.bbox_xywh
    return min(x, y, image.width - x - width, image.height - y - height) < -1


def _nearly_coco(split: CocoSplit) -> tuple[Finding, ...]:
    """A data set with most of COCO's categories may be meant to have COCO's labels, and a name is misspelt."""
    other = [(id_, name) for id_, name in split.categories.items() if COCO_NAMES.get(id_) != name]
    if split.classes == COCO or not other or 2 * len(other) > len(split.categories):
        return ()
    id_, name = other[0]
    expected = f"named {COCO_NAMES[id_]!r} in COCO" if id_ in COCO_NAMES else "not used by COCO"
    reason = "categories that are not COCO's, beside those that are; so labels are not COCO's"
    return (Finding("looks wrong", reason, len(other), f"id {id_} is {name!r}, {expected}"),)


def short_lines(account: SplitAccount) -> list[str]:
    """The account in a few lines, for the start of a run."""
    seen = sum(count > 0 for count in account.per_class.values())
    sizes = ", ".join(f"{count:,} {name}" for name, count in account.sizes.items())
    lines = [
        f"{account.split}: {account.images:,} images ({account.images_without_objects:,} without objects); "
        f"{account.trained:,} of {account.objects:,} objects in use ({sizes}); "
        f"{seen} of {len(account.per_class)} classes"
    ]
    for kind in ("dropped", "changed", "looks wrong"):
        found = account.of_kind(kind)
        shown = [str(each) if kind == "looks wrong" else f"{each.count:,} {each.reason}" for each in found[:_SHOWN]]
        more = f"; {len(found) - _SHOWN} more: --check-data" if len(found) > _SHOWN else ""
        if found:
            lines.append(f"{account.split}: {kind}: {'; '.join(shown)}{more}")
    return lines


def between_lines(train: SplitAccount, val: SplitAccount) -> list[str]:
    """Classes that only one of the splits has objects of: they are not validated, or not learned."""
    lines = []
    for has, lacks, so in ((train, val, "they are not validated"), (val, train, "they cannot be learned")):
        names = [name for name, count in has.per_class.items() if count and not lacks.per_class[name]]
        if names:
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(
                f"{lacks.split}: {len(names)} of the classes of {has.split} have no object "
                f"({', '.join(names[:_SHOWN])}{more}): {so}"
            )
    return lines


def full_lines(account: SplitAccount) -> list[str]:
    """The whole account: sizes, objects of each class, and every finding with its example."""
    lines = short_lines(account)[:1]
    (w0, h0), (w1, h1) = account.smallest, account.largest
    lines.append(f"  smallest image {w0}x{h0}, largest {w1}x{h1} px (width x height)")
    lines += [
        f"  {kind}: {each}" for kind in ("dropped", "changed", "looks wrong") for each in account.of_kind(kind)
    ]
    lines.append("  objects of each class:")
    lines += [f"    {count:>9,}  {name}" for name, count in account.per_class.items() if count]
    absent = [name for name, count in account.per_class.items() if not count]
    return [*lines, f"  classes without an object: {', '.join(absent)}"] if absent else lines

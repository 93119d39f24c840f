"""The classes of a data set: category ids, names, and contiguous labels 0..K-1, which are all that a model sees.

COCO's labels are those of the official `remap_mscoco_category`: 0..79 in the order of the ids. They do not depend
on which categories a data set lists, so class k of a model means the same everywhere. Any other data set has a
label for each category that it lists, in the order of the ids; the official code takes the ids themselves there,
which is the same if they are 0..K-1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from frameworks.errors import UserError

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""
_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_CATEGORY_IDS = tuple(each for each in range(1, 91) if each not in _UNUSED_IDS)
COCO_CATEGORY_NAMES = tuple(" ".join(name.split()) for name in _NAMES.split(","))
COCO_NAMES = dict(zip(COCO_CATEGORY_IDS, COCO_CATEGORY_NAMES, strict=True))


@dataclass(frozen=True)
class Classes:
    """Category ids and names in the order of the labels: label k is `ids[k]`, `names[k]`."""

    ids: tuple[int, ...]
    names: tuple[str, ...]

    def label_of(self, category_id: int) -> int:
        """The label 0..K-1 of a category id. Raises UserError for an id that is none of the classes."""
        if category_id not in self._labels:
            raise UserError(f"category id {category_id} is none of the data set's {len(self.ids)}: {self}")
        return self._labels[category_id]

    def id_of(self, label: int) -> int:
        """The category id of a label. Raises UserError for a label outside 0..K-1."""
        if not 0 <= label < len(self.ids):
            raise UserError(f"label {label} is outside 0..{len(self.ids) - 1}; expected one of: {self}")
        return self.ids[label]

    def __str__(self) -> str:
        shown = ", ".join(self.names[:6])
        return shown if len(self.names) <= 6 else f"{shown}, and {len(self.names) - 6} more"

    @cached_property
    def _labels(self) -> dict[int, int]:
        return {category_id: label for label, category_id in enumerate(self.ids)}


COCO = Classes(COCO_CATEGORY_IDS, COCO_CATEGORY_NAMES)


def classes_of(categories: Mapping[int, str]) -> Classes:
    """The classes of a data set that lists `categories`, id to name.

    COCO's 80 if every id and name is COCO's, so that a file with some of them keeps COCO's labels; otherwise the
    listed ones in the order of their ids. Raises UserError for a name that occurs twice.
    """
    if all(COCO_NAMES.get(category_id) == name for category_id, name in categories.items()):
        return COCO
    _require_different(categories)
    ordered = sorted(categories.items())
    return Classes(tuple(category_id for category_id, _ in ordered), tuple(name for _, name in ordered))


def classes_named(names: Sequence[str], categories: Mapping[int, str]) -> Classes:
    """The classes `names` in the given order, for a data set that lists `categories`, id to name.

    A class that the data set does not list gets an id of its own. Raises UserError for a listed category without a
    class, and for a listed name that occurs twice.
    """
    _require_different(categories)
    ids = {name: category_id for category_id, name in categories.items()}
    for name, category_id in ids.items():
        if name not in names:
            raise UserError(
                f"the data set has the category {name!r} (id {category_id}), which is none of the {len(names)} "
                "classes of data.categories in the spec; add it there or leave data.categories out"
            )
    free = max(ids.values(), default=-1) + 1
    for name in names:
        if name not in ids:
            ids[name], free = free, free + 1
    return Classes(tuple(ids[name] for name in names), tuple(names))


def _require_different(categories: Mapping[int, str]) -> None:
    ids: dict[str, int] = {}
    for category_id, name in categories.items():
        if name in ids:
            raise UserError(f"categories {ids[name]} and {category_id} are both named {name!r}; rename one of them")
        ids[name] = category_id

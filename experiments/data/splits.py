"""Both splits of a data set, in COCO's format or Pascal VOC's layout, with the classes that they share."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.data.categories import classes_named, classes_of
from experiments.data.coco import CocoSplit, SplitName, find_files, load_split
from experiments.data.voc import is_voc, load_voc_split
from frameworks.errors import UserError

SPLITS: tuple[SplitName, SplitName] = ("train", "val")


def load_splits(
    root: Path, class_names: Sequence[str] = (), needed: Collection[SplitName] = SPLITS
) -> dict[SplitName, CocoSplit]:
    """Read and check the training and the validation split of `root`; one that is not `needed` only if it is there.

    `class_names` are the classes in the order of their labels (DataSpec.categories); without them every category
    that a split lists is a class. Raises UserError as `load_split` and `load_voc_split` do, and where the splits
    contradict each other.
    """
    load = load_voc_split if is_voc(root) else load_split
    read: list[SplitName] = [name for name in SPLITS if name in needed or _is_there(root, name)]
    splits: dict[SplitName, CocoSplit] = {name: load(root, name) for name in read}
    listed: dict[int, str] = {}
    for split in splits.values():
        for category_id, name in split.categories.items():
            if listed.setdefault(category_id, name) != name:
                raise UserError(
                    f"{split.annotation_file}: category {category_id} is named {name!r}, but "
                    f"{listed[category_id]!r} in the training split; use the same categories in both"
                )
    try:
        classes = classes_named(class_names, listed) if class_names else classes_of(listed)
    except UserError as error:
        raise UserError(f"{root}: {error}") from None
    return {name: replace(split, classes=classes) for name, split in splits.items()}


def _is_there(root: Path, name: SplitName) -> bool:
    """Whether a split has its annotations and its folder of images; in VOC's layout all of them have both."""
    annotations, images = find_files(root, name)
    return is_voc(root) or (annotations.is_file() and images.is_dir())

"""The images of a run: choose them, check that each can be decoded, and keep a few for the report."""

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.account import SplitAccount, account_of
from experiments.data.coco import CocoSplit, SplitName
from experiments.data.images import load_annotated
from experiments.data.manifest import build_manifest, read_manifest
from experiments.data.source import Source, resolve_source
from experiments.data.splits import SPLITS, load_splits
from experiments.data.subset import choose_subset
from experiments.progress import Progress
from frameworks.arrays import save_arrays
from frameworks.config import DataSpec
from frameworks.errors import UserError
from frameworks.files import write_atomically
from frameworks.threads import cores
from reports.run import files

VAL_IMAGES = 5000  # COCO val2017: a download can hold no more
SAMPLES = 2  # images of each split that a report shows


@dataclass(frozen=True)
class Subset:
    """The images of one split that a run uses, in the order of choice."""

    split: CocoSplit
    ids: list[int]


RunData = dict[SplitName, Subset]


def choose_data(
    data: str | None, *, subset: int | None, seed: int, class_names: Sequence[str] = ()
) -> tuple[Source, RunData]:
    """Find the data; choose `subset` training images, and as many validation images or all if there are fewer.

    None chooses every image of both, which the data has to be there for: nothing is downloaded or drawn.
    `class_names` are the classes by label; without them they are the data set's own. Raises UserError for missing
    or broken data and for too large a subset. Images are not opened here; see `require_images`.
    """
    require_data(data, subset)
    wanted = sys.maxsize if subset is None else subset
    source = resolve_source(data, train_count=wanted, val_count=min(wanted, VAL_IMAGES), seed=seed)
    splits = load_splits(source.root, class_names)
    train, val = splits["train"], splits["val"]
    chosen: RunData = {
        "train": Subset(train, choose_subset(train, subset or len(train.images), seed)),
        "val": Subset(val, choose_subset(val, min(wanted, len(val.images)), seed)),
    }
    return source, chosen


def require_data(data: str | None, subset: int | None) -> None:
    """Raise UserError if all images are wanted (``subset`` is None) and nobody says where they are."""
    if subset is None and data is None and not os.environ.get("COCO_ROOT"):
        raise UserError("--data DIR (or $COCO_ROOT) is needed to take all images; or choose some with --subset N")


def account_for(data: RunData, spec: DataSpec) -> list[SplitAccount]:
    """The account of both subsets; only training drops what is too small for the size of `spec`."""
    return [account_of(each.split, each.ids, spec if name == "train" else None) for name, each in data.items()]


def write_manifests(folder: Path, data: RunData, *, kind: str, seed: int) -> None:
    """Write the list of images of each split, with file hashes. Raises UserError for an unreadable file."""
    for name, subset in data.items():
        build_manifest(subset.split, subset.ids, kind=kind, seed=seed).write(folder / files.manifest(name))


def reload_data(folder: Path, root: Path, class_names: Sequence[str] = ()) -> RunData:
    """The images that the manifests in `folder` list, with the classes of the run (DataSpec.categories).

    Raises UserError if a file or annotation has changed.
    """
    data: RunData = {}
    manifests = {name: read_manifest(folder / files.manifest(name)) for name in SPLITS}
    for name, split in load_splits(root, class_names).items():
        manifest = manifests[name]
        manifest.verify(split)
        data[name] = Subset(split, manifest.image_ids)
    return data


def write_samples(folder: Path, data: RunData) -> None:
    """Keep the first images with objects of each split for the report, with their ground truth."""
    images: list[dict[str, Any]] = []
    pixels: dict[str, np.ndarray] = {}
    for name, subset in data.items():
        for image_id in _shown(subset, taken=pixels):
            pixels[f"image_{image_id}"] = np.asarray(load_annotated(subset.split, image_id))
            images.append({"image_id": image_id, "split": name, "ground_truth": _ground_truth(subset, image_id)})
    save_arrays(folder / files.SAMPLE_IMAGES, pixels)
    classes = data["train"].split.classes
    categories = {str(id_): name for id_, name in zip(classes.ids, classes.names, strict=True)}
    write_atomically(folder / files.SAMPLES, json.dumps({"categories": categories, "images": images}, indent=1))


def _shown(subset: Subset, taken: dict[str, np.ndarray]) -> Sequence[int]:
    """Image ids to show. Ids may occur in both splits of a data set other than COCO; each is shown once."""
    free = [image_id for image_id in subset.ids if f"image_{image_id}" not in taken]
    with_objects = [image_id for image_id in free if subset.split.annotations[image_id]]
    return (with_objects or free)[:SAMPLES]


def _ground_truth(subset: Subset, image_id: int) -> list[dict[str, Any]]:
    return [
        {"category": subset.split.categories[each.category_id], "bbox": list(each.bbox_xywh)}
        for each in subset.split.annotations[image_id]
    ]


def require_images(data: RunData) -> None:
    """Decode every image now, so that broken files are found before the training starts.

    Raises UserError for the first image that cannot be read, with the number of the others.
    """
    errors = [error for subset in data.values() for error in _unreadable(subset)]
    if errors:
        others = f" (and {len(errors) - 1} other images)" if len(errors) > 1 else ""
        raise UserError(f"{errors[0]}{others}")


def _unreadable(subset: Subset) -> list[UserError]:
    title = f"checking {subset.split.name} images"
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="check")
    try:
        with Progress(title, len(subset.ids), unit="image", waiting="decoding") as progress:
            errors = []
            for error in pool.map(lambda image_id: _error_of(subset.split, image_id), subset.ids):
                errors += [error] if error else []
                progress.advance()
            return errors
    finally:
        pool.shutdown(cancel_futures=True)


def _error_of(split: CocoSplit, image_id: int) -> UserError | None:
    try:
        load_annotated(split, image_id)
    except UserError as error:
        return error
    return None

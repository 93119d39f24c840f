"""The choice of the images of a run: a folder, a download of COCO, or generated shapes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.data.coco import find_files
from experiments.data.download import COCO_SERVER, NetworkUnavailable, Policy, Server, download_subset
from experiments.data.shapes import DESCRIPTION, MARKER, write_shapes
from experiments.data.voc import is_voc
from frameworks.errors import UserError
from frameworks.files import cache_folder, user_path

Kind = Literal["coco-folder", "coco-download", "voc-folder", "shapes"]


@dataclass(frozen=True)
class Source:
    """A folder with a data set, the kind of its images, and the sentence that describes it in logs and reports."""

    kind: Kind
    root: Path
    sentence: str


def resolve_source(
    data: str | None,
    *,
    train_count: int,
    val_count: int,
    seed: int,
    cache_dir: Path | None = None,
    server: Server = COCO_SERVER,
    policy: Policy | None = None,
) -> Source:
    """The folder `data` (--data); else $COCO_ROOT; else real COCO images, downloaded into `cache_dir` (default
    ~/.cache/twin-detr); else, without a network, shapes drawn there.

    Only a missing network leads to shapes. Raises UserError for a named folder that is missing and for a download
    that breaks off, so that no data set is mistaken for another.
    """
    for name, given in (("--data", data), ("COCO_ROOT", os.environ.get("COCO_ROOT") or None)):
        if given is not None:
            return _folder(given, name)
    cache = cache_dir or cache_folder()
    root = cache / "coco" / f"seed-{seed}"
    try:
        download_subset(root, {"train": train_count, "val": val_count}, seed, server=server, policy=policy)
    except NetworkUnavailable as error:
        return _drawn(cache, train_count, val_count, seed, reason=str(error))
    return Source("coco-download", root, f"real COCO 2017 images from {root} (downloaded from {server.base_url})")


def _folder(given: str, name: str) -> Source:
    root = user_path(given)
    if not given or not root.is_dir():  # "" would be the current folder
        raise UserError(f"{name} names {given!r}, which is no folder; expected one with annotations/ and val2017/")
    if is_voc(root):
        return Source("voc-folder", root, f"images in Pascal VOC's layout from {root}")
    description = _description(root)
    if (root / MARKER).exists() or description == DESCRIPTION:
        return Source("shapes", root, f"coloured shapes drawn by the built-in generator, NOT COCO: {root}")
    if description == "COCO 2017 Dataset":
        return Source("coco-folder", root, f"real COCO 2017 images from {root}")
    return Source("coco-folder", root, f"images in COCO's format, not marked as COCO 2017, from {root}")


def _description(root: Path) -> str | None:
    """The description at the head of COCO's files, read without the rest, which would take seconds."""
    for path in (find_files(root, "val")[0], find_files(root, "train")[0]):
        if path.is_file():
            with path.open("rb") as stream:
                found = re.search(rb'"info":\s*{\s*"description":\s*"([^"]*)"', stream.read(4096))
            return found[1].decode(errors="replace") if found else None
    return None


def _drawn(cache: Path, train_count: int, val_count: int, seed: int, *, reason: str) -> Source:
    root = cache / f"shapes-{seed}-{train_count}-{val_count}"
    try:
        if not (root / MARKER).exists():
            write_shapes(root, train=train_count, val=val_count, seed=seed)
    except UserError:
        if not (root / MARKER).exists():  # else another process was faster, and its files are the same
            raise
    return Source("shapes", root, f"coloured shapes drawn by the built-in generator, NOT COCO: {root} ({reason})")

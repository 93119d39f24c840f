"""Manifest of a subset: image ids, file hashes, and the hash of the annotations."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.data.coco import CocoSplit
from frameworks.errors import UserError
from frameworks.files import file_hash, write_atomically
from reports.jsonl import read_text


@dataclass(frozen=True)
class ManifestFile:
    """One image: COCO id, file name inside the split's folder, SHA-256 of its bytes in hexadecimal."""

    image_id: int
    file_name: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`category_counts` counts objects (without crowds) by category name; `kind` is `Source.kind`."""

    kind: str
    split: str
    seed: int
    files: tuple[ManifestFile, ...]
    category_counts: dict[str, int]
    annotations_sha256: str

    @property
    def image_ids(self) -> list[int]:
        """The image ids in the order of choice."""
        return [entry.image_id for entry in self.files]

    def to_json(self) -> str:
        """This manifest as indented JSON text with a final newline."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write `to_json` atomically. Raises UserError if the file cannot be written."""
        write_atomically(path, self.to_json())

    def damaged(self, image_folder: Path) -> list[str]:
        """Names of the files that are missing from `image_folder` or whose bytes differ from the manifest's."""
        return [
            entry.file_name for entry in self.files if _hash_or_none(image_folder, entry.file_name) != entry.sha256
        ]

    def verify(self, split: CocoSplit) -> None:
        """Raises UserError, naming the first difference, unless `split` still holds exactly these images and
        annotations."""
        damaged = self.damaged(split.image_folder)
        if damaged:
            raise UserError(
                f"{split.image_folder / damaged[0]}: missing or changed since the manifest was made "
                f"({len(damaged)} of {len(self.files)} files are); restore the files or start a new run"
            )
        if annotations_hash(split, self.image_ids) != self.annotations_sha256:
            raise UserError(
                f"{split.annotation_file}: the annotations of the manifest's images have changed; "
                "restore the file or start a new run"
            )


def build_manifest(split: CocoSplit, ids: Sequence[int], *, kind: str, seed: int) -> Manifest:
    """Hash the images `ids` of `split`, keeping their order. Raises UserError for an unknown id or missing file."""
    hash_of_annotations = annotations_hash(split, ids)
    files = []
    for image_id in ids:
        name = split.images[image_id].file_name
        sha256 = _hash_or_none(split.image_folder, name)
        if sha256 is None:
            raise UserError(f"{split.image_folder / name}: cannot read, but {split.annotation_file.name} lists it")
        files.append(ManifestFile(image_id, name, sha256))
    counts = Counter(
        each.category_id for image_id in ids for each in split.annotations[image_id] if not each.iscrowd
    )
    names = {split.categories[category_id]: counts[category_id] for category_id in sorted(counts)}
    return Manifest(kind, split.name, seed, tuple(files), names, hash_of_annotations)


def annotations_hash(split: CocoSplit, ids: Iterable[int]) -> str:
    """SHA-256 over the records of `ids` in their order, independent of the layout of the JSON file.

    Raises UserError for an unknown id.
    """
    digest = hashlib.sha256()
    for image_id in ids:
        if image_id not in split.images:
            raise UserError(f"image id {image_id} is not in {split.annotation_file}; choose ids of that split")
        # repr of a float is its shortest exact decimal: equal text if and only if equal value
        digest.update(repr((split.images[image_id], split.annotations[image_id])).encode())
    return digest.hexdigest()


def parse_manifest(text: str, where: str) -> Manifest:
    """The inverse of `Manifest.to_json`; `where` names it in errors. Raises UserError if it is no manifest."""
    try:
        fields: dict[str, Any] = json.loads(text)
        files = tuple(ManifestFile(**entry) for entry in fields.pop("files"))
        return Manifest(files=files, **fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{where}: not a data manifest ({error}); delete it or restore it") from None


def read_manifest(path: Path) -> Manifest:
    """Read a manifest written by `Manifest.write`. Raises UserError if it is missing or malformed."""
    return parse_manifest(read_text(path), str(path))


def _hash_or_none(folder: Path, name: str) -> str | None:
    try:
        return file_hash(folder / name)
    except OSError:
        return None

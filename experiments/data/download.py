"""Download the annotations of COCO 2017 and only the images of a subset.

The annotation archive (241 MB) is pinned by the SHA-1 that GluonCV publishes with its COCO tutorial
(https://cv.gluon.ai/build/examples_datasets/mscoco.html, "Prepare COCO datasets"). Images have no published hashes;
they are held to the server's length and MD5, to a full decode and to the size in the annotations, and their SHA-256
goes into the folder's manifest, which later runs check. (COCO's server has no certificate of its own: plain HTTP.)

A split's annotation file is written last, so that an incomplete download cannot be loaded.
"""

import json
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from experiments.data.coco import (
    CocoSplit,
    Document,
    ImageRecord,
    SplitName,
    annotation_path,
    load_split,
    parse_split,
    read_document,
)
from experiments.data.fetch import NetworkUnavailable, Policy, fetch, require_reachable
from experiments.data.manifest import Manifest, build_manifest, read_manifest
from experiments.data.subset import choose_subset
from experiments.untrusted import reading
from frameworks.errors import UserError
from frameworks.files import file_hash, write_atomically
from frameworks.images import load_image

__all__ = ["COCO_SERVER", "NetworkUnavailable", "Policy", "Server", "download_subset", "manifest_path"]

KIND = "coco-download"
_THREADS = 8
_GIVE_UP = 5  # failed images after which the rest is not tried


@dataclass(frozen=True)
class Server:
    """Addresses of COCO: images at `base_url`/{train,val}2017/NAME, annotations at `base_url`/`archive`."""

    base_url: str = "http://images.cocodataset.org"
    archive: str = "annotations/annotations_trainval2017.zip"
    archive_sha1: str = "8551ee4bb5860311e79dace7e79cb91e432e78b3"

    @property
    def archive_url(self) -> str:
        """Full address of the annotation archive."""
        return f"{self.base_url}/{self.archive}"

    def image_url(self, split: SplitName, file_name: str) -> str:
        """Full address of one image."""
        return f"{self.base_url}/{split}2017/{quote(file_name)}"


COCO_SERVER = Server()


def manifest_path(root: Path, name: SplitName) -> Path:
    """File of the manifest of a split in a downloaded folder."""
    return root / f"manifest_{name}2017.json"


def download_subset(
    destination: Path | str,
    split_counts: Mapping[SplitName, int],
    seed: int,
    *,
    server: Server = COCO_SERVER,
    policy: Policy | None = None,
) -> None:
    """Make `destination` a COCO folder with at least the given number of images of each split.

    The images are those that `choose_subset` takes from the whole split. Existing files are checked by hash and
    kept; the network is not used if nothing is missing, and images of earlier calls stay.

    Raises NetworkUnavailable if no connection can be made, and UserError for counts that cannot be met, a folder of
    another seed, and (after bounded tries) files that do not arrive whole. Calling again resumes.
    """
    destination = Path(destination)
    missing: dict[SplitName, int] = {}
    for name, count in split_counts.items():
        if name not in ("train", "val") or count < 1:
            raise UserError(f"{count} images of split {name!r} asked for; expected 1 or more of 'train' or 'val'")
        manifest = _manifest_here(destination, name, seed)
        wanted = max(count, len(manifest.files) if manifest else 0)
        if not _is_whole(destination, name, manifest, wanted):
            missing[name] = wanted
    if not missing:
        return
    policy = policy or Policy()
    require_reachable(server.archive_url, policy)
    archive = _fetch_archive(destination, server, policy)
    for name, wanted in missing.items():
        document = _cut(_read_archive(archive, name), destination, name, wanted, seed)
        _complete(document, destination, name, seed, server, policy)


def _manifest_here(root: Path, name: SplitName, seed: int) -> Manifest | None:
    path = manifest_path(root, name)
    if not path.exists():
        return None
    manifest = read_manifest(path)
    if manifest.seed != seed:
        raise UserError(f"{root}: holds the subset of seed {manifest.seed}, not {seed}; name another folder")
    return manifest


def _is_whole(root: Path, name: SplitName, manifest: Manifest | None, wanted: int) -> bool:
    if manifest is None or len(manifest.files) < wanted:
        return False
    try:
        manifest.verify(load_split(root, name))
    except UserError:
        return False
    return True


def _fetch_archive(root: Path, server: Server, policy: Policy) -> Path:
    path = root / "downloads" / Path(server.archive).name
    if path.exists() and file_hash(path, "sha1") == server.archive_sha1:
        return path
    with tqdm(desc="COCO annotations", unit="B", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fetch(server.archive_url, path, policy=policy, hashes={"sha1": server.archive_sha1}, progress=show)
    return path


def _read_archive(archive: Path, name: SplitName) -> Document:
    member = f"annotations/instances_{name}2017.json"
    with (
        reading(archive, f"an archive with {member}", "delete the file and run again"),
        zipfile.ZipFile(archive) as opened,
        opened.open(member) as stream,
    ):
        return read_document(stream, f"{archive}:{member}")


def _cut(document: Document, root: Path, name: SplitName, count: int, seed: int) -> Document:
    """The document of the chosen images alone, in the order of choice."""
    chosen = choose_subset(parse_split(document, root, name), count, seed)
    images = {image["id"]: image for image in document["images"]}
    kept = set(chosen)
    return document | {
        "images": [images[image_id] for image_id in chosen],
        "annotations": [each for each in document["annotations"] if each["image_id"] in kept],
    }


def _complete(document: Document, root: Path, name: SplitName, seed: int, server: Server, policy: Policy) -> None:
    split = parse_split(document, root, name)
    _fetch_images(split, _known_hashes(root, name), server, policy)
    ids = [image["id"] for image in document["images"]]
    build_manifest(split, ids, kind=KIND, seed=seed).write(manifest_path(root, name))
    write_atomically(annotation_path(root, name), json.dumps(document))


def _known_hashes(root: Path, name: SplitName) -> dict[str, str]:
    path = manifest_path(root, name)
    return {entry.file_name: entry.sha256 for entry in read_manifest(path).files} if path.exists() else {}


def _fetch_images(split: CocoSplit, known: Mapping[str, str], server: Server, policy: Policy) -> None:
    """Fetch the missing images. Raises one UserError with the number of failures and the first of them."""
    failures: list[str] = []

    def obtain(record: ImageRecord) -> None:
        path, sha256 = split.image_folder / record.file_name, known.get(record.file_name)
        if len(failures) >= _GIVE_UP or _is_good(path, record, sha256):
            return
        try:
            fetch(
                server.image_url(split.name, record.file_name),
                path,
                policy=policy,
                hashes={"sha256": sha256} if sha256 else {},
                check=lambda part: load_image(part, (record.width, record.height)),
            )
        except UserError as error:
            failures.append(str(error))

    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="download")
    try:
        done = pool.map(obtain, split.images.values())
        for _ in tqdm(done, desc=f"COCO {split.name} images", total=len(split.images), disable=None):
            pass
    finally:  # after Ctrl-C, only the files under way are finished
        pool.shutdown(cancel_futures=True)
    if failures:
        raise UserError(
            f"{split.image_folder}: {len(failures)} or more of {len(split.images)} images did not arrive, "
            f"the rest is kept and running again resumes; first failure: {failures[0]}"
        )


def _is_good(path: Path, record: ImageRecord, sha256: str | None) -> bool:
    """Whether an image is complete: by its hash, or by decoding it if no manifest was written yet."""
    if not path.exists():
        return False
    if sha256:
        return file_hash(path) == sha256
    try:
        load_image(path, (record.width, record.height))
    except UserError:
        return False
    return True

"""Published weights: found by model, downloaded once, and checked against the hash of the first download."""

import hashlib
import re
import tomllib
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from experiments.data.fetch import Policy, fetch
from experiments.weight_files.account import without_class_heads
from experiments.weight_files.readers import file_format
from frameworks.config import PRESETS, ExperimentSpec, ModelSpec
from frameworks.errors import UserError
from frameworks.files import cache_folder, file_hash, write_atomically
from frameworks.state.parameters import state_shapes

# Tables of official.toml; the first two are also words that stand for a file on a command line.
OFFICIAL, OBJECTS365, IMAGENET = "official", "official-objects365", "imagenet-backbone"
PATH = Path(__file__).with_name("official.toml")
_HASH_IN_NAME = re.compile(
    r"-([0-9a-f]{8,})\.\w+$"
)  # the first digits of the SHA-256, as PyTorch's hub names files


@dataclass(frozen=True)
class Published:
    """A file on a server. ``sha256`` is "" where its authors publish none; ``file`` is its name in the cache."""

    url: str
    sha256: str = ""
    file: str = ""

    @classmethod
    def at(cls, url: str) -> "Published":
        """A file at any address; its name in the cache tells it from others with the same last part."""
        return cls(url, file=f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{url.rpartition('/')[2][-100:]}")

    @property
    def file_name(self) -> str:
        """``file``, or else the last part of the address."""
        return self.file or self.url.rpartition("/")[2]

    @property
    def hash_prefix(self) -> str:
        """The first digits of the SHA-256, from the name of the file; "" where it has none."""
        found = _HASH_IN_NAME.search(self.url)
        return found[1] if found else ""


def published_files(table: str = OFFICIAL) -> dict[str, Published]:
    """Every preset that has a file in a table of official.toml, and that file."""
    entries = tomllib.loads(PATH.read_text(encoding="utf-8"))[table]
    return {preset: Published(**file) for name, file in entries.items() for preset in file.pop("presets", [name])}


def published(spec: ExperimentSpec, table: str = OFFICIAL) -> Published:
    """The file published for a model: that of the preset with this name, or of one with the same architecture.

    Backbones are the same whatever is frozen; whole models whatever the number of classes.

    Raises:
        UserError: there is none; the message lists the presets that have one.
    """
    files = published_files(table)
    wanted = _architecture(spec.model, table)
    same = [name for name in files if _architecture(PRESETS[name].model, table) == wanted]
    if spec.name in same or (spec.name in files and table != IMAGENET):
        return files[spec.name]
    if same:
        return files[same[0]]
    raise UserError(
        f"preset {spec.name} has no published {table} weights; presets that have some: {', '.join(files)}"
    )


def _architecture(model: ModelSpec, table: str) -> Hashable:
    """Equal for two models that start from the same file of a table."""
    if table == IMAGENET:
        return replace(model.backbone, return_idx=(1, 2, 3), freeze_at=-1, freeze_norm=False)
    shapes = without_class_heads(state_shapes(model))
    return model.version, model.decoder.cross_attn_method, tuple(shapes.items())


def fetch_published(file: Published, *, cache: Path | None = None, policy: Policy | None = None) -> Path:
    """Download a published file, unless the cache (~/.cache/twin-detr/weights) has it, and return its path.

    Calling it again resumes an interrupted download.

    Raises:
        UserError: the download failed, or the SHA-256 is neither the published one nor that of the first time, or
            does not begin as the file's name says.
    """
    path = (cache or cache_folder() / "weights") / file.file_name
    record = path.with_name(path.name + ".sha256")
    expected = file.sha256 or (record.read_text(encoding="utf-8").strip() if record.exists() else "")
    if path.exists():
        _require_hash(path, expected)
    else:
        _download(file, path, expected, policy or Policy())
    if not expected:
        write_atomically(record, file_hash(path) + "\n")
    return path


def _require_hash(path: Path, expected: str) -> None:
    found = file_hash(path)
    if expected and found != expected:
        raise UserError(f"{path}: sha256 is {found}, expected {expected}; delete it to download it anew")


def _download(file: Published, path: Path, expected: str, policy: Policy) -> None:
    def check(part: Path) -> None:
        file_format(part)  # refuses an HTML page that the server sends in place of the file
        found = file_hash(part) if file.hash_prefix else ""
        if not found.startswith(file.hash_prefix):
            raise UserError(f"corrupted: sha256 is {found}, its name says {file.hash_prefix}...")

    with tqdm(desc=path.name, unit="B", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        hashes = {"sha256": expected} if expected else {}
        fetch(file.url, path, policy=policy, hashes=hashes, check=check, progress=show)

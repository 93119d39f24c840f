"""The published checkpoint of a preset: downloaded once, resumed if cut, held to its hash ever after."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from experiments.data.fetch import Policy, fetch
from experiments.data.files import file_hash, write_atomically
from experiments.weight_files.readers import file_format
from frameworks.errors import UserError

OFFICIAL = "official"  # what a user writes in the place of a file
PATH = Path(__file__).with_name("official.toml")


@dataclass(frozen=True)
class Published:
    """Where a checkpoint is; ``sha256`` is "" where nobody publishes one (see official.toml)."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]


def published(preset: str, path: Path = PATH) -> Published:
    """Raises UserError, with the presets that have one, where there is no published checkpoint."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    if preset not in entries:
        raise UserError(
            f"preset {preset} has no published official checkpoint; presets that have one: {', '.join(entries)}"
        )
    return Published(**entries[preset])


def official_checkpoint(
    preset: str, *, entry: Published | None = None, cache: Path | None = None, policy: Policy | None = None
) -> Path:
    """The checkpoint's file under ~/.cache/twin-detr/weights; calling again resumes a download.

    Raises:
        UserError: nothing is published, the download failed, or the file is not the one that it was.
    """
    entry = entry or published(preset)
    path = (cache or Path.home() / ".cache" / "twin-detr" / "weights") / entry.file_name
    record = path.with_name(path.name + ".sha256")
    expected = entry.sha256 or (record.read_text(encoding="utf-8").strip() if record.exists() else "")
    if path.exists():
        _require_hash(path, expected)
    else:
        _download(entry.url, path, expected, policy or Policy())
    if not expected:
        write_atomically(record, file_hash(path) + "\n")
    return path


def _require_hash(path: Path, expected: str) -> None:
    found = file_hash(path)
    if expected and found != expected:
        raise UserError(f"{path}: sha256 is {found}, expected {expected}; delete it to download it anew")


def _download(url: str, path: Path, expected: str, policy: Policy) -> None:
    with tqdm(desc=path.name, unit="B", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fetch(
            url,
            path,
            policy=policy,
            hashes={"sha256": expected} if expected else {},
            check=file_format,  # a page that says "not found" is no checkpoint
            progress=show,
        )

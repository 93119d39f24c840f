"""Published weights: found by preset, downloaded once, and checked against the hash of the first download."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from experiments.data.fetch import Policy, fetch
from experiments.data.files import file_hash, write_atomically
from experiments.weight_files.readers import file_format
from frameworks.errors import UserError

# Tables of official.toml; the first two are also words that stand for a file on a command line.
OFFICIAL, OBJECTS365, IMAGENET = "official", "official-objects365", "imagenet-backbone"
PATH = Path(__file__).with_name("official.toml")


@dataclass(frozen=True)
class Published:
    """A file on a server. ``sha256`` is "" where its authors publish none; ``file`` is its name in the cache."""

    url: str
    sha256: str = ""
    file: str = ""

    @property
    def file_name(self) -> str:
        """``file``, or else the last part of the address."""
        return self.file or self.url.rpartition("/")[2]


def published_files(table: str = OFFICIAL) -> dict[str, Published]:
    """Every preset that has a file in a table of official.toml, and that file."""
    entries = tomllib.loads(PATH.read_text(encoding="utf-8"))[table]
    return {preset: Published(**file) for name, file in entries.items() for preset in file.pop("presets", [name])}


def published(preset: str, table: str = OFFICIAL) -> Published:
    """The file published for a preset.

    Raises:
        UserError: there is none; the message lists the presets that have one.
    """
    files = published_files(table)
    if preset not in files:
        raise UserError(
            f"preset {preset} has no published {table} weights; presets that have some: {', '.join(files)}"
        )
    return files[preset]


def fetch_published(file: Published, *, cache: Path | None = None, policy: Policy | None = None) -> Path:
    """Download a published file, unless the cache (~/.cache/twin-detr/weights) has it, and return its path.

    Calling it again resumes an interrupted download.

    Raises:
        UserError: the download failed, or the SHA-256 is neither the published one nor that of the first time.
    """
    path = (cache or Path.home() / ".cache" / "twin-detr" / "weights") / file.file_name
    record = path.with_name(path.name + ".sha256")
    expected = file.sha256 or (record.read_text(encoding="utf-8").strip() if record.exists() else "")
    if path.exists():
        _require_hash(path, expected)
    else:
        _download(file.url, path, expected, policy or Policy())
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
            check=file_format,  # refuses an HTML page that the server sends in place of the file
            progress=show,
        )

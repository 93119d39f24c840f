"""Atomic writing and hashing of files, folders that are new, and the folders of a user."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from frameworks.errors import UserError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give an empty file beside `path`, of a name that nobody can foresee, which takes its place after the block.

    It has the rights that the umask says. Where the block fails, it is removed and `path` stays. Raises OSError.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        rights = part.stat().st_mode & 0o777
        yield part
        part.chmod(rights)  # safetensors gives its files other ones
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 `text` under a temporary name beside `path`, then rename: a reader never sees half a file.

    Raises UserError where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            # names of files may have bytes that are no text
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror}); choose a folder with space and rights") from None


def unused(folder: Path) -> Path:
    """Make `folder`, or FOLDER-2, FOLDER-3 ... where it exists: two starts in one second get one each.

    Raises UserError where it cannot be made.
    """
    names = (folder.name, *(f"{folder.name}-{count}" for count in range(2, 1000)))
    for made in map(folder.with_name, names):
        try:
            made.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make the folder {made}: {error.strerror}; choose another --out") from None
        return made
    raise UserError(f"{folder}: exists, and so do those with numbers behind it; name another folder")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it; nothing where there is neither. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def require_file(path: Path) -> None:
    """Raise UserError for a pipe or a device, whose reader would wait or read for ever. Anything else passes."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: is a pipe or a device; expected a file")


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal hash of a file's bytes; `algorithm` as in `hashlib.new`. Raises OSError if unreadable."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def home_folder() -> Path:
    """The user's home folder. Raises UserError where there is none, as in a container for a user without a name."""
    try:
        return Path.home()
    except RuntimeError:
        raise UserError("this user has no home folder; set HOME to a folder that can be written") from None


def user_path(text: str | os.PathLike[str]) -> Path:
    """A path that a user gave, with ~ and ~NAME replaced. Raises UserError where there is no such home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{os.fspath(text)}: there is no such home folder; write the path without ~") from None


def cache_folder() -> Path:
    """This project's cache below ``$XDG_CACHE_HOME`` or ~/.cache. Raises UserError without a home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache") / "twin-detr"

"""Atomic writing and hashing of files."""

import hashlib
import os
import tempfile
from pathlib import Path

from frameworks.errors import UserError


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 `text` under a temporary name beside `path`, then rename: a reader never sees half a file.

    Raises UserError where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(temporary).chmod(0o644)  # mkstemp's 0600 would hide a shared data set from other users
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror}); choose a folder with space and rights") from None


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal hash of a file's bytes; `algorithm` as in `hashlib.new`. Raises OSError if unreadable."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

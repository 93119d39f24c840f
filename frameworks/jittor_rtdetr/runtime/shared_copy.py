"""Copy the installed Jittor to one folder of the cache, from which every environment of this machine imports it.

Jittor compiles into a cache whose path, and whose compiler commands, contain the folder of the package. So each
virtual environment compiled the same core and the same kernels again. With one copy for each content of the package
they are compiled once. The installed package is not changed.
"""

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path

from frameworks.errors import UserError

PACKAGES = ("jittor", "jittor_utils")


def share_jittor(installed: Path, version: str, state: Path) -> Path:
    """Folder to import Jittor from: a copy in ``state`` of the package in ``installed``, made unless it exists.

    Args:
        installed: folder of the package ``jittor``; ``jittor_utils`` is beside it.
        version: Jittor's version, for the folder's name.
        state: this project's folder in Jittor's cache.

    Raises:
        UserError: the copy cannot be written.
    """
    files = sorted(file for name in PACKAGES for file in _files(installed.parent / name))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(installed.parent)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    folder = state / f"jittor-{version}-{digest.hexdigest()[:8]}"
    if not folder.is_dir():
        try:
            _copy(files, installed.parent, folder)
        except OSError as error:
            raise UserError(f"Jittor can't be copied to {folder} ({error.strerror}): free some space") from error
    return folder


def _files(package: Path) -> list[Path]:
    return [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _copy(files: list[Path], root: Path, folder: Path) -> None:
    """Copy to a folder beside it and rename that, so that another process sees a complete folder or none."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".jittor-") as temporary:
        new = Path(temporary) / "new"
        for file in files:
            target = new / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        with contextlib.suppress(FileExistsError, OSError):  # another process made the same folder first
            new.rename(folder)
    if not folder.is_dir():
        raise OSError(28, "the copy could not be renamed", str(folder))

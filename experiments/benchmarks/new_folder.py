"""The folder that a benchmark writes to."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.runs.host import GENERATED
from frameworks.errors import UserError
from frameworks.files import unused, user_path


@contextlib.contextmanager
def new_folder(out: str | None, kind: str, content: str, records: str) -> Iterator[Path]:
    """Make the folder ``out``, by default a new one named after ``kind`` and the time, for the block.

    It is removed where the block fails before anything is in it.

    Raises UserError if it has a file ``records``, so that it holds ``content`` already, or cannot be made.
    """
    folder = _made(out, kind, content, records)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # something is in it
            folder.rmdir()
        raise


def _made(out: str | None, kind: str, content: str, records: str) -> Path:
    if not out:
        return unused(GENERATED / time.strftime(f"{kind}-%Y%m%d-%H%M%S"))
    folder = user_path(out).absolute()
    if (folder / records).exists():
        raise UserError(f"{folder} holds {content} already; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    return folder

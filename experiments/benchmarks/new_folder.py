"""The folder that a benchmark writes to."""

import time
from pathlib import Path

from experiments.runs.host import GENERATED
from frameworks.errors import UserError
from frameworks.files import unused, user_path


def new_folder(out: str | None, kind: str, content: str, records: str) -> Path:
    """Make the folder ``out``, by default a new one named after ``kind`` and the time.

    Raises UserError if it has a file ``records``, so that it holds ``content`` already, or cannot be made.
    """
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

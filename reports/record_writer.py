"""JSON-lines records that stay readable after a kill, a full disk and a resumption."""

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frameworks.errors import UserError
from frameworks.files import write_atomically
from reports.jsonl import read_lines

Record = dict[str, Any]


class RecordWriter:
    """Appends one line per record, unbuffered; ``sync`` brings the lines to the disk.

    Raises UserError if a line cannot be written, and removes the part that was written: all lines stay complete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.stream = path.open("ab", buffering=0)  # unbuffered: a killed process loses no record
        except OSError as error:
            raise _cannot_write(path, error) from None

    def append(self, *records: Record) -> None:
        """Write records, all at once. NaN and infinities become null, because strict JSON has no such numbers."""
        lines = b"".join(json.dumps(_finite(record), allow_nan=False).encode() + b"\n" for record in records)
        whole = os.fstat(self.stream.fileno()).st_size
        try:
            left = memoryview(lines)
            while left:
                left = left[self.stream.write(left) :]
        except OSError as error:
            os.ftruncate(self.stream.fileno(), whole)
            raise _cannot_write(self.path, error) from None

    def sync(self) -> None:
        """Write everything to the disk (fsync)."""
        try:
            os.fsync(self.stream.fileno())
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()


def append_all(path: Path, records: list[Record]) -> None:
    """Append records, all at once, and sync them to the disk. Raises UserError as RecordWriter does."""
    with RecordWriter(path) as writer:
        writer.append(*records)
        writer.sync()


def keep_records(path: Path, keep: Callable[[Record], bool]) -> list[Record]:
    """Rewrite a file with the complete records that `keep` accepts, and return them; [] if there is no file.

    A last line that was cut off while being written is dropped. Raises UserError for any other broken line.
    """
    if not path.exists():
        return []
    objects, _ = read_lines(path)
    text = path.read_bytes()
    if objects and not text.endswith(b"\n") and text.count(b"\n") < len(objects):
        objects.pop()  # it parses, but may be the beginning of a longer line: only a newline ends one
    kept = [record for record in objects if keep(record)]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept))
    return kept


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def _cannot_write(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        full = "file size limit reached" if error.errno == errno.EFBIG else "disk full"
        return UserError(f"{full} while writing {path}; free space and go on with --resume")
    return UserError(f"cannot write {path} ({error.strerror}); repair that and go on with --resume")

"""A run folder: claimed when empty, described by run.json, locked by the one process that works in it."""

import contextlib
import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.data.files import write_atomically
from experiments.runs.data import RunData
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.state.parameters import ModelFacts
from reports.jsonl import read_object
from reports.run import files
from reports.run.meta import RunMeta

LOCK = ".lock"
REST_BYTES = 16 << 20  # records, predictions, pictures


@dataclass(frozen=True)
class Run:
    """A prepared run. `meta` gains what becomes known during the run."""

    folder: Path
    meta: RunMeta
    spec: ExperimentSpec
    data: RunData

    @property
    def frameworks(self) -> list[str]:
        """Names of the frameworks, in the order in which they run."""
        return self.meta.frameworks

    def write_meta(self) -> None:
        """Write run.json atomically. Raises UserError if it cannot be written."""
        write_atomically(self.folder / files.META, self.meta.to_json())

    def finished(self) -> list[str]:
        """The frameworks that are trained and evaluated."""
        path = self.folder / files.COMPLETE
        return list(read_object(path).get("frameworks", ())) if path.exists() else []

    def mark_finished(self, name: str) -> None:
        """Record in complete.json that a framework is done."""
        names = [*self.finished(), name]
        write_atomically(self.folder / files.COMPLETE, json.dumps({"frameworks": names}) + "\n")


def claim(folder: Path) -> None:
    """Make sure that `folder` exists, is empty and is writable. Raises UserError if it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(
                f"{folder}: exists and is not empty; name a new folder, or go on with --resume {folder}"
            )
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None


def release(folder: Path) -> None:
    """Remove the folder after a failed preparation; it was empty before, so it holds only files of this run."""
    shutil.rmtree(folder, ignore_errors=True)


def require_room(folder: Path, model: ModelFacts, frameworks: int) -> None:
    """Raises UserError unless the disk has room for the weights and checkpoints of a run.

    A checkpoint is four times the model (weights, two moments, average), and a second one is there while it is
    written.
    """
    needed = 4 * model.with_running_statistics * (1 + 4 * frameworks + 4) + REST_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 2**20:.0f} MB are free, the run needs {needed / 2**20:.0f} MB; free some space"
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder against other processes; the system removes the lock when the process ends.

    Raises:
        UserError: another process holds the lock, or the folder cannot be written.
    """
    try:
        stream = (folder / LOCK).open("w")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another process is at work on this run; wait for it or end it") from None
        yield

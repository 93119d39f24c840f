"""A run folder: claimed when empty, described by run.json, locked by the one process that works in it."""

import contextlib
import fcntl
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.data.batches import batch_count
from experiments.runs.data import SPLITS, RunData
from experiments.runs.monitoring import Monitoring
from frameworks.config import ExperimentSpec
from frameworks.errors import UserError
from frameworks.files import write_atomically
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

    @property
    def entries(self) -> list[str]:
        """Everything that is trained, in order: the frameworks, then the controls."""
        return [*self.frameworks, *self.meta.control_names]

    def framework_of(self, entry: str) -> str:
        """The framework that trains an entry; a control is trained by the first framework."""
        return entry if entry in self.frameworks else self.frameworks[0]

    @property
    def monitoring(self) -> Monitoring:
        """What the run does beside training."""
        return Monitoring.read(self.meta.monitoring)

    @property
    def steps_per_epoch(self) -> int:
        """Number of full batches of an epoch."""
        return batch_count(len(self.data["train"].ids), self.spec.data.batch_size, drop_last=True)

    @property
    def earlier_specs(self) -> tuple[str, ...]:
        """Hashes of the specs that the run had before it was extended."""
        return tuple(each["spec_hash_before"] for each in self.meta.resumed if "spec_hash_before" in each)

    def write_meta(self) -> None:
        """Write run.json atomically. Raises UserError if it cannot be written."""
        write_atomically(self.folder / files.META, self.meta.to_json())

    def finished(self) -> list[str]:
        """The entries that are trained and evaluated."""
        path = self.folder / files.COMPLETE
        return list(read_object(path).get("frameworks", ())) if path.exists() else []

    def reopen_finished(self) -> None:
        """Let every entry count as unfinished again."""
        (self.folder / files.COMPLETE).unlink(missing_ok=True)

    def mark_finished(self, name: str) -> None:
        """Record in complete.json that an entry is done."""
        names = [*self.finished(), name]
        write_atomically(self.folder / files.COMPLETE, json.dumps({"frameworks": names}) + "\n")


def claim(folder: Path) -> None:
    """Make sure that `folder` exists, is writable, and empty but for what a preparation left that was killed.

    Raises:
        UserError: it cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [each.name for each in folder.iterdir()]
        if names and (LOCK not in names or files.META in names or not all(map(_is_leftover, names))):
            raise UserError(
                f"{folder}: exists and is not empty; name a new folder, or go on with --resume {folder}"
            )
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None


def _is_leftover(name: str) -> bool:
    """Whether a killed preparation leaves files of this name, also half written under a temporary one."""
    written = (files.INITIAL, files.SAMPLES, files.SAMPLE_IMAGES, files.WEIGHTS_LOG, files.META)
    names = (*written, *map(files.manifest, SPLITS), LOCK[1:])
    return any(re.fullmatch(rf"\.?{re.escape(each)}(\..*)?", name) for each in names)


def release(folder: Path) -> None:
    """Remove the folder after a failed preparation; it was empty before, so it holds only files of this run."""
    shutil.rmtree(folder, ignore_errors=True)


def require_room(folder: Path, model: ModelFacts, trainings: int, kept: int = 0) -> None:
    """Raises UserError unless the disk has room for the weights and checkpoints of a run.

    A checkpoint is four times the model (weights, two moments, average). Each training has `kept` of them beside
    the last one, and one more is there while it is written.
    """
    checkpoints = trainings * (1 + kept) + 1
    needed = 4 * model.with_running_statistics * (1 + 4 * checkpoints) + REST_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 2**20:.0f} MB are free, the run needs {needed / 2**20:.0f} MB; free some space"
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder against other processes; the system removes the lock when the process ends.

    Where the disk has no locks, one line warns and the run goes on.

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
        except OSError as error:  # NFS or Lustre without locks
            unlocked = f"{folder}: its disk cannot lock files ({error.strerror})"
            print(f"{unlocked}; do not start a second process on this run", file=sys.stderr, flush=True)
        yield

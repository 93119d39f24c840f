"""Checkpoints: the complete training state of a framework, with the epochs and steps it has done."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from frameworks.arrays import Arrays, load_arrays, save_arrays
from frameworks.config import ExperimentSpec, spec_hash, to_dict
from frameworks.errors import UserError
from frameworks.files import require_file
from reports.run.files import CHECKPOINT


@dataclass(frozen=True)
class Reached:
    """Complete epochs and optimizer steps that are done, and the hash of the spec they were done with.

    ``steps`` counts from the beginning of the training; where it is more than the epochs have, the checkpoint was
    made within the next one.
    """

    epochs: int
    steps: int
    spec_hash: str


def save_checkpoint(folder: Path, state: Arrays, spec: ExperimentSpec, *, epochs: int, steps: int) -> None:
    """Write atomically and sync to the disk: even after a power cut the old checkpoint or the new one is complete.

    The spec goes with it, so that the file alone can be evaluated.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path = folder / CHECKPOINT
    fresh = folder / f"{CHECKPOINT}.new"
    metadata = {"epochs": str(epochs), "steps": str(steps), "spec_hash": spec_hash(spec)}
    try:
        save_arrays(fresh, state, metadata | {"spec": json.dumps(to_dict(spec))})
        with fresh.open("rb") as stream:
            os.fsync(stream.fileno())
        fresh.replace(path)
    except (OSError, UserError) as error:
        reason = str(error).rpartition("; ")[0] or str(error)  # without the advice of save_arrays
        raise UserError(f"{reason}; free space and go on with --resume") from None
    finally:
        fresh.unlink(missing_ok=True)


def keep_checkpoint(folder: Path, name: str) -> None:
    """Give the present checkpoint a second name, atomically; the next one replaces the first name alone.

    A hard link, which takes no room and no time; a copy where the file system has none.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path, fresh = folder / name, folder / f"{name}.new"
    try:
        fresh.unlink(missing_ok=True)
        try:
            os.link(folder / CHECKPOINT, fresh)
        except OSError:
            shutil.copyfile(folder / CHECKPOINT, fresh)
            with fresh.open("rb") as stream:
                os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror}); free space and go on with --resume") from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)  # two names of one file: the rename above did nothing


def read_reached(folder: Path, *hashes: str) -> Reached | None:
    """Epochs and steps of the checkpoint in `folder`; None if there is none yet.

    Args:
        hashes: of the run's spec, and of those that it had before it was extended.

    Raises:
        UserError: the file is broken, or belongs to another spec.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    require_file(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
        reached = Reached(int(metadata["epochs"]), int(metadata["steps"]), metadata["spec_hash"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: no checkpoint of this project ({error}); delete it to train again") from None
    if reached.spec_hash not in hashes:
        raise UserError(f"{path}: made with spec {reached.spec_hash}, this run has {hashes[0]}; start a new run")
    return reached


def load_checkpoint(folder: Path) -> Arrays:
    """The state in the checkpoint. Raises UserError if it cannot be read."""
    return load_arrays(folder / CHECKPOINT)

"""Checkpoints: the complete training state of a framework, with the epochs and steps it has done."""

import os
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from frameworks.arrays import Arrays, load_arrays, save_arrays
from frameworks.errors import UserError
from reports.run.files import CHECKPOINT


@dataclass(frozen=True)
class Reached:
    """Epochs and optimizer steps that are done, and the spec they were done with."""

    epochs: int
    steps: int
    spec_hash: str


def save_checkpoint(folder: Path, state: Arrays, reached: Reached) -> None:
    """Write atomically and sync to the disk: even after a power cut the old checkpoint or the new one is complete.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    path = folder / CHECKPOINT
    fresh = folder / f"{CHECKPOINT}.new"
    metadata = {"epochs": str(reached.epochs), "steps": str(reached.steps), "spec_hash": reached.spec_hash}
    try:
        save_arrays(fresh, state, metadata)
        with fresh.open("rb") as stream:
            os.fsync(stream.fileno())
        fresh.replace(path)
    except (OSError, UserError) as error:
        reason = str(error).rpartition("; ")[0] or str(error)  # without the advice of save_arrays
        raise UserError(f"{reason}; free space and go on with --resume") from None
    finally:
        fresh.unlink(missing_ok=True)


def read_reached(folder: Path, spec_hash: str) -> Reached | None:
    """Epochs and steps of the checkpoint in `folder`; None if there is none yet.

    Raises:
        UserError: the file is broken, or belongs to another spec.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
        reached = Reached(int(metadata["epochs"]), int(metadata["steps"]), metadata["spec_hash"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: no checkpoint of this project ({error}); delete it to train again") from None
    if reached.spec_hash != spec_hash:
        raise UserError(f"{path}: made with spec {reached.spec_hash}, this run has {spec_hash}; start a new run")
    return reached


def load_checkpoint(folder: Path) -> Arrays:
    """The state in the checkpoint. Raises UserError if it cannot be read."""
    return load_arrays(folder / CHECKPOINT)

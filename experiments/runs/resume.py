"""An interrupted run, opened again: proven to be the same experiment, its records cut back to the checkpoints."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.data.files import file_hash
from experiments.record_writer import keep_records
from experiments.runs.checkpoint import read_reached
from experiments.runs.data import reload_data
from experiments.runs.folder import FAILURE, INITIAL, META, Run
from experiments.runs.host import host_record
from experiments.runs.loop import EPOCHS, STEPS
from frameworks.config import ExperimentSpec, SpecError, from_dict, spec_hash
from frameworks.errors import UserError
from reports.jsonl import read_object
from reports.run.records import SCHEMA

EVALUATION = "evaluation.jsonl"
_NEEDED = ("spec", "spec_hash", "seed", "device", "frameworks", "pythons", "in_process", "data", "initial_sha256")


def require_run(folder: Path) -> None:
    """Raises UserError unless `folder` is a run's."""
    if not folder.is_dir():
        raise UserError(f"--resume {folder}: there is no such folder; give the one that experiments/run.py wrote")
    if not (folder / META).is_file():
        raise UserError(f"--resume {folder}: has no {META}, so it is no run of experiments/run.py; start a new run")


def reopen(folder: Path) -> Run:
    """The run in `folder`, which nobody else may be using.

    Raises:
        UserError: run.json, the data or the weights are no longer those that the run was started with.
    """
    meta = read_object(folder / META)
    if meta.get("schema") != SCHEMA or any(key not in meta for key in _NEEDED):
        raise UserError(f"{folder / META}: not written by this version of experiments/run.py; start a new run")
    spec = _read_spec(meta, folder / META)
    data = reload_data(folder, Path(meta["data"]["root"]))
    weights = folder / INITIAL
    if not weights.is_file() or file_hash(weights) != meta["initial_sha256"]:
        raise UserError(f"{weights}: missing or changed since the run was started; start a new run")
    run = Run(folder, meta, spec, data)
    unfinished = [name for name in run.frameworks if name not in run.finished()]
    for name in unfinished:
        repair(folder / name, meta["spec_hash"])
    if unfinished:
        _note(run)
    return run


def repair(folder: Path, hash_of_spec: str) -> None:
    """Cut a framework's records back to its checkpoint, so that they go on as if nothing had happened.

    Raises:
        UserError: the records or the checkpoint are broken, or do not belong together.
    """
    if not folder.is_dir():
        return
    reached = read_reached(folder, hash_of_spec)
    epochs, steps = (reached.epochs, reached.steps) if reached else (0, 0)
    kept = keep_records(folder / STEPS, lambda record: record["step"] < steps)
    keep_records(folder / EPOCHS, lambda record: record["epoch"] < epochs)
    keep_records(folder / EVALUATION, lambda record: False)  # a framework without it all is evaluated again
    if [record["step"] for record in kept] != list(range(steps)):
        raise UserError(
            f"{folder / STEPS}: its records do not lead to the checkpoint at step {steps}; start a new run"
        )
    (folder / FAILURE).unlink(missing_ok=True)


def _read_spec(meta: dict[str, Any], path: Path) -> ExperimentSpec:
    try:
        spec = from_dict(ExperimentSpec, meta["spec"])
    except SpecError as error:
        raise UserError(f"{path}: its spec is not one of this version ({error}); start a new run") from None
    if spec_hash(spec) != meta["spec_hash"]:
        raise UserError(
            f"{path}: the spec has changed since the run was started (hash {spec_hash(spec)}, recorded "
            f"{meta['spec_hash']}); restore it or start a new run"
        )
    return spec


def _note(run: Run) -> None:
    """Another machine or commit may go on with a run; whoever compares results must be able to see that."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    run.meta.setdefault("resumed", []).append({"at": now, "host": host_record()})
    run.write_meta()

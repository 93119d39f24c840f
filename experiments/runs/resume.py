"""Reopen an interrupted run: check that it is the same experiment, and cut its records back to the checkpoints."""

from pathlib import Path

from experiments.data.files import file_hash
from experiments.record_writer import keep_records
from experiments.runs.checkpoint import read_reached
from experiments.runs.data import reload_data
from experiments.runs.folder import Run
from experiments.runs.host import host_record, now
from frameworks.config import ExperimentSpec, SpecError, from_dict, spec_hash
from frameworks.errors import UserError
from reports.run import files
from reports.run.meta import RunMeta


def require_run(folder: Path) -> None:
    """Raises UserError unless `folder` is a run's."""
    if not folder.is_dir():
        raise UserError(f"--resume {folder}: there is no such folder; give the one that experiments/run.py wrote")
    if not (folder / files.META).is_file():
        raise UserError(
            f"--resume {folder}: has no {files.META}, so it is no run of experiments/run.py; start a new run"
        )


def reopen(folder: Path) -> Run:
    """Reopen the run in `folder`, which the caller has locked.

    Raises:
        UserError: run.json, the data or the weights have changed since the run was started.
    """
    meta = _read_meta(folder / files.META)
    spec = _read_spec(meta, folder / files.META)
    data = reload_data(folder, Path(meta.data.root), spec.data.categories)
    weights = folder / files.INITIAL
    if not weights.is_file() or file_hash(weights) != meta.initial_sha256:
        raise UserError(f"{weights}: missing or changed since the run was started; start a new run")
    run = Run(folder, meta, spec, data)
    unfinished = [name for name in run.frameworks if name not in run.finished()]
    for name in unfinished:
        repair(folder / name, meta.spec_hash)
    if unfinished:
        _note(run)
    return run


def repair(folder: Path, hash_of_spec: str) -> None:
    """Cut a framework's records back to its checkpoint, so that they continue as without the interruption.

    Raises:
        UserError: the records or the checkpoint are broken, or do not belong together.
    """
    if not folder.is_dir():
        return
    reached = read_reached(folder, hash_of_spec)
    epochs, steps = (reached.epochs, reached.steps) if reached else (0, 0)
    kept = keep_records(folder / files.STEPS, lambda record: record["step"] < steps)
    keep_records(folder / files.EPOCHS, lambda record: record["epoch"] < epochs)
    keep_records(folder / files.EVALUATION, lambda record: False)  # an unfinished framework is evaluated again
    if [record["step"] for record in kept] != list(range(steps)):
        raise UserError(
            f"{folder / files.STEPS}: its records do not lead to the checkpoint at step {steps}; start a new run"
        )
    (folder / files.FAILURE).unlink(missing_ok=True)


def _read_meta(path: Path) -> RunMeta:
    advice = "not written by this version of experiments/run.py; start a new run"
    try:
        meta = RunMeta.read(path)
    except UserError as error:
        raise UserError(f"{error}; {advice}") from None
    if not (meta.spec and meta.data.root and meta.initial_sha256):
        raise UserError(f"{path}: {advice}")
    return meta


def _read_spec(meta: RunMeta, path: Path) -> ExperimentSpec:
    try:
        spec = from_dict(ExperimentSpec, meta.spec)
    except SpecError as error:
        raise UserError(f"{path}: its spec is not one of this version ({error}); start a new run") from None
    if spec_hash(spec) != meta.spec_hash:
        raise UserError(
            f"{path}: the spec has changed since the run was started (hash {spec_hash(spec)}, recorded "
            f"{meta.spec_hash}); restore it or start a new run"
        )
    return spec


def _note(run: Run) -> None:
    """Record the machine and commit of the resumption: they may differ from those of the start."""
    run.meta.resumed.append({"at": now(), "host": host_record()})
    run.write_meta()

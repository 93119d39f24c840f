"""Reopen an interrupted run: check that it is the same experiment, and cut its records back to the checkpoints."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.progress import say
from experiments.runs.checkpoint import read_reached
from experiments.runs.data import RunData, reload_data
from experiments.runs.extend import changed_epochs, consequence, extended
from experiments.runs.folder import Run
from experiments.runs.host import host_record, now
from experiments.runs.options import Resume
from frameworks.config import ExperimentSpec, SpecError, from_dict, spec_hash
from frameworks.errors import UserError
from frameworks.files import file_hash, remove, user_path
from reports.record_writer import keep_records
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


def reopen(asked: Resume) -> Run:
    """Reopen the run of ``asked.folder``, which the caller has locked, in the state of its checkpoints.

    Raises:
        UserError: run.json, the data or the weights have changed since the run was started, or it cannot be
            extended as asked.
    """
    folder = asked.folder
    run = open_run(folder, asked.data)
    weights = folder / files.INITIAL
    if not weights.is_file() or file_hash(weights) != run.meta.initial_sha256:
        raise UserError(f"{weights}: missing or changed since the run was started; start a new run")
    changes: dict[str, Any] = {"data": run.meta.data.root} if asked.data else {}
    if asked.epochs is not None:
        run, change = _extend(run, asked.epochs)
        changes |= change
    unfinished = [name for name in run.entries if name not in run.finished()]
    if unfinished or changes:
        # the machine and the commit may differ from those of the start
        run.meta.resumed.append({"at": now(), "host": host_record()} | changes)
        for name in unfinished:
            repair(folder / name, run.spec, run.earlier_specs)
        run.write_meta()
    return run


def open_run(folder: Path, moved: str | None = None) -> Run:
    """The run in ``folder`` with its images, which ``moved`` says are in another folder now; changes no file.

    Raises:
        UserError: run.json or the data have changed since the run was started.
    """
    meta = _read_meta(folder / files.META)
    spec = _read_spec(meta, folder / files.META)
    return Run(folder, meta, spec, _reload(folder, meta, spec, moved))


def repair(folder: Path, spec: ExperimentSpec, earlier: Sequence[str] = ()) -> None:
    """Cut a framework's records back to its checkpoint, so that they continue as without the interruption.

    Args:
        spec: of the run.
        earlier: hashes of the specs that the run had before it was extended.

    Raises:
        UserError: the records or the checkpoint are broken, or do not belong together.
    """
    if not folder.is_dir():
        return
    reached = read_reached(folder, spec_hash(spec), *earlier)
    epochs, steps = (reached.epochs, reached.steps) if reached else (0, 0)
    kept = keep_records(folder / files.STEPS, lambda record: record["step"] < steps)
    keep_records(folder / files.EPOCHS, lambda record: record["epoch"] < epochs)
    validated = min(epochs, spec.recipe.epochs - 1)  # after the last epoch an unfinished framework evaluates again
    keep_records(folder / files.EVALUATION, lambda record: record["epoch"] < validated)
    if [record["step"] for record in kept] != list(range(steps)):
        raise UserError(
            f"{folder / files.STEPS}: its records do not lead to the checkpoint at step {steps}; start a new run"
        )
    (folder / files.FAILURE).unlink(missing_ok=True)
    for stale in folder.glob("*.new*"):  # of a checkpoint that was being written
        remove(stale)


def _extend(run: Run, epochs: int) -> tuple[Run, dict[str, Any]]:
    """The run with more epochs, and the record of it; says what that means for the schedule."""
    before, hash_before = run.spec, run.meta.spec_hash
    known = (hash_before, *run.earlier_specs)
    reached = [read_reached(run.folder / name, *known) for name in run.entries]
    run = extended(run, epochs)
    per_epoch = run.steps_per_epoch
    done = max((each.epochs for each in reached if each), default=0)
    _require_equal_rates(run, before, [each.steps if each else 0 for each in reached], per_epoch)
    sentence = consequence(before, run.spec, done=done, steps_per_epoch=per_epoch)
    say(sentence)
    run.reopen_finished()  # before run.json: cut off between the two, the run is as before, to be evaluated again
    return run, {"epochs": epochs, "spec_hash_before": hash_before, "schedule": sentence}


def _require_equal_rates(run: Run, before: ExperimentSpec, steps: list[int], per_epoch: int) -> None:
    """Raises UserError if some frameworks would have steps of the old schedule where others have the new one."""
    begun = math.ceil(max(steps) / per_epoch)
    if len(set(steps)) > 1 and changed_epochs(before, run.spec, done=begun, steps_per_epoch=per_epoch):
        done = ", ".join(f"{entry} {count}" for entry, count in zip(run.entries, steps, strict=True))
        raise UserError(
            f"--epochs {run.spec.recipe.epochs}: the learning rates depend on the number of epochs, and the steps "
            f"done are not equal ({done}), so that the rates would differ; first "
            f"finish the run with --resume {run.folder}, then give it more epochs"
        )


def _reload(folder: Path, meta: RunMeta, spec: ExperimentSpec, moved: str | None) -> RunData:
    old = meta.data.root
    root = user_path(moved).absolute() if moved else Path(old)
    if not root.is_dir():
        advice = "expected a folder with the run's images" if moved else f"--resume {folder} --data DIR says where"
        raise UserError(f"{root}: the folder of the run's images is not there; {advice}")
    data = reload_data(folder, root, spec.data.categories)
    meta.data.root, meta.data.sentence = str(root), meta.data.sentence.replace(old, str(root))
    return data


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

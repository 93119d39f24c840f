"""Execute a run: certify it, train one framework after the other, even if one fails, then build the report."""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from experiments.command import COMPLETE, FAILED, INTERRUPTED, Stopped
from experiments.progress import Progress, say
from experiments.runs.board import Board, open_board
from experiments.runs.certificate import certify
from experiments.runs.checkpoint import read_reached
from experiments.runs.control import moved_weights
from experiments.runs.differences import record_differences
from experiments.runs.folder import Run
from experiments.runs.stepper import Environment, Machine, Unavailable, open_stepper
from experiments.runs.training_loop import Training, train
from experiments.runs.validation import (
    detect_and_score,
    evaluation_row,
    record_evaluation,
    recorded_evaluations,
    write_predictions,
)
from frameworks.arrays import load_arrays
from frameworks.errors import UserError
from frameworks.files import write_atomically
from frameworks.protocol import Stepper
from frameworks.state.parameters import model_facts
from frameworks.workers.client import WorkerFailure
from reports.run import files
from reports.run.meta import Failure


def execute(run: Run) -> int:
    """Certify the first step, train and evaluate what is unfinished, build the report; returns the exit status.

    Raises:
        UserError: an error outside the frameworks, as an unreadable image or a full disk.
    """
    failed = []
    try:
        if not certify(run, _machine(run)):
            print(f"report: {_report(run.folder)[0]}", flush=True)
            return FAILED
        for name in run.entries:
            if name not in run.finished() and not _attempt(run, name):
                failed.append(name)
    except KeyboardInterrupt as cause:
        if not isinstance(cause, Stopped):
            with contextlib.suppress(UserError):  # nothing may be recorded yet
                print(f"partial report: {_report(run.folder)[0]}", flush=True)
        say(f"interrupted; go on with: python experiments/run.py --resume {shlex.quote(str(run.folder))}")
        return INTERRUPTED
    except UserError as error:
        if "--resume" in str(error):
            raise
        raise UserError(f"{error}; then go on with --resume {run.folder}") from None
    record_differences(run)
    report, verdict = _report(run.folder)
    print(f"report: {report}\n{verdict}", flush=True)
    return FAILED if failed else COMPLETE


def _attempt(run: Run, name: str) -> bool:
    """Train and evaluate `name`; returns whether it finished. A failure is recorded and does not end the run."""
    folder = run.folder / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    training = Training(run.spec, run.data["train"], run.meta.seed, run.monitoring, run.earlier_specs)
    try:
        with contextlib.closing(_board(run, folder)) as board, _stepper(run, name, folder) as stepper:
            evaluate = partial(_evaluate, run, name, training, stepper, board)
            train(training, stepper, folder, name, say, evaluate, board)
            evaluate(run.spec.recipe.epochs - 1)
    except WorkerFailure as error:
        failure = Failure(error.kind, error.message, error.stderr_tail)
    except FloatingPointError as error:
        failure = Failure("diverged", str(error))
    except Unavailable as error:
        failure = Failure("unavailable", str(error))
    else:
        run.mark_finished(name)
        return True
    write_atomically(folder / files.FAILURE, json.dumps(asdict(failure), indent=1) + "\n")
    say(f"{name} failed ({failure.kind}): {failure.message}")
    return False


@contextlib.contextmanager
def _stepper(run: Run, name: str, folder: Path) -> Iterator[Stepper]:
    """Start the entry's framework with its initial weights, and record a framework's environment."""

    def note(environment: Environment) -> None:
        if name in run.frameworks:
            run.meta.environment[name] = environment
            run.write_meta()

    weights, framework = load_arrays(run.folder / files.INITIAL), run.framework_of(name)
    if name not in run.frameworks:
        parameters = [each for each in weights if not model_facts(run.spec.model).is_buffer(each)]
        weights = moved_weights(weights, parameters, run.meta.seed, name)
    with open_stepper(framework, _machine(run), run.spec, weights, folder, note) as stepper:
        yield stepper


def _machine(run: Run) -> Machine:
    meta = run.meta
    return Machine(meta.device, meta.kernels, meta.pythons, meta.in_process)


def _board(run: Run, folder: Path) -> Board:
    if not run.monitoring.tensorboard:
        return Board()
    reached = read_reached(folder, run.meta.spec_hash, *run.earlier_specs)
    return open_board(folder / files.TENSORBOARD, reached.steps if reached else 0)


def _evaluate(run: Run, name: str, training: Training, stepper: Stepper, board: Board, epoch: int) -> None:
    """Evaluate the averaged model after `epoch`: on one split, after the last epoch on both."""
    folder, last = run.folder / name, epoch + 1 == run.spec.recipe.epochs
    if not last and any(row["epoch"] == epoch for row in recorded_evaluations(folder)):
        return  # done before an interruption
    rows = []
    for split, subset in run.data.items():
        if last or split == run.monitoring.validate_on:
            at = "" if last else f" after epoch {epoch + 1}"
            title, losses = f"{name} evaluating {split}{at}", run.monitoring.validate_every > 0
            evaluated = detect_and_score(stepper, subset, run.spec.data, title, losses=losses)
            rows.append(evaluation_row(epoch, split, subset, evaluated))
            board.evaluation(rows[-1], (epoch + 1) * training.steps_per_epoch)
            if last:
                write_predictions(folder / files.predictions(split), evaluated)
    record_evaluation(folder, rows, run.monitoring.validate_on)


def _report(folder: Path) -> tuple[Path, str]:
    """Build the report; returns its path and its verdict. Raises UserError if there is nothing to report."""
    # imported here: matplotlib takes a second, which an error in the arguments should not
    from reports.build import build_report
    from reports.run.records import read_run
    from reports.run.verdict import verdict

    try:
        with Progress("report", waiting="drawing"):
            return build_report(folder), verdict(read_run(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot write the report ({error.strerror}); the records are kept") from None


def finished_report(run: Run) -> int:
    """Build the report of a complete run again; returns the exit status."""
    print(f"already complete: {run.folder}", file=sys.stderr)
    print(f"report: {_report(run.folder)[0]}", flush=True)
    return COMPLETE

"""Execute a run: train and evaluate one framework after the other, even if one fails, then build the report."""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from experiments.command import COMPLETE, FAILED, INTERRUPTED
from experiments.data.files import write_atomically
from experiments.progress import Progress, say
from experiments.record_writer import append_all
from experiments.runs.evaluation import evaluate
from experiments.runs.folder import Run
from experiments.runs.training_loop import Training, train
from experiments.runs.worker_log import WorkerLog
from frameworks.arrays import load_arrays
from frameworks.errors import UserError
from frameworks.protocol import Stepper
from frameworks.shared import kernels
from frameworks.workers.client import WorkerFailure, open_framework
from reports.run import files
from reports.run.meta import Failure

# Seconds after which a request to a worker counts as hanging. The longest takes minutes: a first step on an empty
# cache of Jittor compiles every kernel.
REQUEST_TIMEOUT_S = 3600.0


class Unavailable(Exception):
    """A framework cannot be used on this machine."""


def execute(run: Run) -> int:
    """Train and evaluate the unfinished frameworks and build the report; returns the exit status.

    Raises:
        UserError: an error outside the frameworks, as an unreadable image or a full disk.
    """
    failed = []
    try:
        for name in run.frameworks:
            if name not in run.finished() and not _attempt(run, name):
                failed.append(name)
    except KeyboardInterrupt:
        with contextlib.suppress(UserError):  # nothing may be recorded yet
            print(f"partial report: {_report(run.folder)[0]}", flush=True)
        say(f"interrupted; go on with: python experiments/run.py --resume {shlex.quote(str(run.folder))}")
        return INTERRUPTED
    except UserError as error:
        if "--resume" in str(error):
            raise
        raise UserError(f"{error}; then go on with --resume {run.folder}") from None
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
    try:
        with _stepper(run, name, folder) as stepper:
            training = Training(run.spec, run.data["train"], run.meta.seed)
            train(training, stepper, folder, name, say)
            _evaluate(run, name, folder, stepper)
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
    """Start the framework and load the run's initial weights."""
    device, weights = run.meta.device, load_arrays(run.folder / files.INITIAL)
    with contextlib.ExitStack() as stack:
        stack.enter_context(kernels.chosen(run.meta.kernels))
        try:
            with Progress(name, waiting="starting (a first start may compile for minutes)"):
                framework = stack.enter_context(
                    open_framework(
                        name,
                        device=device,
                        python=run.meta.pythons.get(name),
                        in_process=run.meta.in_process,
                        timeout=REQUEST_TIMEOUT_S,
                        log=WorkerLog(folder, name),
                    )
                )
                if reason := framework.supports(device, "float32"):
                    raise Unavailable(f"{name} cannot train on {device}: {reason}")
                run.meta.environment[name] = dict(framework.environment(device))
                run.write_meta()
                stepper = framework.trainer(run.spec, weights, device=device)
        except UserError as error:
            raise Unavailable(str(error)) from None
        yield stepper


def _evaluate(run: Run, name: str, folder: Path, stepper: Stepper) -> None:
    """Evaluate the averaged model on both subsets, after the last epoch."""
    rows = []
    for split, subset in run.data.items():
        title = f"{name} evaluating {split}"
        with Progress(title, len(subset.ids), unit="image", waiting="detecting") as progress:
            evaluated = evaluate(stepper.predict, subset, run.spec.data, progress.advance)
        write_atomically(folder / files.predictions(split), json.dumps(evaluated.results))
        rows.append(
            {
                "epoch": run.spec.recipe.epochs - 1,
                "split": split,
                "images": len(subset.ids),
                "stats": evaluated.stats,
                "seconds": evaluated.seconds,
                "kernels_compiled": evaluated.kernels_compiled,
                "compile_seconds": evaluated.compile_seconds,
            }
        )
        stats = evaluated.stats
        say(f"{title}: AP {stats['AP']:.4f}, AP50 {stats['AP50']:.4f}, {evaluated.seconds:.1f} s")
    append_all(folder / files.EVALUATION, rows)


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

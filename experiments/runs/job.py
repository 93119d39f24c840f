"""The run itself: each framework after the other, whatever happens to one of them, then the report."""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.data.files import write_atomically
from experiments.progress import Progress, say
from experiments.record_writer import append_all
from experiments.runs.budget import REQUEST_TIMEOUT_S
from experiments.runs.evaluation import evaluate
from experiments.runs.folder import FAILURE, INITIAL, Run
from experiments.runs.loop import Training, train
from experiments.runs.resume import EVALUATION
from experiments.runs.worker_log import WorkerLog
from frameworks.arrays import load_arrays
from frameworks.errors import UserError
from frameworks.protocol import Stepper
from frameworks.workers.client import WorkerFailure, open_framework

COMPLETE, FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Failure:
    """Why a framework could not finish; what failure.json holds."""

    kind: str  # "unavailable", "diverged", or what WorkerFailure says
    message: str
    stderr_tail: str = ""


class Unavailable(Exception):
    """A framework that cannot be used here."""


def execute(run: Run) -> int:
    """Train, evaluate and report what is left of a run; returns the exit status.

    Raises:
        UserError: something that no framework is to blame for: an image, the disk.
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
    """Whether `name` finished; a failure is recorded and leaves the others alone."""
    folder = run.folder / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        with _stepper(run, name, folder) as stepper:
            training = Training(run.spec, run.data["train"], run.meta["seed"])
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
    write_atomically(folder / FAILURE, json.dumps(asdict(failure), indent=1) + "\n")
    say(f"{name} failed ({failure.kind}): {failure.message}")
    return False


@contextlib.contextmanager
def _stepper(run: Run, name: str, folder: Path) -> Iterator[Stepper]:
    """The framework, started and loaded with the run's initial weights."""
    device = run.meta["device"]
    weights = load_arrays(run.folder / INITIAL)
    with contextlib.ExitStack() as stack:
        try:
            with Progress(
                name, waiting="starting (the first start compiles for minutes)" if name == "jittor" else "starting"
            ):
                framework = stack.enter_context(
                    open_framework(
                        name,
                        device=device,
                        python=run.meta["pythons"].get(name),
                        in_process=run.meta["in_process"],
                        timeout=REQUEST_TIMEOUT_S,
                        log=WorkerLog(folder, name),
                    )
                )
                if reason := framework.supports(device, "float32"):
                    raise Unavailable(f"{name} cannot train on {device}: {reason}")
                run.meta["environment"][name] = dict(framework.environment(device))
                run.write_meta()
                stepper = framework.trainer(run.spec, weights, device=device)
        except UserError as error:
            raise Unavailable(str(error)) from None
        yield stepper


def _evaluate(run: Run, name: str, folder: Path, stepper: Stepper) -> None:
    """The averaged model on both subsets, after the last epoch."""
    rows = []
    for split, subset in run.data.items():
        title = f"{name} evaluating {split}"
        with Progress(title, len(subset.ids), unit="image", waiting="detecting") as progress:
            evaluated = evaluate(stepper.predict, subset, run.spec.data, progress.advance)
        write_atomically(folder / f"predictions_{split}.json", json.dumps(evaluated.results))
        rows.append(
            {
                "epoch": run.spec.recipe.epochs - 1,
                "split": split,
                "images": len(subset.ids),
                "stats": evaluated.stats,
                "seconds": evaluated.seconds,
            }
        )
        stats = evaluated.stats
        say(f"{title}: AP {stats['AP']:.4f}, AP50 {stats['AP50']:.4f}, {evaluated.seconds:.1f} s")
    append_all(folder / EVALUATION, rows)


def _report(folder: Path) -> tuple[Path, str]:
    """Build the report; its path and the verdict's paragraph. Raises UserError if there is nothing to report."""
    # here, because matplotlib takes a second to import, and wrong arguments should not
    from reports.build import build_report
    from reports.run.records import read_run
    from reports.run.verdict import verdict

    try:
        with Progress("report", waiting="drawing"):
            return build_report(folder), verdict(read_run(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot write the report ({error.strerror}); the records are kept") from None


def finished_report(run: Run) -> int:
    """Say that there is nothing left to do."""
    print(f"already complete: {run.folder}", file=sys.stderr)
    print(f"report: {_report(run.folder)[0]}", flush=True)
    return COMPLETE

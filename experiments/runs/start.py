"""Start a new run, or resume an interrupted one."""

from pathlib import Path

from experiments.runs.check import CheckData, check_data
from experiments.runs.folder import claim, locked, release
from experiments.runs.job import execute, finished_report
from experiments.runs.options import Options, parse_options
from experiments.runs.prepare import folder_of, prepare, spec_of
from experiments.runs.resume import reopen, require_run


def start(arguments: list[str]) -> int:
    """Do what the arguments of experiments/run.py ask for; returns the exit status.

    Raises:
        UserError: wrong arguments, data or files.
    """
    options = parse_options(arguments)
    if isinstance(options, CheckData):
        return check_data(options)
    return _new(options, arguments) if isinstance(options, Options) else _resume(options.folder)


def _new(options: Options, arguments: list[str]) -> int:
    resolved, folder = spec_of(options), folder_of(options)
    claim(folder)
    with locked(folder):
        try:
            run = prepare(options, resolved, folder, arguments)
        except BaseException:  # also Ctrl-C: a folder that is not yet a run must not block the next attempt
            release(folder)
            raise
        print(f"run folder: {folder}", flush=True)
        return execute(run)


def _resume(folder: Path) -> int:
    folder = folder.expanduser().absolute()
    require_run(folder)
    with locked(folder):
        run = reopen(folder)
        if set(run.frameworks) <= set(run.finished()):
            return finished_report(run)
        print(f"run folder: {folder}\ndata: {run.meta.data.sentence}", flush=True)
        return execute(run)

"""Start a new run, or go on with one."""

import shlex

from experiments.runs.announce import announce
from experiments.runs.check import CheckData, check_data
from experiments.runs.folder import claim, locked, release
from experiments.runs.job import execute, finished_report
from experiments.runs.options import Options, Resume, parse_options
from experiments.runs.prepare import folder_of, prepare, spec_of
from experiments.runs.resume import reopen, require_run
from frameworks.files import unused


def start(arguments: list[str]) -> int:
    """Do what the arguments of experiments/run.py ask for; returns the exit status.

    Raises:
        UserError: wrong arguments, data or files.
    """
    return begin(parse_options(arguments), command_line("run", arguments))


def command_line(name: str, arguments: list[str]) -> str:
    """The command as it was typed, for the records."""
    return shlex.join(["python", f"experiments/{name}.py", *arguments])


def begin(asked: Options | Resume | CheckData, command: str) -> int:
    """Start a new run, go on with one or check data; returns the exit status. Raises UserError as ``start``."""
    if isinstance(asked, CheckData):
        return check_data(asked)
    return _new(asked, command) if isinstance(asked, Options) else _resume(asked)


def _new(options: Options, command: str) -> int:
    resolved, folder = spec_of(options), folder_of(options)
    folder = folder if options.out else unused(folder)
    claim(folder)
    with locked(folder):
        try:
            run = prepare(options, resolved, folder, command)
        except BaseException:  # also Ctrl-C: a folder that is not yet a run must not block the next attempt
            release(folder)
            raise
        announce(run)
        return execute(run)


def _resume(asked: Resume) -> int:
    require_run(asked.folder)
    with locked(asked.folder):
        run = reopen(asked)
        if set(run.entries) <= set(run.finished()):
            return finished_report(run)
        print(f"data: {run.meta.data.sentence}", flush=True)
        announce(run)
        return execute(run)

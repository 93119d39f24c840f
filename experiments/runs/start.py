"""Start a new run, or go on with one."""

import shlex
from collections.abc import Iterable, Mapping

from experiments.runs.announce import announce
from experiments.runs.check import CheckData, check_data
from experiments.runs.folder import claim, locked, release
from experiments.runs.job import execute, finished_report
from experiments.runs.options import Options, Resume, parse_options
from experiments.runs.prepare import folder_of, prepare, spec_of
from experiments.runs.resume import reopen, require_run
from frameworks import require_startable
from frameworks.errors import UserError
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


def _require_startable(names: Iterable[str], pythons: Mapping[str, str], in_process: bool) -> None:
    """Raise UserError before anything is done if a framework cannot start; not asked of another --python."""
    try:
        require_startable(*(name for name in names if in_process or name not in pythons))
    except UserError as error:
        others = "python -m experiments.check tells all that is missing, --frameworks torch does without"
        raise UserError(f"{error}; {others}") from None


def _new(options: Options, command: str) -> int:
    _require_startable(options.frameworks, options.pythons, options.in_process)
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
        unfinished = [name for name in run.frameworks if name not in run.finished()]
        if set(run.entries) <= set(run.finished()):
            return finished_report(run)
        _require_startable(unfinished, run.meta.pythons, run.meta.in_process)
        print(f"data: {run.meta.data.sentence}", flush=True)
        announce(run)
        return execute(run)

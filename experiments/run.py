"""The main experiment: python experiments/run.py --subset 50.

Every framework trains on the same images in the same order from the same weights; the run folder holds all
records, and a report built from them. Exit status: 0 complete, 1 a framework failed, 2 an error in what was asked
for or found (one line on stderr), 130 interrupted (go on with --resume DIR).
"""

import signal
import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: Python put experiments/ on the path, not the checkout
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from experiments.runs.folder import claim, locked, release
from experiments.runs.job import INTERRUPTED, execute, finished_report
from experiments.runs.options import Options, parse_options
from experiments.runs.prepare import folder_of, prepare, spec_of
from experiments.runs.resume import reopen, require_run
from frameworks.errors import UserError

WRONG = 2


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse_options(arguments)
        return _start(options, arguments) if isinstance(options, Options) else _resume(options.folder)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _start(options: Options, arguments: list[str]) -> int:
    spec, folder = spec_of(options), folder_of(options)
    claim(folder)
    with locked(folder):
        try:
            run = prepare(options, spec, folder, arguments)
        except BaseException:  # Ctrl-C, too: what is not yet a run must not be in the way of the next try
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
        print(f"run folder: {folder}\ndata: {run.meta['data']['sentence']}", flush=True)
        return execute(run)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # a cluster's way to say Ctrl-C
    sys.exit(main())

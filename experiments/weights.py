"""Weights in and out: python experiments/weights.py {convert,inject-backbone,inspect,verify} --help.

Exit status: 0; 2 after an error, which is one line on stderr; 130 interrupted.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: Python put experiments/ on the path, not the checkout
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from experiments.weight_files.commands import run_command
from frameworks.errors import UserError

WRONG, INTERRUPTED = 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line ``arguments`` (None: the process's own); return the exit status."""
    try:
        run_command(sys.argv[1:] if arguments is None else arguments)
        return 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

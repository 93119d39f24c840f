"""Serve a page that detects on images dropped there: python experiments/demo.py WEIGHTS.

Exit status: 2 after an error in the arguments, the weights or a framework (one line on stderr), 130 when Ctrl-C
ended it, which is how it ends.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import run_command
from experiments.detection.serve import start


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments), interrupted="page closed")


if __name__ == "__main__":
    sys.exit(main())

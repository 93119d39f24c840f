"""Weights in and out: python experiments/weights.py {convert,export,inject-backbone,inspect,verify} --help.

Exit status: 0; 2 after an error, which is one line on stderr; 130 interrupted.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import run_command
from experiments.weight_files.commands import start


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())

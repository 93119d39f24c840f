"""The main experiment: python experiments/run.py --subset 50.

Every framework trains on the same images in the same order from the same weights; the run folder holds all
records, and a report built from them. Exit status: 0 complete, 1 a framework failed, 2 an error in the arguments or
the data (one line on stderr), 130 interrupted (continue with --resume DIR).
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import end_on_signals, run_command
from experiments.runs.start import start


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())

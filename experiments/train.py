"""Train one framework: python experiments/train.py --framework torch -c rtdetr_r18vd --data DIR.

A run of experiments/run.py with one framework, by default on all images. -r goes on with one, -t begins with
weights, --test-only evaluates. Exit status: 0 complete, 1 the framework failed, 2 an error in the arguments or the
data (one line on stderr), 130 interrupted (continue with -r DIR).
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import end_on_signals, run_command
from experiments.runs.train_command import start


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())

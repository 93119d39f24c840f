"""What each part of a model costs: parameters, operations, time in every framework; what a decoder layer gives.

    python experiments/costs.py --preset rtdetr_r18vd --image-size 320
    python experiments/costs.py --run reports/generated/NAME

Exit status: 0 complete, 2 an error in the arguments, the run or a framework (one line on stderr), 130 interrupted.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.benchmarks.costs_command import start
from experiments.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())

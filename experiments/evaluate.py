"""Evaluate a run, a checkpoint or weights: python experiments/evaluate.py reports/generated/NAME.

Prints COCO's numbers and writes the detections in COCO's result format. Exit status: 0 complete, 1 a framework
failed, 2 an error in the arguments, the data or the weights (one line on stderr), 130 interrupted.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import run_command
from experiments.runs.evaluate_command import start


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())

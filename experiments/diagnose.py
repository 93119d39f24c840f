"""Find the first module that two implementations differ in, forward or backward, and parameters without gradient.

    python experiments/diagnose.py --left torch --right jittor --spec rtdetr_r18vd --image-size 192 192
    python experiments/diagnose.py --left mine/torch.py:MODEL --right mine/jittor.py:MODEL --rename mine/names.toml

Own models take an adapter of a few lines: docs/extending/diagnose.md. Exit status: 0 the two agree, 1 they differ,
2 an error in the arguments, an adapter or the weights (one line on stderr), 130 interrupted.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import run_command
from experiments.diagnosis.start import start


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())

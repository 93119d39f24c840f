"""Detect objects on images, folders or videos: python experiments/detect.py WEIGHTS IMAGE [IMAGE ...].

Exit status: 0 complete, 1 something could not be read and was skipped, 2 an error in the arguments, the weights or
a framework (one line on stderr), 130 interrupted; what was found until then is written.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import run_command
from experiments.detection.start import start


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())

"""Print specs: python experiments/spec.py list, or show NAME|FILE [--diff PRESET].

A FILE is YAML of this project, or a config of the official repository with its includes. `show` prints the
complete spec as YAML of this project; keys of an official file without a counterpart go to standard error. Exit
status: 0, or 2 after an error in the arguments (one line on standard error).
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.command import run_command
from experiments.show_specs import show_specs


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    return run_command(lambda: show_specs(arguments))


if __name__ == "__main__":
    sys.exit(main())

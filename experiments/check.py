"""What this machine can do, and what it lacks: python -m experiments.check. Nothing is repaired or installed.

Every line with a ``!`` or an ``x`` ends with what helps. Exit status: 0 where run.py and the parity tests can work
(``!`` is only a hint), 1 where they cannot (``x``), 2 after an error in the arguments.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    try:
        # here: on a machine that lacks a package of this project that is what has to be said
        from experiments.command import run_command
        from experiments.machine import start
    except ModuleNotFoundError as error:
        print(f"x package {error.name} is not installed for {sys.executable}: pip install -e .")
        return 1
    return run_command(lambda: start(arguments))


if __name__ == "__main__":
    sys.exit(main())

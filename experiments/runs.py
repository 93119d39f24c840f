"""Runs as a list: python experiments/runs.py {list,show,compare} --help.

The package experiments/runs lies beside this file, and Python prefers a package: ``import experiments.runs`` never
finds this file, which only starts the command of experiments/runs/list_command.py.

Exit status: 0; 2 after an error, which is one line on stderr; 130 interrupted.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: Python put experiments/ on the path instead of the checkout
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.runs.list_command import main

if __name__ == "__main__":
    sys.exit(main())

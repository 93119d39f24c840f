"""The same as experiments/runs.py, for python -m experiments.runs."""

import sys

from experiments.runs.list_command import main

sys.exit(main())

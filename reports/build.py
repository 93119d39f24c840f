"""Build a run's report from its folder alone: python -m reports.build RUN_DIR... See `reports/run/report.py`."""

import sys
from pathlib import Path

if __package__ in (None, ""):  # python reports/build.py: Python put reports/ on the path, not the checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from reports.run.report import build_report, main

__all__ = ["build_report", "main"]

if __name__ == "__main__":
    sys.exit(main())

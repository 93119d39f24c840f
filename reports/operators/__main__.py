"""Write the pages of the operator atlas: python -m reports.operators RECORDS.

The page, a copy of the records and docs/jittor_api.md are what the repository publishes.
"""

import argparse
import shutil
import sys
from pathlib import Path

from frameworks.errors import exit_status
from reports.operators.api import API, api_page
from reports.operators.page import ROOT, build_page

PUBLISHED = ROOT / "reports/examples/operators.jsonl"


def publish(records: Path) -> int:
    """Write both pages, and the records beside the first; returns the exit status."""
    page = build_page(records, PUBLISHED.parent)
    API.write_text(api_page(records), encoding="utf-8")
    if records.resolve() != PUBLISHED:
        shutil.copyfile(records, PUBLISHED)
    print(page, API, sep="\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 (one line on stderr) for unreadable records."""
    parser = argparse.ArgumentParser(prog="reports.operators", description="Write the pages of the operator atlas.")
    parser.add_argument("records", type=Path, help="JSON lines")
    options = parser.parse_args(arguments)
    return exit_status(lambda: publish(options.records))


if __name__ == "__main__":
    sys.exit(main())

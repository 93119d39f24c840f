"""Build the page of a lockstep session again: python -m reports.lockstep RECORDS OUT_DIR."""

import sys
from pathlib import Path

from reports.lockstep.envelope import judged
from reports.lockstep.page import build_page
from reports.lockstep.records import read
from reports.publish import page_command


def main(arguments: list[str] | None = None) -> int:
    """The command, see `page_command`."""
    return page_command(arguments, "reports.lockstep", "a lockstep session", build_page, _passed)


def _passed(records: Path) -> bool:
    return all(result.passed for result in judged(read(records)))


if __name__ == "__main__":
    sys.exit(main())

"""Build the page of a lockstep session again: python -m reports.lockstep RECORDS OUT_DIR."""

import argparse
import sys
from pathlib import Path

from frameworks.errors import exit_status
from reports.lockstep.envelope import judged
from reports.lockstep.page import build_page
from reports.lockstep.records import read


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0 if the lockstep holds, 1 if not, 2 (one line on stderr) for unreadable records."""
    parser = argparse.ArgumentParser(prog="reports.lockstep", description="Build the page of a lockstep session.")
    parser.add_argument("records", type=Path, help="JSON lines")
    parser.add_argument("out_dir", type=Path, help="where page and figure go")
    options = parser.parse_args(arguments)

    def build() -> int:
        print(build_page(options.records, options.out_dir))
        return int(not all(result.passed for result in judged(read(options.records))))

    return exit_status(build)


if __name__ == "__main__":
    sys.exit(main())

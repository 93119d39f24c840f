"""Several runs side by side, from their folders alone: python -m reports.compare RUN RUN... [--out DIR]."""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # python reports/compare.py: Python put reports/ on the path, not the checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from frameworks.errors import UserError, exit_status
from reports.comparison.page import build_comparison
from reports.language import LANGUAGES

OUT = Path(__file__).resolve().parent / "generated" / "comparison"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0 if all runs are comparable with the first, 1 if not, 2 (one line) on an error."""
    parser = argparse.ArgumentParser(
        prog="reports.compare",
        description="Compare runs. Exit status: 0 comparable, 1 not comparable (the page says why), 2 an error.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, two or more")
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help=f"where the page goes (default: {OUT})"
    )
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the page (default: en)")
    options = parser.parse_args(arguments)

    def compare() -> int:
        if len(options.runs) < 2:
            raise UserError(f"{options.runs[0]}: one run; give two or more to compare")
        try:
            page, comparable = build_comparison(options.runs, options.out, options.lang)
        except OSError as error:
            raise UserError(f"{options.out}: cannot write the page: {error.strerror}") from None
        print(page)
        return 0 if comparable else 1

    return exit_status(compare)


if __name__ == "__main__":
    sys.exit(main())

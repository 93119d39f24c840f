"""docs/speed.md, how fast the twins are: python -m experiments.benchmarks.publish [FOLDER].

With the folder of a benchmark the command takes its records over; without, it only writes the page again from the
records that are kept, which is what adding a start needs. A session that its own control calls noisy is refused.
"""

import json
import sys
from pathlib import Path

from experiments.benchmarks.cells import read_records
from experiments.benchmarks.control import too_noisy
from experiments.benchmarks.figure import draw
from experiments.benchmarks.page import benchmark_page, timed_rows
from experiments.benchmarks.starts import read_starts
from experiments.benchmarks.texts import failures
from experiments.command import FAILED, Parser, run_command
from experiments.runs.host import ROOT
from frameworks.files import write_atomically

RECORDS, REPORT, FIGURE = "records.jsonl", "benchmark.md", "benchmark.png"
PAGE = Path("docs/speed.md")
KEPT_RECORDS, KEPT_FIGURE = Path("reports/examples/speed.jsonl"), Path("reports/examples/speed.png")


def write_report(folder: Path) -> Path:
    """Write the page and the figure of a benchmark beside its records and return the page's path.

    Raises:
        UserError: there are no records or they hold no timing.
    """
    records = read_records(folder / RECORDS)
    rows = timed_rows(records, folder / RECORDS)
    draw(rows, folder / FIGURE)
    write_atomically(folder / REPORT, benchmark_page(records, rows, [], FIGURE))
    return folder / REPORT


def speed_page(root: Path = ROOT) -> str:
    """docs/speed.md as Markdown, from the records kept in ``root``. Raises UserError where there are none."""
    records = read_records(root / KEPT_RECORDS)
    rows = timed_rows(records, root / KEPT_RECORDS)
    return benchmark_page(records, rows, read_starts(root), f"../{KEPT_FIGURE}")


def publish(folder: Path | None, root: Path = ROOT) -> int:
    """Take over the records of ``folder``, if any, and write the page; returns the exit status.

    Nothing is written if the machine was too noisy or a framework failed.
    """
    if folder:
        records = read_records(folder / RECORDS)
        rows = timed_rows(records, folder / RECORDS)
        reason = "; ".join(failures(records)) or too_noisy(rows)
        if reason:
            print(f"{PAGE} is left as it was: {reason}", file=sys.stderr)
            return FAILED
        kept = [record for record in records if record["kind"] != "worker"]  # whose paths tell a reader nothing
        lines = [json.dumps(record, ensure_ascii=False) for record in kept]
        write_atomically(root / KEPT_RECORDS, "\n".join(lines) + "\n")
        draw(rows, root / KEPT_FIGURE)
    write_atomically(root / PAGE, speed_page(root))
    print(f"published: {root / PAGE}", flush=True)
    return 0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command; returns the exit status."""

    def command() -> int:
        parser = Parser(prog="python -m experiments.benchmarks.publish", description="Write docs/speed.md.")
        parser.add_argument("folder", type=Path, nargs="?", help="folder of a benchmark whose records to take over")
        return publish(parser.parse_args(arguments).folder, root)

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())

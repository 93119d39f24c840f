"""docs/evidence.md, what the parity tests measured: python -m reports.evidence [RECORDS [ZOO_RECORDS]].

Records are too large to be committed, so the rows of the tables are kept in examples/evidence.json. With records
the command replaces the rows and the figures of those sessions; without, it only writes the page from the rows.
"""

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from frameworks.errors import exit_status
from reports import clean_runs, mutants
from reports import formatting as show
from reports.jsonl import read_lines, read_object
from reports.lockstep.page import verdicts
from reports.lockstep.records import RECORDS, read
from reports.markdown import flat, table
from reports.parity.figure import depth_figure, margin_figure
from reports.parity.page import build_parity_page, parity_verdict
from reports.parity.records import ParityRecords, parse
from reports.parity.tables import closest_rows, preset_rows, skip_rows, summary_rows
from reports.publish import render

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs/evidence.md")
EXAMPLES = Path("reports/examples")
FACTS = EXAMPLES / "evidence.json"
LOCAL = ("executable", "pid")  # facts of one computer that tell a reader nothing


def evidence_page(root: Path = ROOT) -> str:
    """The page as Markdown, from the rows and records in `root`; UserError where a file is missing or broken."""
    facts, folder = read_object(root / FACTS), root / EXAMPLES
    parts = {part: _tables(facts[part]) for part in ("fast", "zoo")}
    sessions = {
        "training": facts["training"],
        "mutants": mutants.summary_table(*mutants.read(folder / "mutants.jsonl")),
        "clean_runs": clean_runs.summary(clean_runs.runs_of(read_lines(folder / clean_runs.RECORDS)[0])),
        "lockstep": verdicts(read(folder / RECORDS)),
    }
    return render("evidence.md.j2", parts | sessions)


def _tables(session: dict[str, Any]) -> dict[str, Any]:
    left = {"summary": 3, "closest": 8, "presets": 2, "skips": 2, "environments": 1}
    return session | {key: table(session[key], left[key]) for key in left if session.get(key)}


def session_rows(records: ParityRecords, written: datetime) -> dict[str, Any]:
    """Everything that the page states about one session of the parity tests, as text and table rows.

    `written` is the time of the last record. The machine is the one that this runs on.
    """
    host = f"{show.count(os.cpu_count() or 0, 'CPU core')}, {platform.system()}, {platform.machine()}"
    return {
        "origin": f"{parity_verdict(records)} Measured on {written:%Y-%m-%d} ({host}).",
        "summary": summary_rows(records),
        "exceeding": _exceeding(records),
        "closest": closest_rows(records),
        "presets": preset_rows(records),
        "skips": skip_rows(records),
        "environments": _environment_rows(records),
    }


def _exceeding(records: ParityRecords) -> str:
    found = [record for record in records.comparisons if record.exceeds_published]
    if not found:
        return "No comparison exceeds it."
    groups: dict[tuple[str, str], int] = {}
    for record in found:
        key = record.dtype, record.framework
        groups[key] = groups.get(key, 0) + 1
    counts = [f"{number:,} of {show.label(name)} in {dtype}" for (dtype, name), number in sorted(groups.items())]
    return f"{show.count(len(found), 'comparison')} exceed{'s' * (len(found) == 1)} it: {', '.join(counts)}."


def _environment_rows(records: ParityRecords) -> list[dict[str, str]]:
    """A row per fact, a column per framework."""
    columns = {show.label(str(each.get("name", "session"))): flat(each) for each in records.environments}
    keys = dict.fromkeys(key for column in columns.values() for key in column if key not in ("name", *LOCAL))
    return [{"": key} | {name: column.get(key, show.ABSENT) for name, column in columns.items()} for key in keys]


def update(records: Path | None, zoo: Path | None, root: Path = ROOT) -> Path:
    """Take over the given sessions, write the page in `root` and return its path."""
    facts = read_object(root / FACTS)
    for part, path in (("fast", records), ("zoo", zoo)):
        if path:
            parsed = parse(read_lines(path)[0], source=str(path))
            facts[part] = session_rows(parsed, datetime.fromtimestamp(path.stat().st_mtime, UTC))
            if part == "zoo":
                build_parity_page(path, root / EXAMPLES / "zoo")
            else:
                margin_figure(parsed, root / EXAMPLES / "parity.png")
                depth_figure(parsed, root / EXAMPLES / "parity_depth.png")
    (root / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = evidence_page(root)
    (root / PAGE).write_text(page, encoding="utf-8")
    return root / PAGE


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command; 2 with one line on stderr for records that cannot be read."""
    parser = argparse.ArgumentParser(prog="reports.evidence", description="Write docs/evidence.md.")
    parser.add_argument("records", type=Path, nargs="?", help="records.jsonl of nox -s parity")
    parser.add_argument("zoo_records", type=Path, nargs="?", help="records.jsonl of nox -s parity_zoo")
    options = parser.parse_args(arguments)

    def write() -> int:
        print(update(options.records, options.zoo_records, root))
        return 0

    return exit_status(write)


if __name__ == "__main__":
    sys.exit(main())

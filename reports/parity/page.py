"""The page of a parity session, built from the judge's records alone."""

from pathlib import Path

from reports import formatting as show
from reports.jsonl import read_lines
from reports.markdown import table
from reports.parity.figure import depth_figure, margin_figure
from reports.parity.records import ParityRecord, ParityRecords, parse
from reports.parity.tables import (
    MOST_FAILURES,
    distinct_tensors,
    environment_tables,
    failure_table,
    margin,
    preset_rows,
    skip_rows,
    summary_of,
    summary_table,
)
from reports.publish import install, page_command, render, working_folder

__all__ = ["all_passed", "build_parity_page", "parity_verdict", "summary_table"]
PAGE = "parity.md"
FIGURE, DEPTH = "parity.png", "parity_depth.png"
FIGURES = "parity*.png"


def build_parity_page(records: Path, out_dir: Path) -> Path:
    """Write parity.md and its figures into `out_dir` from a file of JSON lines, one comparison a line.

    Returns the page's path. A page with failures is written too, and its first sentence reports them. Raises
    UserError, before anything is written, for a missing or broken file and for one without a comparison.
    """
    raw, note = read_lines(Path(records))
    parsed = parse(raw, source=str(records))
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    with working_folder(out_dir, "parity") as folder:
        margin_figure(parsed, folder / FIGURE)
        depth_figure(parsed, folder / DEPTH)
        context = {
            "verdict": parity_verdict(parsed),
            "notes": [note] if note else [],
            "summary": summary_of(parsed),
            "presets": table(preset_rows(parsed), left=2),
            "figure": FIGURE,
            "depth": DEPTH,
            "caption": _caption(parsed),
            "failures": failure_table(parsed),
            "failure_count": len(parsed.failures),
            "most_failures": MOST_FAILURES,
            "skips": table(skips, left=2) if (skips := skip_rows(parsed)) else None,
            "environments": environment_tables(parsed),
            "records": Path(records).name,
        }
        (folder / PAGE).write_text(render("parity.md.j2", context), encoding="utf-8")
        return install(folder, out_dir, PAGE, FIGURES)


def parity_verdict(records: ParityRecords) -> str:
    """How much was compared, whether all of it passed, and where it was closest to its limit."""
    comparisons, failures, worst = records.comparisons, records.failures, records.worst
    amount = (
        f"{show.count(len(comparisons), 'comparison')} of {show.count(distinct_tensors(comparisons), 'tensor')}"
    )
    skipped = f" {show.count(len(records.skips), 'test')} skipped, with reasons below." if records.skips else ""
    if failures:
        first = failures[0]
        return (
            f"**Parity fails**: {len(failures):,} of {amount} not within their limits. The worst is "
            f"{_where(first)}: error {show.small(first.error)}, limit {show.small(first.limit)}.{skipped}"
        )
    return (
        f"**Parity holds**: {amount}, all within their limits. The worst margin (error ÷ limit) is "
        f"{margin(worst.margin)}, at {_where(worst)}.{skipped}{_spoilt(records)}"
    )


def _spoilt(records: ParityRecords) -> str:
    """How many tensors were spoilt on purpose, each of which failed; nothing where none was."""
    if not records.spoilt:
        return ""
    counts = ", ".join(f"{way}: {count:,}" for way, count in records.spoilt.items())
    return f" Tensors spoilt on purpose, each of which failed, and those that cannot be: {counts}."


def _where(record: ParityRecord) -> str:
    return (
        f"`{record.module}` / `{record.tensor}` ({record.stage}, {record.dtype}, {record.device}, {record.preset}, "
        f"{show.label(record.framework)} judged by {record.judge})"
    )


def _caption(records: ParityRecords) -> str:
    failed = list(dict.fromkeys(record.module for record in records.failures))
    meaning = "Each mark is the worst error of a module, divided by its limit; a row is one judge in one precision."
    if not failed:
        return f"{meaning} Every mark lies left of the line at 1: no module exceeds its limit."
    names = ", ".join(f"`{name}`" for name in failed[:6]) + (", …" if len(failed) > 6 else "")
    return f"{meaning} **Right of the line, or failed without a number**: {names}."


def all_passed(records: Path) -> bool:
    """Whether no comparison in these records failed."""
    return not parse(read_lines(records)[0]).failures


def main(arguments: list[str] | None = None) -> int:
    """The command, see `page_command`."""
    return page_command(arguments, "reports.parity_page", "a parity session", build_parity_page, all_passed)

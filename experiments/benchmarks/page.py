"""The page of a benchmark, from its records alone."""

from pathlib import Path
from typing import Any

from experiments.benchmarks import tables, texts
from experiments.benchmarks.cells import Record, Row, find, name_of, read_rows
from experiments.benchmarks.control import RULE, control_ratio, too_noisy
from experiments.benchmarks.starts import start_rows
from experiments.benchmarks.targets import target_rows
from frameworks import REFERENCE
from frameworks.errors import UserError
from reports.markdown import table
from reports.publish import render


def timed_rows(records: list[Record], source: Path) -> list[Row]:
    """The rows of the records. Raises UserError, which names ``source``, if nothing was timed."""
    rows = read_rows(records)
    if not rows:
        raise UserError(f"{source}: no timings; every framework failed before the first round")
    return rows


def benchmark_page(records: list[Record], rows: list[Row], starts: list[dict[str, Any]], figure: str) -> str:
    """The whole page as Markdown.

    Args:
        starts: the recorded starts of ``starts.read_starts``.
        figure: path of the figure as the page links it.
    """
    environment = find(records, "environment") or {}
    return render(
        "speed.md.j2",
        {
            "figure": figure,
            "busy": texts.busy_warning(environment),
            "reference": name_of(REFERENCE),
            "control": control_text(rows),
            "rule": RULE,
            "failures": texts.failures(records),
            "targets": _table(target_rows(rows, records), 5),
            "ratios": _table(tables.ratio_rows(rows), 4),
            "times": _table(tables.time_rows(rows), 4),
            "latency": _table(tables.latency_rows(rows, records), 5),
            "memory": _table(tables.memory_rows(rows, records), 3),
            "firsts": _table(tables.first_rows(rows, records), 3),
            "agreement": texts.agreement(records),
            "method": texts.method(environment) + texts.again(records),
            "machine": texts.machine(environment),
            "caveats": texts.caveats(environment, rows),
            "profiles": _profiles(records, rows),
            "starts": _table(start_rows(starts), 2),
        }
        | _limits(records, rows),
    )


def control_text(rows: list[Row]) -> str:
    """What the A/A control measured, and whether that is quiet enough."""
    ratio, reason = control_ratio(rows), too_noisy(rows)
    measured = f"A/A control: × {ratio.median:.3f} ({ratio.low:.3f}–{ratio.high:.3f}). " if ratio else ""
    return measured + (f"**Too noisy to be published: {reason}.**" if reason else "Quiet enough.")


def _limits(records: list[Record], rows: list[Row]) -> dict[str, Any]:
    limits = find(records, "limits")
    if not limits:
        return {"limits": None}
    gflops, bandwidth = limits["gflops"], limits["copy_gb_per_s"]
    return {
        "limits": {"gflops": f"{gflops:.0f}", "bandwidth": f"{bandwidth:.1f}", "bytes": tables.UPDATE_BYTES},
        "products": _table(tables.limit_rows(rows, records, gflops), 4),
        "updates": _table(tables.update_rows(rows, records, bandwidth), 3),
    }


def _profiles(records: list[Record], rows: list[Row]) -> list[dict[str, str]]:
    found = []
    for label in tables.labels(rows):
        profile = next((p for row in rows if (p := tables.profile_of(records, label, row))), None)
        if profile:
            where = f"`{profile['preset']}`, {profile['image_size']}², batch {profile['batch_size']}"
            operators = _table(tables.operator_rows(profile), 1)
            parts = _table(tables.part_rows(rows, records, label), 3)
            found.append({"name": name_of(label), "parts": parts, "operators": operators, "where": where})
    return found


def _table(rows: list[dict[str, str]], left: int) -> str:
    return table(rows, left) if rows else ""

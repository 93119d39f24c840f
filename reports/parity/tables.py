"""The tables of the parity page. `summary_table` is also what a pytest session prints at its end."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from frameworks.shared.stages import stage_position
from reports import formatting as show
from reports.markdown import flat, table
from reports.parity.records import ParityRecord, ParityRecords, judge_position, parse

MOST_FAILURES = 100


def summary_table(records: Iterable[Mapping[str, Any]]) -> str:
    """The summary of raw JSON records (skips and environments may be among them), as a Markdown table.

    Raises UserError when a record is broken and when nothing was compared.
    """
    return summary_of(parse(records))


def summary_of(records: ParityRecords) -> str:
    """A row per judge, stage and dtype (and device, where there are several)."""
    devices = {record.device for record in records.comparisons}
    groups: dict[tuple[str, ...], list[ParityRecord]] = {}
    for record in records.comparisons:
        key = (record.judge, record.stage, record.dtype) + ((record.device,) if len(devices) > 1 else ())
        groups.setdefault(key, []).append(record)
    names = ("judge", "stage", "dtype", "device")
    rows = [
        dict(zip(names, key, strict=False)) | _summary_row(groups[key])
        for key in sorted(groups, key=lambda key: (judge_position(key[0]), stage_position(key[1]), key))
    ]
    return table(rows, left=3 + (len(devices) > 1))


def _summary_row(group: list[ParityRecord]) -> dict[str, str]:
    bounds = sorted({record.published_bound for record in group if record.published_bound is not None})
    exceeding = sum(record.exceeds_published for record in group)
    errors = [math.inf if math.isnan(record.error) else record.error for record in group]
    nan = any(math.isnan(record.error) for record in group)
    failed = sum(not record.ok for record in group)
    return {
        "tensors": f"{distinct_tensors(group):,}",
        "comparisons": f"{len(group):,}",
        "worst error": "**nan**" if nan else show.small(max(errors)),
        "limit": span([record.limit for record in group]),
        "worst margin": margin(max(record.margin for record in group)),
        "published bound": span(bounds) if bounds else show.ABSENT,
        "exceed it": str(exceeding) if bounds else show.ABSENT,
        "failed": f"**{failed}**" if failed else "0",
    }


SHOWN_STAGES = {"forward": "forward", "losses": "losses", "backward": "gradients", "update": "update"}


def preset_table(records: ParityRecords) -> str:
    """A row per preset: who judged it, the worst float64 error of the main stages, the worst margin of all."""
    groups: dict[str, list[ParityRecord]] = {}
    for record in records.comparisons:
        groups.setdefault(record.preset, []).append(record)
    return table([_preset_row(preset, group) for preset, group in groups.items()], left=2)


def _preset_row(preset: str, group: list[ParityRecord]) -> dict[str, str]:
    judges = sorted({record.judge for record in group}, key=judge_position)
    row = {"preset": f"`{preset}`", "judges": ", ".join(judges), "comparisons": f"{len(group):,}"}
    for stage, title in SHOWN_STAGES.items():
        errors = [r.error for r in group if (r.judge, r.stage, r.dtype) == ("twin", stage, "float64")]
        worst = max(errors, key=lambda error: math.inf if math.isnan(error) else error, default=None)
        row[title] = show.small(worst)
    failed = sum(not record.ok for record in group)
    return row | {
        "worst margin": margin(max(record.margin for record in group)),
        "failed": f"**{failed}**" if failed else "0",
    }


def distinct_tensors(group: Iterable[ParityRecord]) -> int:
    """How many tensors these comparisons are about: one compared in two cases or dtypes counts once."""
    return len({(record.preset, record.module, record.tensor) for record in group})


def span(values: list[float]) -> str:
    """One number, or the smallest and the largest."""
    low, high = min(values), max(values)
    return show.small(low) if low == high or math.isnan(low) else f"{show.small(low)} to {show.small(high)}"


def margin(value: float) -> str:
    """error / limit as people read it: two digits, and bold beyond 1."""
    text = f"{value:.2g}" if 0.001 <= value < 1000 or value == 0 else show.small(value)
    return text if value <= 1 else f"**{text}**"


def failure_table(records: ParityRecords) -> str | None:
    """Every failure, worst first (at most MOST_FAILURES rows); None when there is none."""
    failures = records.failures[:MOST_FAILURES]
    if not failures:
        return None
    rows = [
        {
            "module": f"`{record.module}`",
            "tensor": f"`{record.tensor}`",
            "stage": record.stage,
            "dtype": record.dtype,
            "device": record.device,
            "framework": show.label(record.framework),
            "judge": record.judge,
            "case": f"{record.preset}: {record.case}",
            "error": show.small(record.error),
            "limit": show.small(record.limit),
            "reference's own error": show.small(record.reference_error),
        }
        for record in failures
    ]
    return table(rows, left=8)


def skip_table(records: ParityRecords) -> str | None:
    """Every skipped test and why, or None."""
    if not records.skips:
        return None
    return table([{"test": f"`{test}`", "reason": reason} for test, reason in records.skips], left=2)


def environment_tables(records: ParityRecords) -> list[str]:
    """A two-column table for each environment record."""
    tables = []
    for environment in records.environments:
        rows = [{"": key, "value": value} for key, value in flat(environment).items()]
        if rows:
            tables.append(table(rows, left=2))
    return tables

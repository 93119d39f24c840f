"""The tables of a benchmark's page, as rows for ``reports.markdown``."""

import numpy as np

from experiments.benchmarks.cells import LABELS, TASK_NAMES, Record, Row, find, name_of
from experiments.benchmarks.session import CONTROL, FORMULAS
from experiments.benchmarks.statistics import Estimate, distinguishable, noise_floor
from frameworks import REFERENCE

TableRow = dict[str, str]
PERCENTILES = (50, 90, 99)
UPDATE_BYTES = 36  # of a float32 parameter: it, its gradient, two moments and average read, all but one written


def places(rows: list[Row]) -> list[Row]:
    """The first row of each preset, size and batch."""
    return list({row.place: row for row in reversed(rows)}.values())[::-1]


def labels(rows: list[Row]) -> list[str]:
    """Every label that was timed, in the order of ``LABELS``."""
    return [label for label in LABELS if any(label in row.cells for row in rows)]


def show(ratio: Estimate | None) -> str:
    """A ratio with its interval; a dash for None."""
    return "–" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def _place(row: Row) -> TableRow:
    return {"preset": f"`{row.preset}`", "image": f"{row.size}²", "batch": str(row.batch)}


def ratio_rows(rows: list[Row]) -> list[TableRow]:
    """Ratios to the reference; "≈" before one that the control of its row cannot tell from 1."""
    return [
        _place(row)
        | {"task": TASK_NAMES[row.task]}
        | {name_of(label): _marked(row, label) for label in labels(rows) if label != REFERENCE}
        for row in rows
    ]


def _marked(row: Row, label: str) -> str:
    ratio, control = row.ratio(label), row.ratio(CONTROL)
    unclear = ratio and control and label != CONTROL and not distinguishable(ratio, noise_floor(control))
    return f"{'≈ ' if unclear else ''}{show(ratio)}"


def time_rows(rows: list[Row]) -> list[TableRow]:
    """Medians and intervals in milliseconds, and the number of rounds."""
    return [
        _place(row)
        | {"task": TASK_NAMES[row.task], "rounds": str(max(len(cell.rounds) for cell in row.cells.values()))}
        | {name_of(label): _milliseconds(row, label) for label in labels(rows)}
        for row in rows
    ]


def latency_rows(rows: list[Row], records: list[Record]) -> list[TableRow]:
    """Percentiles, images per second and memory of every implementation at the largest image, a row each."""
    largest = max(row.size for row in rows)
    return [
        _place(row)
        | {"task": TASK_NAMES[row.task], "implementation": name_of(label), "calls": str(len(cell.rounds))}
        | {f"p{p}, ms": f"{1000 * np.percentile(list(cell.rounds.values()), p):.0f}" for p in PERCENTILES}
        | {"images/s": f"{row.batch / cell.time.median:.2f}"}
        | {"peak MB": _field(records, "memory", "peak_mb", label, row)}
        for row in rows
        if row.size == largest
        for label, cell in row.cells.items()
        if label not in (CONTROL, FORMULAS)
    ]


def _milliseconds(row: Row, label: str) -> str:
    if label not in row.cells:
        return "–"
    time = row.cells[label].time
    return f"{1000 * time.median:.0f} ({1000 * time.low:.0f}–{1000 * time.high:.0f})"


def memory_rows(rows: list[Row], records: list[Record]) -> list[TableRow]:
    """Peak memory in MB by label."""
    return [
        _place(row) | {name_of(label): _field(records, "memory", "peak_mb", label, row) for label in labels(rows)}
        for row in places(rows)
    ]


def first_rows(rows: list[Row], records: list[Record]) -> list[TableRow]:
    """Seconds of the first training step by label, with everything that it compiles."""
    step = {"task": "step"}
    return [
        _place(row)
        | {name_of(label): _field(records, "first_call", "seconds", label, row, **step) for label in labels(rows)}
        for row in places(rows)
    ]


def _field(records: list[Record], kind: str, field: str, label: str, row: Row, **wanted: str) -> str:
    place = {"preset": row.preset, "image_size": row.size, "batch_size": row.batch, "label": label}
    record = find(records, kind, **place, **wanted)
    return f"{record[field]:,.0f}" if record else "–"


def limit_rows(rows: list[Row], records: list[Record], gflops: float) -> list[TableRow]:
    """Operations of each task, the time that they take at ``gflops``, and each label as a multiple of it."""
    found = []
    for row in rows:
        profile = profile_of(records, REFERENCE, row)
        if not profile or row.task not in profile.get("operations", {}):
            continue
        operations = profile["operations"][row.task]
        least = operations / (gflops * 1e9)
        multiples = {
            name_of(label): f"× {row.cells[label].time.median / least:.1f}" if label in row.cells else "–"
            for label in labels(rows)
            if label != CONTROL
        }
        facts = {
            "task": TASK_NAMES[row.task],
            "GFLOP": f"{operations / 1e9:.1f}",
            "at the limit, ms": f"{1000 * least:.0f}",
        }
        found.append(_place(row) | facts | multiples)
    return found


def update_rows(rows: list[Row], records: list[Record], gb_per_second: float) -> list[TableRow]:
    """The least time of optimizer and average by the bytes that they must move, beside the profiles' time."""
    parameters = (find(records, "environment") or {}).get("trained_parameters", {})
    found = []
    for row in places(rows):
        profiles = {label: profile_of(records, label, row) for label in labels(rows)}
        if row.preset in parameters and any(profiles.values()):
            moved = UPDATE_BYTES * parameters[row.preset]
            facts = {"MB": f"{moved / 1e6:,.0f}", "least, ms": f"{moved / gb_per_second / 1e6:.0f}"}
            measured = {
                f"{name_of(label)}, ms": f"{1000 * profile['parts'].get('optimizer and average', 0.0):.0f}"
                for label, profile in profiles.items()
                if profile
            }
            found.append(_place(row) | facts | measured)
    return found


def part_rows(rows: list[Row], records: list[Record], label: str) -> list[TableRow]:
    """Milliseconds and share of each part of a label's training step."""
    found = []
    for row in places(rows):
        if profile := profile_of(records, label, row):
            total = sum(profile["parts"].values())
            parts = {part: _share(seconds, total) for part, seconds in profile["parts"].items()}
            found.append(_place(row) | parts | {"whole step": f"{1000 * total:.0f}"})
    return found


def operator_rows(profile: Record) -> list[TableRow]:
    """Milliseconds, share and calls of each operator of one profiled step."""
    operators = profile["operators"]
    total = sum(row["seconds"] for row in operators.values())
    return [
        {"operator": name, "calls": f"{row['calls']:.0f}", "ms": _share(row["seconds"], total)}
        for name, row in operators.items()
    ]


def profile_of(records: list[Record], label: str, row: Row) -> Record | None:
    """The profile of a label's training step at the place of ``row``."""
    place = {"preset": row.preset, "image_size": row.size, "batch_size": row.batch}
    return find(records, "profile", label=label, **place)


def _share(seconds: float, total: float) -> str:
    return f"{1000 * seconds:.0f} ({100 * seconds / total:.0f} %)"

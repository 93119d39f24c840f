"""Timings of a benchmark as cells: one per image size, task and label."""

from dataclasses import dataclass
from typing import Any

from experiments.benchmarks.statistics import Estimate, estimate, paired_ratio
from experiments.benchmarks.timing import CONTROL, TASKS
from frameworks import ADAPTERS, JUDGES, REFERENCE
from reports.frameworks import style_of

LABELS = (REFERENCE, CONTROL, *[name for name in ADAPTERS | JUDGES if name != REFERENCE])  # order of the table
TASK_NAMES = {"step": "training step", "inference": "inference"}


@dataclass(frozen=True)
class Cell:
    """One label in one task at one size."""

    label: str
    task: str
    size: int
    seconds: list[float]
    time: Estimate
    ratio: Estimate | None  # to the reference, in the same rounds
    first: float | None
    peak_mb: float | None


def name_of(label: str) -> str:
    """The name of a label in tables and figures."""
    if label == CONTROL:
        return f"{name_of(REFERENCE)} again (A/A)"
    return f"{style_of(label).label} twin" if label in ADAPTERS else style_of(label).label


def read_cells(records: list[dict[str, Any]]) -> list[Cell]:
    """Every (size, task, label) that has timings, in the order of the table."""
    timings: dict[tuple[int, str, str], dict[int, float]] = {}
    for record in records:
        if record["kind"] == "timing":
            key = (record["image_size"], record["task"], record["label"])
            timings.setdefault(key, {})[record["round"]] = record["seconds"]
    cells = []
    for size, task, label in sorted(timings, key=lambda key: (key[0], TASKS.index(key[1]), LABELS.index(key[2]))):
        rounds, reference = timings[size, task, label], timings.get((size, task, REFERENCE), {})
        seconds = list(rounds.values())
        paired = label != REFERENCE and rounds.keys() & reference.keys()
        ratio = paired_ratio(rounds, reference) if paired else None
        first = _find(records, "seconds", kind="first_call", label=label, task=task, image_size=size)
        peak = _find(records, "peak_mb", kind="memory", label=label, image_size=size)
        cells.append(Cell(label, task, size, seconds, estimate(seconds), ratio, first, peak))
    return cells


def _find(records: list[dict[str, Any]], field: str, **wanted: Any) -> float | None:
    return next((r[field] for r in records if all(r.get(k) == v for k, v in wanted.items())), None)

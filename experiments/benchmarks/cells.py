"""Timings of a benchmark as cells: one per preset, image size, task and label."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.session import CONTROL, FORMULAS, TASKS
from experiments.benchmarks.statistics import Estimate, estimate, ratio_of_medians
from frameworks import ADAPTERS, JUDGES, REFERENCE
from reports.frameworks import style_of
from reports.jsonl import read_lines

Record = dict[str, Any]
LABELS = (REFERENCE, FORMULAS, CONTROL, *[name for name in ADAPTERS | JUDGES if name != REFERENCE])
AGAIN = "again"  # the record before the records of a size that is timed again
TIMED = ("worker", "first_call", "timing", "memory")  # kinds of record that it replaces
TASK_NAMES = {"step": "training step", "inference": "inference"}


@dataclass(frozen=True)
class Cell:
    """One label in one task of one preset at one size: the seconds of every round by its number."""

    label: str
    rounds: dict[int, float]

    @property
    def time(self) -> Estimate:
        """Median and interval of the seconds."""
        return estimate(list(self.rounds.values()))

    def over(self, other: "Cell") -> Estimate | None:
        """Ratio of medians to another label in their common rounds; None where there is none."""
        common = sorted(self.rounds.keys() & other.rounds.keys())
        if not common:
            return None
        return ratio_of_medians([self.rounds[r] for r in common], [other.rounds[r] for r in common])


@dataclass(frozen=True)
class Row:
    """One task of one preset at one size: the cells by label, in the order of ``LABELS``."""

    preset: str
    size: int
    batch: int
    task: str
    cells: dict[str, Cell]

    @property
    def place(self) -> tuple[str, int, int]:
        """What the records of one preset, size and batch have in common."""
        return self.preset, self.size, self.batch

    def ratio(self, label: str, to: str = REFERENCE) -> Estimate | None:
        """Ratio of medians of two labels; None where one of them was not timed."""
        if label not in self.cells or to not in self.cells:
            return None
        return self.cells[label].over(self.cells[to])


def name_of(label: str) -> str:
    """The name of a label in tables and figures."""
    if label in (CONTROL, FORMULAS):
        return f"{name_of(REFERENCE)}, {'again (A/A)' if label == CONTROL else 'reference path'}"
    return f"{style_of(label).label} twin" if label in ADAPTERS else style_of(label).label


def read_records(path: Path) -> list[Record]:
    """The records of a benchmark, without those of a size that was timed again later.

    Older files had one preset and one batch size, in ``environment`` only.
    """
    records, _ = read_lines(path)
    last = {_place(record): line for line, record in enumerate(records) if record["kind"] == AGAIN}
    records = [r for n, r in enumerate(records) if r["kind"] not in TIMED or n >= last.get(_place(r), 0)]
    environment = next((record for record in records if record["kind"] == "environment"), {})
    constant = {key: environment[key] for key in ("preset", "batch_size") if key in environment}
    return [constant | record for record in records]


def read_rows(records: list[Record]) -> list[Row]:
    """Every preset, size and task that has timings, in the order in which they were timed."""
    found: dict[tuple[str, int, int, str], dict[str, dict[int, float]]] = {}
    for record in records:
        if record["kind"] == "timing":
            key = (record["preset"], record["image_size"], record["batch_size"], record["task"])
            found.setdefault(key, {}).setdefault(record["label"], {})[record["round"]] = record["seconds"]
    places = list(dict.fromkeys(key[:3] for key in found))
    keys = [(*place, task) for place in places for task in TASKS if (*place, task) in found]
    return [
        Row(*key, {label: Cell(label, found[key][label]) for label in LABELS if label in found[key]})
        for key in keys
    ]


def _place(record: Record) -> tuple[Any, ...]:
    return record.get("preset"), record.get("image_size"), record.get("batch_size")


def find(records: list[Record], kind: str, **wanted: Any) -> Record | None:
    """The first record of a kind with these fields."""
    return next((r for r in records if r["kind"] == kind and all(r.get(k) == v for k, v in wanted.items())), None)

"""Records of the comparisons: one JSON line for every tensor, whether it passed or not."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frameworks.judge.blame import first_failed
from frameworks.judge.compare import Comparison
from frameworks.shared import tolerances

MOST_LINES = 20


@dataclass
class Recorder:
    """A JSONL file of records; an existing file is emptied first."""

    path: Path

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")

    def write(self, record: dict[str, Any]) -> None:
        """Append one record of any kind: a skip or an environment."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def add(self, comparisons: Iterable[Comparison], **context: str) -> list[str]:
        """Append a record of each comparison; returns a line for each that failed.

        Args:
            context: the fields that all records share: preset, case, dtype, device, framework and judge.
        """
        failures, lines = [], []
        for comparison in comparisons:
            published = {"published_bound": tolerances.PUBLISHED.get(comparison.stage)}
            lines.append(json.dumps(published | context | comparison.record()))
            if not comparison.passed:
                failures.append(comparison.describe(context["dtype"], context["device"]))
        with self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return failures


@dataclass(frozen=True)
class Record:
    """The part of the records that one test writes: which model, under which label, in which dtype and where."""

    recorder: Recorder
    preset: str
    label: str  # the field "case" of the records; a module's path where that module ran alone
    dtype: str
    device: str
    modules: tuple[str, ...] = ()  # canonical paths, in data-flow order

    def add(self, comparisons: list[Comparison], framework: str, judge: str) -> str:
        """Record comparisons of ``framework``; returns "" or a message with a line for each failure."""
        if self.label in self.modules:  # unnamed tensors (``output/0``) belong to the module that ran alone
            comparisons = [dataclasses.replace(comparison, module=self.label) for comparison in comparisons]
        failures = self.recorder.add(
            comparisons,
            preset=self.preset,
            case=self.label,
            dtype=self.dtype,
            device=self.device,
            framework=framework,
            judge=judge,
        )
        if not failures:
            return ""
        title = f"{framework}: {len(failures)} of {len(comparisons)} tensors differ:"
        first = first_failed(comparisons)
        place = f"first in the order of the data flow: {first.module} ({first.stage}), {first.tensor}"
        return "\n".join([title, *failures[:MOST_LINES], place])

    def check(self, comparisons: list[Comparison], framework: str, judge: str) -> None:
        """Record comparisons of ``framework``. Raises AssertionError with a line for each failure."""
        message = self.add(comparisons, framework, judge)
        assert not message, message

"""Report of a benchmark from its records alone: table, verdict, caveats and one figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.benchmarks import texts
from experiments.benchmarks.cells import TASK_NAMES, Cell, name_of, read_cells
from experiments.benchmarks.figure import draw
from experiments.benchmarks.statistics import Estimate, distinguishable, noise_floor
from experiments.benchmarks.timing import CONTROL
from experiments.data.files import write_atomically
from frameworks import ADAPTERS, REFERENCE
from frameworks.errors import UserError
from reports.jsonl import read_lines

RECORDS, REPORT, FIGURE = "records.jsonl", "benchmark.md", "benchmark.png"
ARTICLES = {"step": "a", "inference": "an"}


@dataclass(frozen=True)
class Report:
    """The path of the report, its verdict in one paragraph, and the records of failures."""

    path: Path
    verdict: str
    failures: list[dict[str, Any]]


def write_report(folder: Path) -> Report:
    """Write benchmark.md and benchmark.png beside the records.

    Raises:
        UserError: there are no records or they hold no timing.
    """
    records, _ = read_lines(folder / RECORDS)
    cells = read_cells(records)
    if not cells:
        raise UserError(f"{folder / RECORDS}: no timings; every framework failed before the first round")
    environment = next(record for record in records if record["kind"] == "environment")
    draw(cells, folder / FIGURE)
    sentence = texts.busy_warning(environment) + verdict(cells)
    failures = [record for record in records if record["kind"] == "failure"]
    parts = [
        "# Speed of a training step and of an inference",
        sentence,
        table(cells).to_markdown(index=False, disable_numparse=True),
        f"![Times of every round]({FIGURE})",
        "*One dot per round; the bar is the median with its 95 % bootstrap interval. The gap between the two "
        "columns of the same framework is this machine's noise; only larger gaps are differences.*",
        *[_failure_line(record) for record in failures],
        "## The same model\n\n" + texts.agreement(records),
        "## How it was timed\n\n" + texts.method(environment),
        "## What this does not show\n\n" + "\n".join(f"- {line}" for line in texts.caveats(environment)),
    ]
    path = folder / REPORT
    write_atomically(path, "\n\n".join(parts) + "\n")
    return Report(path, sentence, failures)


def table(cells: list[Cell]) -> pd.DataFrame:
    """One row per cell, times in milliseconds."""
    rows = [
        {
            "image": f"{cell.size}²",
            "task": TASK_NAMES[cell.task],
            "implementation": name_of(cell.label),
            "median, ms": f"{1000 * cell.time.median:.0f}",
            "95 % interval": f"{1000 * cell.time.low:.0f}–{1000 * cell.time.high:.0f}",
            f"÷ {name_of(REFERENCE)} (95 %)": "1" if cell.ratio is None else _ratio(cell.ratio),
            "first call, s": "–" if cell.first is None else f"{cell.first:.2f}",
            "peak memory, MB": "–" if cell.peak_mb is None else f"{cell.peak_mb:.0f}",
        }
        for cell in cells
    ]
    return pd.DataFrame(rows)


def verdict(cells: list[Cell]) -> str:
    """One sentence per size and task: the ratios, and the noise that the A/A control measured."""
    sentences = []
    for size, task in dict.fromkeys((cell.size, cell.task) for cell in cells):
        group = {cell.label: cell for cell in cells if (cell.size, cell.task) == (size, task)}
        if REFERENCE not in group:
            sentences.append(f"At {size}² the {TASK_NAMES[task]} has no reference: {_subject(REFERENCE)} failed.")
            continue
        control = group[CONTROL].ratio if CONTROL in group else None
        floor = noise_floor(control) if control else 0.0
        claims = [_claim(cell, floor) for label, cell in group.items() if label not in (REFERENCE, CONTROL)]
        name, median = f"{ARTICLES[task]} {TASK_NAMES[task]}", 1000 * group[REFERENCE].time.median
        sentence = "; ".join([f"At {size}² {name} takes {_subject(REFERENCE)} {median:.0f} ms", *claims])
        if control:
            sentence += f" (A/A control: × {_ratio(control)}, so differences up to {100 * floor:.0f} % are noise)"
        sentences.append(sentence + ".")
    return " ".join(sentences)


def _claim(cell: Cell, floor: float) -> str:
    if cell.ratio is None:
        return f"{_subject(cell.label)} shares no round with it"
    if not distinguishable(cell.ratio, floor):
        return f"{_subject(cell.label)} cannot be told apart from it (× {_ratio(cell.ratio)})"
    return f"{_subject(cell.label)} takes × {_ratio(cell.ratio)} that"


def _subject(label: str) -> str:
    return f"the {name_of(label)}" if label in ADAPTERS else name_of(label)


def _failure_line(record: dict[str, Any]) -> str:
    return f"**{name_of(record['label'])} failed during {record['during']}**: {' '.join(record['message'].split())}"


def _ratio(value: Estimate) -> str:
    return f"{value.median:.2f} ({value.low:.2f}–{value.high:.2f})"

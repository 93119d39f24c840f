"""Evaluate a framework's averaged model during a run: records, predictions and the best checkpoint."""

import json
import math
from pathlib import Path
from typing import Any

from experiments.progress import Progress, say
from experiments.runs.checkpoint import keep_checkpoint
from experiments.runs.data import Subset
from experiments.runs.evaluation import Evaluated, evaluate
from frameworks.config import DataSpec
from frameworks.files import write_atomically
from frameworks.protocol import Stepper
from reports.jsonl import read_lines
from reports.record_writer import append_all
from reports.run import files


def detect_and_score(
    stepper: Stepper, subset: Subset, data: DataSpec, title: str, *, losses: bool = False
) -> Evaluated:
    """Evaluate on a subset with visible progress, and print a line. Raises UserError for an unreadable image."""
    with Progress(title, len(subset.ids), unit="image", waiting="detecting") as progress:
        evaluated = evaluate(stepper.predict, subset, data, progress.advance, losses)
    stats = evaluated.stats
    loss = f"loss {sum(evaluated.losses.values()):.4f}, " if evaluated.losses else ""
    say(f"{title}: {loss}AP {stats['AP']:.4f}, AP50 {stats['AP50']:.4f}, {evaluated.seconds:.1f} s")
    return evaluated


def evaluation_row(epoch: int, split: str, subset: Subset, evaluated: Evaluated) -> dict[str, Any]:
    """The record of an evaluation after ``epoch`` (from 0)."""
    row = {
        "epoch": epoch,
        "split": split,
        "images": len(subset.ids),
        "stats": evaluated.stats,
        "seconds": evaluated.seconds,
        "kernels_compiled": evaluated.kernels_compiled,
        "compile_seconds": evaluated.compile_seconds,
    }
    return row | ({"losses": evaluated.losses} if evaluated.losses else {})


def write_predictions(path: Path, evaluated: Evaluated) -> None:
    """Write detections in COCO's result format. Raises UserError if the file cannot be written."""
    write_atomically(path, json.dumps(evaluated.results))


def record_evaluation(folder: Path, rows: list[dict[str, Any]], best_of: str) -> None:
    """Append the rows of an epoch to a framework's records, and keep the checkpoint if its AP on the
    split `best_of` is the best so far.

    The checkpoint in ``folder`` has to be that of the epoch. It is kept before the rows are written, so that an
    interruption between the two is made good by evaluating again.
    """
    earlier = [row for row in recorded_evaluations(folder) if row["epoch"] < rows[0]["epoch"]]
    best = max((_average_precision(row) for row in earlier if row["split"] == best_of), default=-math.inf)
    if any(_average_precision(row) > best for row in rows if row["split"] == best_of):
        keep_checkpoint(folder, files.BEST)
    append_all(folder / files.EVALUATION, rows)


def recorded_evaluations(folder: Path) -> list[dict[str, Any]]:
    """The rows of evaluation.jsonl, [] if there is none yet."""
    path = folder / files.EVALUATION
    return read_lines(path)[0] if path.exists() else []


def _average_precision(row: dict[str, Any]) -> float:
    value = row["stats"]["AP"]
    return -1.0 if value is None else value

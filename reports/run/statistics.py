"""COCO's twelve numbers after the last epoch, with the difference of each and its interval; see bootstrap.jsonl."""

import math
from typing import Any

from reports import formatting as show
from reports.jsonl import read_lines
from reports.language import say
from reports.markdown import table
from reports.run import files
from reports.run.meta import COCO_STATS
from reports.run.records import SPLITS, RunRecords
from reports.run.validation import images_of


def statistics_tables(run: RunRecords) -> list[dict[str, str]]:
    """A table for each split, with its title; [] for a run that recorded no differences of all numbers."""
    path = run.folder / files.BOOTSTRAP
    rows = [row for row in read_lines(path)[0] if "statistics" in row] if path.exists() else []
    found = []
    for split in SPLITS:
        if compared := [row for row in rows if row["split"] == split]:
            found.append({"images": images_of(split), "table": table(_rows(run, split, compared))})
    return found


def _rows(run: RunRecords, split: str, rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    evaluations = {each.name: each.last_evaluation(split) for each in run.frameworks}
    return [
        {say("statistic"): name}
        | {
            show.label(framework): show.average_precision(each.stats.get(name) if each else None)
            for framework, each in evaluations.items()
        }
        | {pair_title(row["other"], row["reference"]): with_interval(row["statistics"].get(name)) for row in rows}
        for name in COCO_STATS
    ]


def pair_title(other: str, reference: str) -> str:
    """The heading of a column of differences."""
    return f"{show.plain(show.label(other))} − {show.plain(show.label(reference))}"


def with_interval(found: dict[str, Any] | None) -> str:
    """A difference with its interval; a dash where COCO defines none, 0 where no resample has a difference."""
    if found is None:
        return show.ABSENT
    if not (found["difference"] or found["low"] or found["high"]):
        return "0"
    if math.isnan(found["low"]):  # no resample had an object
        return f"{found['difference']:+.4f}"
    return say(
        "{difference:+.4f} ({low:+.4f} to {high:+.4f})",
        difference=found["difference"],
        low=found["low"],
        high=found["high"],
    )

"""AP of every class that the images hold, with the differences and their intervals; see classes.jsonl."""

from typing import Any

from reports import formatting as show
from reports.jsonl import read_lines
from reports.language import say
from reports.markdown import table
from reports.run import files
from reports.run.records import SPLITS, RunRecords
from reports.run.statistics import pair_title, with_interval
from reports.run.validation import images_of

COMMON = 10  # images with a class from which its interval means something


def class_tables(run: RunRecords) -> list[dict[str, Any]]:
    """A table for each split with its title and a sentence that sums it up; [] for a run without such records."""
    path = run.folder / files.CLASSES
    rows = read_lines(path)[0] if path.exists() else []
    found = []
    for split in reversed(SPLITS):
        if own := [row for row in rows if row["split"] == split]:
            own.sort(key=lambda row: (-row["objects"], row["category_id"]))
            title = say(
                "AP of every class that the {images} hold ({count})", images=images_of(split), count=len(own)
            )
            found.append({"title": title, "table": _table(run, own), "summary": _summary(own)})
    return found


def _table(run: RunRecords, rows: list[dict[str, Any]]) -> str:
    reference = run.entries[0].name
    return table(
        [
            {
                say("class"): show.code(row["name"]),
                say("objects"): f"{row['objects']:,}",
                say("images"): f"{row['images']:,}",
            }
            | {show.label(each.name): show.average_precision(row["AP"].get(each.name)) for each in run.frameworks}
            | {pair_title(name, reference): with_interval(each) for name, each in row["differences"].items()}
            for row in rows
        ]
    )


def _summary(rows: list[dict[str, Any]]) -> str:
    """In how many of the common classes each interval leaves 0 out; empty where nothing was compared."""
    common, told = [row["differences"] for row in rows if row["images"] >= COMMON], []
    for name in rows[0]["differences"]:
        apart = sum(each[name]["low"] > 0 or each[name]["high"] < 0 for each in common)
        told.append(say("in {apart} for {framework}", apart=apart, framework=show.plain(show.label(name))))
    if not told:
        return ""
    return say(
        "An interval of few images is too narrow to be believed. Of {count} classes {common} are in "
        "{enough} or more images; of those it leaves 0 out {told}, by chance in about 5 of 100.",
        count=len(rows),
        common=len(common),
        enough=COMMON,
        told=say(", ").join(told),
    )

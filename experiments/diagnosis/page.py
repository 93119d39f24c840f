"""The page of a diagnosis and what the terminal shows, from its record alone."""

import json
from pathlib import Path
from typing import Any

from experiments.diagnosis.figure import draw, short
from reports.markdown import table
from reports.publish import render

PAGE, FIGURE = "diagnosis.md", "diagnosis.png"
MOST_LOST = 12  # parameters that the terminal names
HEADINGS = {
    "forward": "forward, whole",
    "forward_alone": "forward, alone",
    "backward": "backward, whole",
    "backward_alone": "backward, alone",
}

Record = dict[str, Any]


def write_page(path: Path) -> Path:
    """Write the page and its figure beside a record; returns the page's path."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["modules"]:
        draw(record, path.with_name(FIGURE))
    differing = [row for row in record["whole"] if not row["passed"]]
    context = {
        "record": record,
        "sides": [short(record[side]) for side in ("left", "right")],
        "figure": FIGURE if record["modules"] else "",
        "verdict": verdict(record),
        "modules": table(module_rows(record)) if record["modules"] else "No module was recorded.",
        "notes": notes(record),
        "whole": table([{"tensor": row["tensor"], "error": error(row["error"])} for row in differing])
        if differing
        else "",
        "compared": len(record["whole"]),
        "lost": table(record["lost"], left=3) if record["lost"] else "",
    }
    page = path.with_name(PAGE)
    page.write_text(render("diagnosis.md.j2", context), encoding="utf-8")
    return page


def summary(record: Record) -> str:
    """The modules, the first culprit and the parameters without a gradient, as plain lines."""
    rows = module_rows(record)
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]} if rows else {}
    headings = {key: key for key in widths}
    lines = [
        "  ".join(f"{row[key]:<{width}}" for key, width in widths.items()).rstrip() for row in [headings, *rows]
    ]
    lines += notes(record)
    lost = record["lost"]
    lines += [f"gradient of {p['parameter']}: left {p['left']}, right {p['right']}" for p in lost[:MOST_LOST]]
    if len(lost) > MOST_LOST:
        lines.append(f"... and of {len(lost) - MOST_LOST} more parameters")
    return "\n".join([*lines, verdict(record)])


def verdict(record: Record) -> str:
    """One sentence: the same, the first culprit, or a difference that no module explains."""
    culprit = record["culprit"]
    if culprit:
        detail = "; ".join(filter(None, (culprit["note"], culprit["code"])))
        return (
            f"first culprit: {culprit['module']} ({culprit['where']}): {culprit['tensor']}, "
            f"error {error(culprit['error'])}, limit {culprit['limit']:.0e}{f'; {detail}' if detail else ''}"
        )
    if record["failed"]:
        return f"{record['failed']} of {record['compared']} tensors differ, but no module does on the left's inputs"
    return f"the same: all {record['compared']} tensors agree"


def notes(record: Record) -> list[str]:
    """Why modules did not run alone, each reason once."""
    modules: dict[str, list[str]] = {}
    for row in record["modules"]:
        modules.setdefault(row["note"], []).append(row["module"])
    modules.pop("", None)
    every = len(record["modules"])
    named = {note: "every module" if len(names) == every else ", ".join(names) for note, names in modules.items()}
    return [f"{names}: {note}" for note, names in named.items()]


def module_rows(record: Record) -> list[dict[str, str]]:
    """A row for each module in data-flow order, the first culprit marked."""
    culprit = (record["culprit"] or {}).get("module")
    return [
        {"module": row["module"]}
        | {heading: error(row[key]) for key, heading in HEADINGS.items()}
        | {"": "<- first culprit" if row["module"] == culprit else ""}
        for row in record["modules"]
    ]


def error(value: float | None) -> str:
    """An error as text: a dash where there is nothing to compare, "none" where a tensor has no counterpart."""
    if value is None:
        return "-"
    return "no match" if value == float("inf") else f"{value:.1e}" if value else "0"

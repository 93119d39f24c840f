"""The page of the planted faults: python -m reports.mutants RECORDS writes reports/examples/mutants.md.

Everything on it comes from the records of ``python -m parity_tests.mutants``, whose first line lists what the
catalogue holds.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frameworks.errors import UserError, exit_status
from reports.jsonl import read_lines
from reports.markdown import table
from reports.publish import render

PAGE = Path(__file__).parent / "examples/mutants.md"
PLACES = ("torch", "jittor", "shared")
APART = "unit tests"  # the stages of faults that no parity test can find
LAST = "all others"  # the last stage
ALONE = ("data", "drawing")  # the areas of those faults
Record = dict[str, Any]
Identity = tuple[str, str, str]  # of a fault: area, name and where it is planted


def mutants_page(records: Path) -> str:
    """The page as Markdown. Raises UserError as ``read``."""
    listed, known = read(records)
    parity = [line for line in known if line["until"] != APART]
    survivors = [line for line in known if line["status"] == "survived" and not _is_open(line)]
    return render(
        "mutants.md.j2",
        {
            "summary": summary_table(listed, known),
            "areas": _areas(listed, known),
            "stages": _stages(parity),
            "blame": _blame(parity),
            "wrong": _wrongly_blamed(parity),
            "weak": _weak(parity),
            "seen_by_judge_alone": _seen_by_judge_alone(parity),
            "survivors": survivors,
            "open": [line for line in known if _is_open(line)],
            "equivalent": _arguments(known),
            "not_run": len(listed) - len(known),
            "dates": sorted({line["date"] for line in known}),
        },
    )


def read(records: Path) -> tuple[set[Identity], list[Record]]:
    """What the catalogue holds, and the last record of each of its faults that was run.

    Raises:
        UserError: the records cannot be read or have no catalogue.
    """
    lines = read_lines(records)[0]
    catalogues = [line["catalogue"] for line in lines if "catalogue" in line]
    if not catalogues:
        raise UserError(
            f"{records}: has no line 'catalogue'; expected the records of python -m parity_tests.mutants"
        )
    listed = {(area, name, place) for area, name, place in catalogues[-1]}
    found = {_identity(line): line for line in lines if "catalogue" not in line}  # the last record of each counts
    return listed, [line for key, line in found.items() if key in listed and line["status"] != "error"]


def _identity(line: Record) -> Identity:
    return line["area"], line["name"], line["planted_in"]


def _is_open(line: Record) -> bool:
    """Whether a fault was not found by the stages asked so far, and others are left."""
    return line["status"] == "survived" and not line["until"].startswith((LAST, APART))


def _counts(listed: int, lines: list[Record]) -> dict[str, Any]:
    by = Counter("open" if _is_open(line) else line["status"] for line in lines)
    asked = by["killed"] + by["survived"] + by["open"]
    return {
        "planted": listed,
        "killed": by["killed"],
        "survived": by["survived"],
        "open": by["open"],
        "equivalent": by["equivalent"],
        "not run": listed - sum(by.values()),
        "killed, at least": f"{100 * by['killed'] / asked:.1f} %" if asked else "–",
    }


def summary_table(listed: set[Identity], lines: list[Record]) -> str:
    """Rows: each twin, shared code, and apart what unit tests alone can find."""
    groups: list[tuple[str, Callable[[str, str], bool]]] = [
        ("PyTorch twin", lambda area, place: place == "torch"),
        ("Jittor twin", lambda area, place: place == "jittor"),
        ("shared by the twins", lambda area, place: place == "shared" and area not in ALONE),
        ("data and draws, by unit tests", lambda area, place: area in ALONE),
    ]
    rows = []
    for title, belongs in groups:
        count = sum(belongs(area, place) for area, _, place in listed)
        rows.append(
            {"planted in": title} | _counts(count, [x for x in lines if belongs(x["area"], x["planted_in"])])
        )
    return table(rows)


def _areas(listed: set[Identity], lines: list[Record]) -> str:
    rows = []
    for area in sorted({area for area, _, _ in listed}):
        for place in PLACES:
            count = sum((area, place) == (a, p) for a, _, p in listed)
            if count:
                mine = [x for x in lines if (x["area"], x["planted_in"]) == (area, place)]
                rows.append({"area": area, "planted in": place} | _counts(count, mine))
    return table(rows, left=2)


def _stages(lines: list[Record]) -> str:
    """How many faults each stage killed, in the order in which stages are asked."""
    killed = Counter((x["stage"], x["planted_in"]) for x in lines if x["status"] == "killed")
    order = list(dict.fromkeys(x["stage"] for x in lines if x["status"] == "killed"))
    sizes = {stage: sum(killed[stage, place] for place in PLACES) for stage in order}
    return table(
        [
            {"stage": stage} | {place: killed[stage, place] for place in PLACES} | {"together": sizes[stage]}
            for stage in sorted(order, key=lambda stage: -sizes[stage])
        ]
    )


def _blame(lines: list[Record]) -> str:
    """How often the failing test named the right module: by the search, or by its first comparison."""
    rows = []
    for how, title in (
        ("search", "the search for the culprit"),
        ("comparison", "the first failed comparison"),
    ):
        named = [x for x in lines if x["blamed_by"] == how]
        right = sum(x["blame_right"] for x in named)
        share = f"{100 * right / len(named):.1f} %" if named else "–"
        rows.append({"named by": title, "named": len(named), "right": right, "share": share})
    silent = [x for x in lines if x["status"] == "killed" and not x["blamed"]]
    for title, searched in (("nothing named", True), ("not searched (--no-search)", False)):
        count = sum(x["searched"] == searched for x in silent)
        rows.append({"named by": title, "named": count, "right": "–", "share": "–"})
    return table(rows)


def _wrongly_blamed(lines: list[Record]) -> str:
    wrong = [x for x in lines if x["blamed_by"] == "search" and not x["blame_right"]]
    rows = [
        {"fault": _title(x), "blamed": f"{x['blamed']} ({x['blamed_where']})", "expected": ", ".join(x["blame"])}
        for x in wrong
    ]
    return table(rows, left=3) if rows else "None.\n"


def _weak(lines: list[Record]) -> str:
    """What weaker checks would have missed among the killed whose tensors were at hand."""
    judged = [x for x in lines if x["status"] == "killed" and x["weak"]]
    checks = list(judged[0]["weak"]) if judged else []
    rows = [{"check": "this judge", "of": len(judged), "missed": 0, "share": "0.0 %"}]
    for check in checks:
        missed = sum(not x["weak"][check] for x in judged)
        rows.append(
            {"check": check, "of": len(judged), "missed": missed, "share": f"{100 * missed / len(judged):.1f} %"}
        )
    return table(rows)


def _seen_by_judge_alone(lines: list[Record]) -> list[str]:
    """Faults that every weaker check would have missed."""
    return sorted(_title(x) for x in lines if x["weak"] and not any(x["weak"].values()))


def _arguments(lines: list[Record]) -> dict[str, list[str]]:
    """Argument -> the equivalent faults that it is about."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line["status"] == "equivalent":
            found.setdefault(line["equivalent"], []).append(_title(line))
    return found


def _title(line: Record) -> str:
    return f"{line['area']}: {line['name']} [{line['planted_in']}]"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 (one line on stderr) for unreadable records."""
    parser = argparse.ArgumentParser(prog="reports.mutants", description="Write the page of the planted faults.")
    parser.add_argument("records", type=Path, help="JSON lines")
    options = parser.parse_args(arguments)

    def write() -> int:
        PAGE.write_text(mutants_page(options.records), encoding="utf-8")
        print(PAGE)
        return 0

    return exit_status(write)


if __name__ == "__main__":
    sys.exit(main())

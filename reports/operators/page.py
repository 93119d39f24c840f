"""The page of the operator atlas: what is the same, what differs how and by how much, is missing or crashes."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from reports import formatting as show
from reports.markdown import table
from reports.operators.records import (
    BOTH_OFF,
    CRASHES,
    DIFFERS,
    HANGS,
    MISSING,
    OFF_ALIKE,
    OTHER_CHOICE,
    OVERALL,
    PASSES,
    RAISES,
    SAME,
    TORCH_OFF,
    Case,
    Examined,
    examined,
)
from reports.publish import render

ROOT = Path(__file__).resolve().parents[2]
PAGE = "operators.md"
WORDS = {OTHER_CHOICE: "another choice", TORCH_OFF: "PyTorch is off", BOTH_OFF: "both are off"}
MOST_ROWS = 8  # of an operator's table
ABSENT = (MISSING, RAISES)
DIGITS = 1e-6  # float32 has about as many


def build_page(records: Path, out_dir: Path) -> Path:
    """Write operators.md into ``out_dir``; returns its path. Raises UserError where there are no records."""
    page = out_dir / PAGE
    page.write_text(atlas(records, out_dir), encoding="utf-8")
    return page


def atlas(records: Path, out_dir: Path) -> str:
    """The page as Markdown, with links for a page in ``out_dir``."""
    operators = examined(records)
    to_root = os.path.relpath(ROOT, out_dir.resolve())
    by = {word: [one for one in operators if one.verdict == word] for word in OVERALL}
    context = {
        "summary": summary(operators),
        "families": table(_families(operators)),
        "kinds": _kinds(by[DIFFERS]),
        "passes": table(_passes(operators), left=2),
        "crashes": [_details(one, to_root) for one in by[CRASHES]],
        "absent": [compact([_absent(one) for one in by[word]], left=5) if by[word] else "None." for word in ABSENT],
        "differs": [_details(one, to_root) for one in by[DIFFERS]],
        "same": compact([_same(one, to_root) for one in by[SAME]], left=3) if by[SAME] else "None.",
        "root": to_root,
    }
    return render("operators.md.j2", context)


def summary(operators: list[Examined]) -> str:
    """One sentence: operators and cases, and how many have which verdict."""
    count = Counter(one.verdict for one in operators)
    cases = [case for one in operators for case in one.cases]
    same = sum(case.verdict in OVERALL[SAME] for case in cases)
    mended = [one for one in operators if one.mended[1]]
    whole = sum(one.mended[0] == one.mended[1] for one in mended)
    return (
        f"Of {len(operators)} operators, Jittor 1.3.11 computes {count[SAME]} as PyTorch and the truth do, "
        f"{count[DIFFERS]} differ in at least one case, {count[MISSING]} are missing, {count[RAISES]} raise "
        f"an error and {count[CRASHES]} crash or hang; {same} of {len(cases)} cases are the same. "
        f"For {len(mended)} operators the page names code to write instead, which was asked too: "
        f"it is right in every case of {whole} of them."
    )


def _families(operators: list[Examined]) -> list[dict[str, Any]]:
    families = list(dict.fromkeys(one.entry["family"] for one in operators))
    groups = [(family, [one for one in operators if one.entry["family"] == family]) for family in families]
    rows = []
    for title, group in [*groups, ("**all**", operators)]:
        count = Counter(one.verdict for one in group)
        twins = sum(bool(one.entry["twin"]) for one in group)
        rows.append(
            {"family": title.replace("_", " "), "operators": len(group), "in the twin": twins}
            | {word: count[word] for word in (SAME, DIFFERS, MISSING, RAISES, CRASHES)}
        )
    return rows


def _passes(operators: list[Examined]) -> list[dict[str, Any]]:
    """Cases by dtype and pass."""
    rows = []
    for dtype in ("float32", "float64"):
        for passed in PASSES:
            cases = [c for one in operators for c in one.cases if (c.dtype, c.passed) == (dtype, passed)]
            count = Counter(case.verdict for case in cases)
            rows.append(
                {
                    "dtype": dtype,
                    "pass": passed,
                    "cases": len(cases),
                    SAME: count[SAME],
                    "another choice": count[OTHER_CHOICE],
                    "Jittor off": count[DIFFERS],
                    "PyTorch off": count[TORCH_OFF],
                    "both off": count[BOTH_OFF],
                    "off alike": count[OFF_ALIKE],
                    MISSING: count[MISSING],
                    RAISES: count[RAISES],
                    CRASHES: count[CRASHES] + count[HANGS],
                }
            )
    return rows


def kind(one: Examined) -> str:
    """In which way an operator differs, from the cases in which it does."""
    apart = one.apart
    if all(case.dtype == "float64" and _error(case) < DIGITS for case in apart):
        return "in float64, by less than float32's digits"
    if all(case.verdict == OTHER_CHOICE for case in apart):
        return "by another choice, at kinks and ties"
    if all(case.inputs == "NaN and infinity" for case in apart):
        return "at NaN and infinity"
    if all(case.verdict == TORCH_OFF for case in apart):
        return "where PyTorch is off"
    if all(case.inputs != "ordinary" or (case.dtype == "float64" and _error(case) < DIGITS) for case in apart):
        return "at other edge inputs (zeros, bounds, large or tiny numbers, large means)"
    return "on ordinary inputs"


def _error(case: Case) -> float:
    error = case.found.get("jittor")
    return float("inf") if error is None else error


def _kinds(differing: list[Examined]) -> list[tuple[str, list[str]]]:
    """Ways in which operators differ, and the operators of each, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for one in differing:
        groups.setdefault(kind(one), []).append(one.name)
    return sorted(groups.items(), key=lambda item: -len(item[1]))


def compact(rows: list[dict[str, Any]], left: int = 1) -> str:
    """A table without padding: cells of code would make every row as long as the longest."""
    return re.sub(r"-{4,}", "---", re.sub(r" {2,}", " ", table(rows, left)))


def _absent(one: Examined) -> dict[str, str]:
    """A row about a call that Jittor does not have, or that raises an error."""
    first = next(case for case in one.apart if case.verdict in ABSENT)
    right, asked = one.mended
    return {
        "operator": one.name,
        "PyTorch": code(one.entry["calls"]["torch"]),
        "Jittor says": first.found["how"],
        "instead": code(one.entry["calls"]["instead"]) if asked else "",
        "where": f"{len(one.apart)} of {len(one.cases)} cases",
        "instead is right": f"{right} of {asked}" if asked else "",
    }


def _details(one: Examined, root: str) -> dict[str, Any]:
    """What the template shows of an operator that crashes or differs."""
    rows = _rows(one)
    right, asked = one.mended
    return {
        "name": one.name,
        "calls": one.entry["calls"],
        "note": one.entry["note"],
        "rows": compact(rows[:MOST_ROWS], left=3),
        "more": len(rows) - len(rows[:MOST_ROWS]),
        "apart": len(one.apart),
        "cases": len(one.cases),
        "twin": twin_link(one.entry["twin"], root) if one.entry["twin"] else "",
        "right": right,
        "asked": asked,
        "defect": f"[{one.entry['defect']}.py]({root}/docs/jittor_defects/{one.entry['defect']}.py)"
        if one.entry["defect"]
        else "",
    }


def _rows(one: Examined) -> list[dict[str, str]]:
    """The cases that are not the same, both dtypes in one row where they have the same verdict."""
    groups: dict[tuple[str, str, str], list[Case]] = {}
    for case in one.apart:
        groups.setdefault((case.inputs, case.passed, case.verdict), []).append(case)
    return [_row(cases) for cases in groups.values()]


def _row(cases: list[Case]) -> dict[str, str]:
    """One row: the first dtype's numbers."""
    case = cases[0]
    found = case.found
    values = found.get("values", {})
    shown = ", ".join(f"{name} {values[key]}" for key, name in NAMES.items() if key in values)
    where = f"at {found['at']}: " if values else ""
    return {
        "inputs": case.inputs,
        "pass": case.passed,
        "verdict": WORDS.get(case.verdict, case.verdict),
        "dtype": " and ".join(case.dtype for case in cases),
        "error": show.small(found.get("jittor")) if "limit" in found else "",
        "limit": show.small(found["limit"]) if "limit" in found else "",
        "seen": f"{where}{shown}" if shown else found.get("how", ""),
    }


NAMES = {"truth": "truth", "torch": "PyTorch", "jittor": "Jittor"}


def _same(one: Examined, root: str) -> dict[str, str]:
    """A row: calls, number of cases, the worst errors."""
    worst = {
        dtype: max((case.found["jittor"] for case in one.cases if case.dtype == dtype), default=None)
        for dtype in ("float32", "float64")
    }
    return {
        "operator": one.name,
        "Jittor": code(one.entry["calls"]["jittor"]),
        "twin": twin_link(one.entry["twin"], root) if one.entry["twin"] else "",
        "cases": str(len(one.cases)),
    } | {f"worst {dtype}": show.small(error) for dtype, error in worst.items()}


def twin_link(file: str, root: str) -> str:
    """A link to a file of the Jittor twin."""
    return f"[{file}]({root}/frameworks/jittor_rtdetr/{file})"


def code(text: str) -> str:
    """Code in a cell of a table."""
    return f"`{text}`"

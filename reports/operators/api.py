"""The table from PyTorch's calls to Jittor's, for people who port: docs/jittor_api.md."""

from pathlib import Path

from reports.operators.page import ROOT, code, compact, twin_link
from reports.operators.records import CRASHES, DIFFERS, MISSING, RAISES, SAME, Examined, examined
from reports.publish import render

API = ROOT / "docs/jittor_api.md"
ANSWERS = {SAME: "yes", DIFFERS: "no", MISSING: "missing", RAISES: "raises", CRASHES: "crashes"}


def api_page(records: Path) -> str:
    """The page as Markdown: a table for every family."""
    operators = examined(records)
    families = dict.fromkeys(one.entry["family"] for one in operators)
    tables = {family.replace("_", " "): compact(_rows(operators, family), left=4) for family in families}
    return render("jittor_api.md.j2", {"tables": tables, "count": len(operators)})


def _rows(operators: list[Examined], family: str) -> list[dict[str, str]]:
    return [
        {
            "PyTorch": code(one.entry["calls"]["torch"]),
            "Jittor": code(one.entry["calls"]["jittor"]),
            "same?": ANSWERS[one.verdict],
            "note": _note(one),
        }
        for one in operators
        if one.entry["family"] == family
    ]


def _note(one: Examined) -> str:
    """How it differs, where the cases say it, and what to write instead."""
    where = f"({_where(one)})" if one.verdict == DIFFERS else ""
    parts = [f"{one.entry['note']} {where}".strip()]
    if "instead" in one.entry["calls"]:
        right, asked = one.mended
        whole = "" if right == asked else f" (right in {right} of {asked} cases)"
        parts.append(f"instead {code(one.entry['calls']['instead'])}{whole}")
    if one.entry["twin"]:
        parts.append(f"twin: {twin_link(one.entry['twin'], '..')}")
    return "; ".join(part for part in parts if part)


def _where(one: Examined) -> str:
    """What is not the same, in few words: passes, a dtype if it is but one, inputs if not all of them."""
    passes = dict.fromkeys(case.passed for case in one.apart)
    dtypes = dict.fromkeys(case.dtype for case in one.apart)
    labels = dict.fromkeys(case.inputs for case in one.apart)
    parts = [" and ".join(passes)]
    if len(dtypes) == 1 < len({case.dtype for case in one.cases}):
        parts.append(next(iter(dtypes)))
    if len(labels) < len({case.inputs for case in one.cases}):
        parts.append(", ".join(labels))
    return "; ".join(parts)

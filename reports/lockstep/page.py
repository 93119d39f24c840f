"""The page of a lockstep session, from its records alone."""

from pathlib import Path
from typing import Any

import numpy as np

from reports import formatting as show
from reports.lockstep.envelope import SLACK, Result, growth, judged, needed_slack
from reports.lockstep.figure import divergence_figure
from reports.lockstep.records import BASE, FAULT, PERTURBED, Lockstep, Run, read, steps_of
from reports.markdown import table
from reports.publish import render

PAGE, FIGURE = "lockstep.md", "lockstep.png"
STEPS = (1, 2, 3, 5, 10, 20, 30, 40, 50)  # rows of the table, as far as there are steps


def build_page(records: Path, out_dir: Path) -> Path:
    """Write lockstep.md and lockstep.png into ``out_dir``; returns the page. Raises UserError as ``read``."""
    lockstep = read(records)
    results = judged(lockstep)
    divergence_figure(lockstep, out_dir / FIGURE)
    context = {
        "verdicts": verdicts(lockstep),
        "session": lockstep.session,
        "plan": lockstep.session["plan"],
        "slack": SLACK,
        "fault_steps": steps_of(FAULT, lockstep.session["plan"]),
        "divergence": table([row for dtype in lockstep.dtypes for row in _divergence(lockstep, dtype)]),
        "growth": table([row for dtype in lockstep.dtypes for row in _growth(lockstep, dtype)]),
        "faults": table([_fault(result) for result in results if result.run.kind == FAULT], left=2),
        "figure": FIGURE,
        "records": records.name,
    }
    page = out_dir / PAGE
    page.write_text(render("lockstep.md.j2", context), encoding="utf-8")
    return page


def verdicts(lockstep: Lockstep) -> list[str]:
    """A paragraph for each dtype."""
    results = judged(lockstep)
    return [_verdict(lockstep, dtype, results) for dtype in lockstep.dtypes]


def _verdict(lockstep: Lockstep, dtype: str, results: list[Result]) -> str:
    """One paragraph: whether the frameworks part no faster than each from itself, and which faults are seen."""
    ours = [result for result in results if result.run.dtype == dtype]
    bases = [result for result in ours if result.run.kind == BASE]
    faults = [result for result in ours if result.run.kind == FAULT]
    seen = [result for result in faults if result.passed]
    holds = bool(bases) and all(result.passed for result in bases)
    worst = max((result.margin for result in bases), default=float("nan"))
    head = (
        f"parts from {show.label(lockstep.reference)} no faster than a framework from itself"
        if holds
        else "**leaves the envelope**"
    )
    names = show.labels(result.run.framework for result in bases)
    slack = needed_slack(lockstep.of(dtype, PERTURBED))
    steps = lockstep.session["plan"]["steps"]
    last = max((result.run.curves["parameters"][-1] for result in bases), default=float("nan"))
    return (
        f"**{dtype}**: {names} {head} (largest divergence ÷ edge {worst:.2g}); after {steps} steps the parameters "
        f"differ by {show.small(last)} of what training has changed. {len(seen)} of {len(faults)} "
        f"planted faults leave the envelope. Of the perturbed runs themselves, none needed a slack above "
        f"{slack:.2g} against the others."
    )


def _divergence(lockstep: Lockstep, dtype: str) -> list[dict[str, Any]]:
    """Rows: divergence of the parameters at some steps, the candidate's beside the range of the perturbed runs."""
    perturbed, bases = lockstep.of(dtype, PERTURBED), lockstep.of(dtype, BASE)
    rows = []
    for step in (step for step in STEPS if step <= lockstep.session["plan"]["steps"]):
        row: dict[str, Any] = {"dtype": dtype, "step": step}
        for quantity in ("loss", "parameters"):
            for run in bases:
                row[f"{quantity}, {show.label(run.framework)}"] = show.small(run.curves[quantity][step - 1])
            values = [run.curves[quantity][step - 1] for run in perturbed]
            row[f"{quantity}, perturbed"] = f"{show.small(min(values))} to {show.small(max(values))}"
        rows.append(row)
    return rows


def _growth(lockstep: Lockstep, dtype: str) -> list[dict[str, Any]]:
    """Rows: the factor by which the parameters' divergence grows with a step."""
    groups: dict[str, list[Run]] = {}
    for run in lockstep.of(dtype, PERTURBED):
        groups.setdefault(f"{show.label(run.framework)} from itself, perturbed", []).append(run)
    for run in lockstep.of(dtype, BASE):
        groups[f"{show.label(run.framework)} from {show.label(lockstep.reference)}"] = [run]
    rows = []
    for name, runs in groups.items():
        factors = [growth(run.curves) for run in runs]
        spread = f"{min(factors):.2f} to {max(factors):.2f}" if len(runs) > 1 else show.ABSENT
        rows.append(
            {
                "dtype": dtype,
                "runs": f"{name} ({len(runs)})",
                "growth a step, median": f"{np.median(factors):.2f}",
                "range": spread,
            }
        )
    return rows


def _fault(result: Result) -> dict[str, Any]:
    return {
        "dtype": result.run.dtype,
        "stage": result.run.which,
        "leaves the envelope at step": result.left or "never: NOT SEEN",
        "in": result.quantity or show.ABSENT,
        "largest divergence ÷ edge": f"{result.margin:.2g}",
    }

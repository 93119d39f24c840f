"""The page of several runs: comparison.md, its figure and comparison.html, from the records alone."""

import string
from pathlib import Path
from typing import Any

from reports import formatting as show
from reports.comparison.facts import Fact, circumstances, deciding
from reports.comparison.figure import loss_panels
from reports.html import html_page
from reports.language import in_language, say
from reports.markdown import table
from reports.parity.tables import margin
from reports.publish import install, render, working_folder
from reports.run.differences import relative_difference
from reports.run.records import RunRecords, read_run
from reports.run.summary import Summary, evaluation_of, summarize

PAGE, HTML, FIGURES = "comparison.md", "comparison.html", "comparison_*.png"
MANY = 12  # facts, from which on their table is folded


def build_comparison(folders: list[Path], out: Path, language: str = "en") -> tuple[Path, bool]:
    """Write the page of two or more runs into `out`.

    Returns:
        its path, and whether all runs are comparable with the first: same data, spec, seed, weights and epochs.

    Raises:
        UserError: a folder that is no run folder or holds a broken record.
    """
    runs = [read_run(folder) for folder in folders]
    out.mkdir(parents=True, exist_ok=True)
    with working_folder(out, "comparison") as folder, in_language(language):
        decided = deciding(runs)
        figure = loss_panels(runs, folder / "comparison_loss.png")
        text = render("comparison.md.j2", _context(runs, decided) | {"figure": figure and figure.name})
        (folder / PAGE).write_text(text, encoding="utf-8")
        (folder / HTML).write_text(html_page(text, folder, language), encoding="utf-8")
        (folder / HTML).replace(out / HTML)
        return install(folder, out, PAGE, FIGURES), not decided


def _context(runs: list[RunRecords], decided: list[Fact]) -> dict[str, Any]:
    around = circumstances(runs)
    return {
        "runs": [(_letter(place), run) for place, run in enumerate(runs)],
        "verdicts": [_verdict(place, decided) for place in range(1, len(runs))],
        "numbers": _numbers(runs),
        "differences": _differences(runs, decided),
        "decided": _facts(decided),
        "circumstances": _facts(around),
        "folded": len(around) >= MANY,
    }


def _letter(place: int) -> str:
    letters = string.ascii_uppercase
    return letters[place] if place < len(letters) else f"{letters[place % 26]}{place // 26}"


def _verdict(place: int, decided: list[Fact]) -> str:
    """Whether one run may be compared with the first, and if not, why."""
    names = [show.plain(fact.name) for fact in decided if fact.differs(place)]
    run = _letter(place)
    if not names:
        return say(
            "{run} is comparable with A: the same data, spec, seed, initial weights and number of epochs.", run=run
        )
    shown = "; ".join(names[:6]) + ("; …" if len(names) > 6 else "")
    return say(
        "**{run} is not comparable with A**: they differ in what decides a result ({names}). Their numbers stand "
        "side by side below, and no difference is computed.",
        run=run,
        names=shown,
    )


def _numbers(runs: list[RunRecords]) -> str:
    """A row per training of every run."""
    rows = []
    for place, run in enumerate(runs):
        for summary in map(summarize, run.entries):
            rows.append(
                {
                    say("run"): _letter(place),
                    say("training"): show.label(summary.name),
                    say("epochs"): say("{done} of {planned}", done=summary.epochs, planned=run.meta.epochs),
                    say("last loss"): show.loss(summary.final_loss),
                    say("AP, train"): show.average_precision(_precision(summary, "train")),
                    say("AP, val"): show.average_precision(_precision(summary, "val")),
                    say("time per step"): show.seconds(summary.step_seconds),
                    say("peak memory"): show.megabytes(summary.peak_memory_mb),
                    say("certificate"): _certified(run, summary.name),
                }
            )
    return table(rows, left=2)


def _certified(run: RunRecords, name: str) -> str:
    """The worst float64 error as a share of its limit; the first framework is what the others are held to."""
    certificate = run.certificate
    if certificate is None or name not in [each.name for each in run.frameworks[1:]]:
        return ""
    if certificate.float64 is None:
        return say("left out")
    own = [each for each in certificate.float64.comparisons if each.framework == name]
    worst = margin(max(each.margin for each in own)) if own else show.ABSENT
    return say("**failed**, {worst}", worst=worst) if certificate.failed else say("passed, {worst}", worst=worst)


def _differences(runs: list[RunRecords], decided: list[Fact]) -> str | None:
    """Every training of a comparable run beside the same training of the first run; None without one."""
    first = {each.name: each for each in map(summarize, runs[0].entries)}
    rows = []
    for place, run in enumerate(runs[1:], start=1):
        if any(fact.differs(place) for fact in decided):
            continue
        for other in map(summarize, run.entries):
            if reference := first.get(other.name):
                rows.append({say("run"): say("{run} against A", run=_letter(place))} | _row(reference, other))
    return table(rows, left=2) if rows else None


def _row(reference: Summary, other: Summary) -> dict[str, str]:
    left, right = reference.final_loss, other.final_loss
    apart = None if left is None or right is None else relative_difference(left, right)
    return {
        say("training"): show.label(other.name),
        say("last loss"): show.percent(apart),
        **{
            title: _apart(_precision(reference, split), _precision(other, split))
            for split, title in (("train", say("AP, train")), ("val", say("AP, val")))
        },
        say("time per step"): show.ratio(other.step_seconds, reference.step_seconds),
        say("peak memory"): show.ratio(other.peak_memory_mb, reference.peak_memory_mb),
    }


def _apart(reference: float | None, other: float | None) -> str:
    if reference is None or other is None or min(reference, other) < 0:  # -1 is COCO's "no object"
        return show.ABSENT
    return f"{other - reference:+.4f}"


def _precision(summary: Summary, split: str) -> float | None:
    evaluation = evaluation_of(summary, split)
    return evaluation.stats.get("AP") if evaluation else None


def _facts(facts: list[Fact]) -> str | None:
    """A row per fact, a column per run."""
    rows = [
        {"": show.plain(fact.name)}
        | {
            _letter(place): show.ABSENT if value is None else show.plain(value)
            for place, value in enumerate(fact.values)
        }
        for fact in facts
    ]
    return table(rows) if rows else None

"""The report of a run, built from its folder alone; no model and no framework is imported."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from frameworks.errors import UserError, exit_status
from reports import formatting as show
from reports.html import html_page
from reports.language import LANGUAGES, in_language, say
from reports.parity.figure import depth_figure
from reports.parity.records import ParityRecords
from reports.publish import install, render, working_folder
from reports.run import (
    captions,
    detections,
    figures,
    findings,
    loss_figure,
    precision_curves,
    precision_differences,
    recall_figure,
    tables,
    validation,
)
from reports.run.certificate import Certificate
from reports.run.differences import TrainingDifference, compare_controls, compare_run
from reports.run.headline import headline_table
from reports.run.published_tables import published_tables
from reports.run.quotable import summary_text
from reports.run.records import RunRecords, read_run
from reports.run.verdict import verdict

REPORT, PAGE, SUMMARY = "report.md", "report.html", "summary.json"
FIGURES = "report_*.png"


def build_report(run_dir: Path, language: str = "en") -> Path:
    """Write report.md, its figures, report.html and summary.json into `run_dir`; return the path of report.md.

    The page is in `language` ("en" or "zh"); text in figures is English, and summary.json has one form.

    They are built in a temporary folder first, so that a failed build keeps the old report. Raises UserError for a
    folder that is no run folder or holds a broken record.
    """
    run = read_run(Path(run_dir))
    with working_folder(run.folder, "report") as folder:
        with in_language(language):
            text = render("run.md.j2", _context(run, folder))
        made = {REPORT: text, PAGE: html_page(text, folder, language), SUMMARY: summary_text(run)}
        for file, content in made.items():
            (folder / file).write_text(content, encoding="utf-8")
        for file in (PAGE, SUMMARY):
            (folder / file).replace(run.folder / file)
        return install(folder, run.folder, REPORT, FIGURES)


def _context(run: RunRecords, folder: Path) -> dict[str, Any]:
    comparisons, controls = compare_run(run), compare_controls(run)
    judged = run.certificate.float64 if run.certificate else None
    differing, environment = tables.environment_tables(run)
    return {
        "run": run,
        "meta": run.meta,
        "data": run.meta.data,
        "title": show.labels(framework.name for framework in run.frameworks),
        "verdict": verdict(run),
        "headline": headline_table(run),
        "failures": [entry for entry in run.entries if entry.failure],
        "same_function": findings.same_function(run, comparisons),
        "same_training": findings.same_training(comparisons, controls),
        "detection": findings.detection(run, comparisons),
        "cost": " ".join(filter(None, map(findings.cost, comparisons))),
        "trained": findings.trained(run),
        "speed_table": tables.speed_table(run),
        "validation_table": (validated := validation.validation_table(run)),
        "validation_note": validation.validation_note(run) if validated else "",
        "compilation": captions.compilation(run),
        "evaluation_table": tables.evaluation_table(run),
        "host": tables.host_sentence(run),
        "differing_table": differing,
        "environment_table": environment,
        "data_table": tables.data_table(run),
        "objects": captions.objects(run),
        "figures": _run_figures(run, comparisons, folder),
        "certificate": _certificate(run.certificate, judged, folder) if run.certificate and judged else None,
        # without a certificate the losses of the first step are the nearest thing to one
        "first_steps": [_first_step(each, folder) for each in comparisons if each.first_terms and not judged],
        "precision_table": precision_differences.precision_table(run),
        "limits": limits(run, comparisons),
        "tables": published_tables(run),
    }


def _run_figures(
    run: RunRecords, comparisons: tuple[TrainingDifference, ...], folder: Path
) -> dict[str, dict[str, str] | None]:
    made: dict[str, tuple[Path | None, str]] = {}
    controls = compare_controls(run)
    if run.trained:
        path = loss_figure.loss_curves(run, comparisons, controls, folder / "report_loss.png")
        made["loss"] = path, captions.loss_curves(run, comparisons, controls)
        made["terms"] = figures.loss_terms(run, folder / "report_terms.png"), captions.loss_terms(run)
    if path := precision_curves.precision_curves(run, folder / "report_precision.png"):
        made["precision"] = path, precision_curves.caption(run)
    path = detections.detection_grid(run, folder / "report_detections.png")
    made["detections"] = path, captions.detections(run)
    if path := recall_figure.recall_figure(run, folder / "report_recall.png"):
        made["recall"] = path, recall_figure.caption(run)
    shown: dict[str, dict[str, str] | None] = dict.fromkeys(("loss", "terms", "precision", "detections", "recall"))
    return shown | {key: {"file": path.name, "caption": text} for key, (path, text) in made.items() if path}


def _certificate(certificate: Certificate, judged: ParityRecords, folder: Path) -> dict[str, Any]:
    path = depth_figure(judged, folder / "report_certificate.png")
    return {
        "file": path.name,
        "caption": captions.certificate(judged),
        "float32": tables.float32_table(certificate),
    }


def _first_step(comparison: TrainingDifference, folder: Path) -> dict[str, Any]:
    path = figures.first_step(comparison, folder / f"report_first_step_{comparison.other.name}.png")
    assert path is not None, "only comparisons that share the first step come here"
    return {
        "title": show.labels([comparison.reference.name, comparison.other.name]),
        "table": tables.first_step_table(comparison),
        "file": path.name,
        "caption": captions.first_step(comparison),
        "grad_norm": comparison.first_grad_norm and show.percent(comparison.first_grad_norm.relative),
    }


def limits(run: RunRecords, comparisons: tuple[TrainingDifference, ...]) -> list[str]:
    """The conclusions that this run does not support, as Markdown paragraphs."""
    meta, data = run.meta, run.meta.data
    judged = run.certificate and run.certificate.float64 and not run.certificate.failed
    train, val = data.train_images or 0, data.val_images or 0
    said = [
        say(
            "**How well the model detects.** {train} and {val}, {epochs}: AP on the training images measures "
            "memorisation, and AP on so few validation images is mostly chance. One seed, no interval.",
            train=show.count(train, "training image"),
            val=show.count(val, "validation image"),
            epochs=show.count(meta.epochs, "epoch"),
        ),
    ]
    if data.kind == "shapes":
        said.append(
            say("**Anything about COCO.** The data are drawn shapes; no AP here compares with a published one.")
        )
    if comparisons:
        said.append(
            say(
                "**Parity.** Training is chaotic: after enough steps two correct programs, or one program run "
                "twice with different rounding, diverge. Equal or unequal final values prove nothing; the "
                "proof is {certificate}`nox -s parity`.",
                certificate=say("the certificate above, and ") if judged else "",
            )
        )
    said.append(
        say(
            "**Speed or memory.** Times are those of one training run on {device}, which other work on the "
            "machine may disturb, and a first epoch includes the compilation of kernels. Speed needs a "
            "benchmark that interleaves the frameworks.",
            device=show.plain(meta.device),
        )
    )
    if meta.deviations:
        said.append(say("**The official recipe.** This run differs from it in the points listed below."))
    return said


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 where a folder cannot be reported on: a line on stderr; the others are built."""
    parser = argparse.ArgumentParser(prog="reports.build", description="Build the reports of run folders.")
    parser.add_argument(
        "run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="a folder that experiments/run.py wrote"
    )
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the page (default: en)")
    options = parser.parse_args(arguments)
    return max(exit_status(partial(_build, folder, options.lang)) for folder in options.run_dirs)


def _build(folder: Path, language: str) -> int:
    try:
        page = build_report(folder, language)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the report: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        told = f"{type(error).__name__}: {error}"
        raise UserError(f"{folder}: a record does not have the form that run.py writes ({told})") from None
    print(page, flush=True)
    return 0

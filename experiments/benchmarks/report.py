"""Report of a benchmark from its records alone: table, verdict, caveats and one figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmarks.statistics import Estimate, distinguishable, estimate, noise_floor, paired_ratio
from experiments.benchmarks.timing import CONTROL, REFERENCE, TASKS
from experiments.data.files import write_atomically
from frameworks.errors import UserError
from reports import style
from reports.frameworks import style_of
from reports.jsonl import read_lines

RECORDS, REPORT, FIGURE = "records.jsonl", "benchmark.md", "benchmark.png"
NAMES = {
    "torch": "PyTorch twin",
    CONTROL: "PyTorch twin again (A/A)",
    "jittor": "Jittor twin",
    "hf": "Hugging Face",
}
COLORS = {name: style_of("torch" if name == CONTROL else name).color for name in NAMES}
TASK_NAMES = {"step": "training step", "inference": "inference"}
ARTICLES = {"step": "a", "inference": "an"}
FEW_ROUNDS = 8
BUSY = 0.25  # load per core before the start above which the machine was not quiet


@dataclass(frozen=True)
class Report:
    """Where the report is and what it says in one paragraph."""

    path: Path
    verdict: str
    failures: list[dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One label in one task at one size."""

    label: str
    task: str
    size: int
    seconds: list[float]
    time: Estimate
    ratio: Estimate | None  # to the reference, in the same rounds
    first: float | None
    peak_mb: float | None


def write_report(folder: Path) -> Report:
    """Write benchmark.md and benchmark.png beside the records.

    Raises:
        UserError: there are no records or they hold no timing.
    """
    records, _ = read_lines(folder / RECORDS)
    cells = read_cells(records)
    if not cells:
        raise UserError(f"{folder / RECORDS}: no timings; every framework failed before the first round")
    environment = next(record for record in records if record["kind"] == "environment")
    draw(cells, folder / FIGURE)
    sentence = _busy(environment) + verdict(cells)
    failures = [record for record in records if record["kind"] == "failure"]
    parts = [
        "# Speed of a training step and of an inference",
        sentence,
        table(cells).to_markdown(index=False, disable_numparse=True),
        f"![Times of every round]({FIGURE})",
        "*One dot a round, the bar is the median with its 95 % bootstrap interval. Two PyTorch columns that do not "
        "lie on each other show how much this machine's noise is worth; only larger gaps are differences.*",
        *[_failure_line(record) for record in failures],
        "## The same model\n\n" + agreement_text(records),
        "## How it was timed\n\n" + _method_text(environment),
        "## What this does not show\n\n" + "\n".join(f"- {line}" for line in caveats(environment)),
    ]
    path = folder / REPORT
    write_atomically(path, "\n\n".join(parts) + "\n")
    return Report(path, sentence, failures)


def read_cells(records: list[dict[str, Any]]) -> list[Cell]:
    """Every (size, task, label) that has timings, in the order of the table."""
    timings: dict[tuple[int, str, str], dict[int, float]] = {}
    for record in records:
        if record["kind"] == "timing":
            key = (record["image_size"], record["task"], record["label"])
            timings.setdefault(key, {})[record["round"]] = record["seconds"]
    cells = []
    for size, task, label in sorted(
        timings, key=lambda key: (key[0], TASKS.index(key[1]), list(NAMES).index(key[2]))
    ):
        rounds, reference = timings[size, task, label], timings.get((size, task, REFERENCE), {})
        paired = label != REFERENCE and rounds.keys() & reference.keys()
        cells.append(
            Cell(
                label, task, size, list(rounds.values()), estimate(list(rounds.values())),
                paired_ratio(rounds, reference) if paired else None,
                _find(records, "seconds", kind="first_call", label=label, task=task, image_size=size),
                _find(records, "peak_mb", kind="memory", label=label, image_size=size),
            )
        )  # fmt: skip
    return cells


def table(cells: list[Cell]) -> pd.DataFrame:
    """One row per cell, times in milliseconds."""
    rows = [
        {
            "image": f"{cell.size}²",
            "task": TASK_NAMES[cell.task],
            "implementation": NAMES[cell.label],
            "median, ms": f"{1000 * cell.time.median:.0f}",
            "95 % interval": f"{1000 * cell.time.low:.0f}–{1000 * cell.time.high:.0f}",
            "÷ PyTorch twin (95 %)": "1" if cell.ratio is None else _ratio(cell.ratio),
            "first call, s": "–" if cell.first is None else f"{cell.first:.2f}",
            "peak memory, MB": "–" if cell.peak_mb is None else f"{cell.peak_mb:.0f}",
        }
        for cell in cells
    ]
    return pd.DataFrame(rows)


def verdict(cells: list[Cell]) -> str:
    """One sentence per size and task: ratios, and what the A/A control says they are worth."""
    sentences = []
    for size, task in dict.fromkeys((cell.size, cell.task) for cell in cells):
        group = {cell.label: cell for cell in cells if (cell.size, cell.task) == (size, task)}
        if REFERENCE not in group:
            sentences.append(f"At {size}² the {TASK_NAMES[task]} has no reference: {_subject(REFERENCE)} failed.")
            continue
        control = group[CONTROL].ratio if CONTROL in group else None
        floor = noise_floor(control) if control else 0.0
        claims = [_claim(cell, floor) for label, cell in group.items() if label not in (REFERENCE, CONTROL)]
        name, median = f"{ARTICLES[task]} {TASK_NAMES[task]}", 1000 * group[REFERENCE].time.median
        sentence = "; ".join([f"At {size}² {name} takes {_subject(REFERENCE)} {median:.0f} ms", *claims])
        if control:
            sentence += f" (A/A control: × {_ratio(control)}, so differences up to {100 * floor:.0f} % are noise)"
        sentences.append(sentence + ".")
    return " ".join(sentences)


def _claim(cell: Cell, floor: float) -> str:
    if cell.ratio is None:
        return f"{_subject(cell.label)} shares no round with it"
    if not distinguishable(cell.ratio, floor):
        return f"{_subject(cell.label)} cannot be told apart from it (× {_ratio(cell.ratio)})"
    return f"{_subject(cell.label)} takes × {_ratio(cell.ratio)} that"


def _subject(label: str) -> str:
    return f"the {NAMES[label]}" if "twin" in NAMES[label] else NAMES[label]


def agreement_text(records: list[dict[str, Any]]) -> str:
    """What was verified before anything was timed, and how near the first steps' losses are."""
    lines = [
        f"- {NAMES[r['framework']]}, `{r['tensor']}`: {r['error']:.1e} relative to the PyTorch twin "
        f"({r['dtype']}, evaluation mode, {r['image_size']}², limit {r['limit']:.0e})"
        for r in records
        if r["kind"] == "agreement"
    ]
    firsts = [r for r in records if r["kind"] == "first_call" and r["task"] == "step"]
    references = {r["image_size"]: r["losses"] for r in firsts if r["label"] == REFERENCE}
    for record in firsts:
        reference = references.get(record["image_size"])
        if record["label"] in (REFERENCE, CONTROL) or reference is None:
            continue
        # Denoising terms depend on the noise, which Hugging Face draws itself; all others must agree.
        shared = [name for name in reference if "_dn_" not in name and name in record["losses"]]
        worst = max(abs(record["losses"][n] - reference[n]) / abs(reference[n]) for n in shared)
        lines.append(
            f"- {NAMES[record['label']]}, first training step at {record['image_size']}²: the {len(shared)} loss "
            f"terms that do not depend on denoising noise differ by at most {worst:.1e} (float32)"
        )
    return "\n".join(lines) or "Only one implementation was timed."


def caveats(environment: dict[str, Any]) -> list[str]:
    """What a reader must not conclude."""
    lines = [
        "Hugging Face draws its denoising noise itself, inside the timed step; the twins get theirs as arrays. The "
        f"number of denoising queries is the same ({environment['denoising_queries']} per image).",
        "Hugging Face has no look-forward-twice: its backward pass through the boxes is a little shorter than the "
        "twins'. Its inference is followed by the PyTorch twin's post-processing.",
        "The processes sleep while they wait (OMP_WAIT_POLICY=PASSIVE), as they must to share the cores; alone, "
        "with threads that spin between operators, each may be faster, and not all by the same factor.",
        "One synthetic batch, the same in every step, already in memory: no data loading, no augmentation, no "
        "other shapes, no multi-scale training (which makes Jittor compile again).",
        "Peak memory is of the whole process, import and smaller sizes included.",
    ]
    if environment["rounds"] < FEW_ROUNDS:
        lines.insert(0, f"Only {environment['rounds']} rounds: the intervals are too narrow to be trusted.")
    return lines


def _busy(environment: dict[str, Any]) -> str:
    """A warning to stand before everything else, or nothing."""
    load, cores = environment["load_before"][0], environment["host"]["cores"]
    if load <= BUSY * cores:
        return ""
    return f"**The machine was busy (load {load:.1f} on {cores} cores before the start).** "


def draw(cells: list[Cell], path: Path) -> Path:
    """A panel per task and size: every round, the median and its interval."""
    sizes = sorted({cell.size for cell in cells})
    labels = [label for label in NAMES if any(cell.label == label for cell in cells)]
    figure = style.new_figure(height=2.9 * len(TASKS), width=max(5.0, 4.5 * len(sizes)))
    grid = figure.subplots(len(TASKS), len(sizes), squeeze=False)
    for row, task in enumerate(TASKS):
        for column, size in enumerate(sizes):
            axes = grid[row][column]
            for cell in cells:
                if (cell.task, cell.size) == (task, size):
                    _draw_cell(axes, labels.index(cell.label), cell)
            axes.set_title(f"{TASK_NAMES[task]}, {size}²", fontsize=10)
            axes.set_xticks(range(len(labels)), [NAMES[label].replace(" ", "\n", 1) for label in labels])
            axes.set_xlim(-0.6, len(labels) - 0.3)
            axes.set_ylim(bottom=0)  # a ratio is read off the heights
            style.tidy(axes, "y")
            if column == 0:
                axes.set_ylabel("milliseconds")
    return style.save(figure, path)


def _draw_cell(axes: Any, place: int, cell: Cell) -> None:
    color = COLORS[cell.label]
    offsets = np.linspace(-0.22, 0.22, len(cell.seconds)) if len(cell.seconds) > 1 else np.zeros(1)
    face = "none" if cell.label == CONTROL else color
    axes.scatter(
        place + offsets, 1000 * np.asarray(cell.seconds), s=16, facecolors=face, edgecolors=color, alpha=0.7
    )
    middle = 1000 * cell.time.median
    spread = [[middle - 1000 * cell.time.low], [1000 * cell.time.high - middle]]
    axes.errorbar(place, middle, yerr=spread, color="black", capsize=4, linewidth=1.2, zorder=4)
    axes.plot([place - 0.3, place + 0.3], [middle, middle], color="black", linewidth=1.8, zorder=4)
    axes.annotate(f"{middle:.0f}", (place + 0.32, middle), fontsize=8, va="center")


def _method_text(environment: dict[str, Any]) -> str:
    host, variables = environment["host"], environment["variables"]
    settings = " ".join(f"{name}={value}" for name, value in variables.items())
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"{environment['preset']}, batch {environment['batch_size']}, float32, {environment['device']}. A step is "
        "forward, loss with matching, backward, clipping, AdamW and EMA, synchronised; an inference is forward and "
        f"post-processing of the averaged model. {environment['rounds']} rounds after {environment['warm_up']} "
        "untimed calls of each: all processes alive, one working at a time, in an order that changes by round. "
        f"Medians; intervals from 10 000 bootstrap resamples; ratios are paired within rounds.\n\n"
        f"{host['cpu']}, {host['cores']} cores, {host['platform']}, Python {host['python']}; {versions}; commit "
        f"{host['git_commit'][:12]}{' with local changes' if host['git_dirty'] else ''}. `{settings}`. Load "
        f"before the start: {environment['load_before'][0]:.2f}. Started {environment['started']}."
    )


def _failure_line(record: dict[str, Any]) -> str:
    return f"**{NAMES[record['label']]} failed during {record['during']}**: {' '.join(record['message'].split())}"


def _find(records: list[dict[str, Any]], field: str, **wanted: Any) -> float | None:
    return next((r[field] for r in records if all(r.get(k) == v for k, v in wanted.items())), None)


def _ratio(value: Estimate) -> str:
    return f"{value.median:.2f} ({value.low:.2f}–{value.high:.2f})"

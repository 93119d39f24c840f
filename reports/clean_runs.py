"""The page of the clean runs, from their records alone: how many random models were judged, and what failed.

python -m reports.clean_runs RECORDS OUT_DIR
"""

import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from frameworks.errors import UserError
from frameworks.shared.stages import stage_position
from reports import formatting as show
from reports.jsonl import read_lines
from reports.markdown import flat, table
from reports.publish import page_command, render

RECORDS, PAGE = "clean_runs.jsonl", "clean_runs.md"
MOST_FAILURES = 30  # lines on the page

Records = list[dict[str, Any]]


def build_page(records: Path, out_dir: Path) -> Path:
    """Write clean_runs.md into ``out_dir``; returns its path. Raises UserError where there is no run."""
    lines, note = read_lines(records)
    runs = runs_of(lines)
    if not runs:
        raise UserError(f"{records}: no clean run in it")
    failed = [run for run in runs if run["failed"]]
    context = {
        "summary": summary(runs),
        "note": note,
        "drawn": table(_drawn(runs)),
        "stages": table(_stages(runs), left=2),
        "undetermined": table(_undetermined_rows(runs), left=2),
        "failed": [(run, run["failures"][0]) for run in failed[:MOST_FAILURES]],
        "failed_count": len(failed),
        "structures": len({run["structure"] for run in runs}),
        "environments": dict.fromkeys(
            table([flat(line["environment"])]) for line in lines if "environment" in line
        ),
        "records": records.name,
    }
    page = out_dir / PAGE
    page.write_text(render("clean_runs.md.j2", context), encoding="utf-8")
    return page


def runs_of(lines: Records) -> Records:
    """The runs among the lines of a file, each once, in their order."""
    return [run for _, run in sorted({line["run"]: line for line in lines if "run" in line}.items())]


def summary(runs: Records) -> str:
    """One sentence: runs, tensors, failures, and where an error came closest to its limit."""
    tensors = sum(sum(run["tensors"].values()) for run in runs)
    failed = sum(1 for run in runs if run["failed"])
    apart = list(filter(None, map(_undetermined, runs)))
    dtype, stage, worst = max(_margins(runs), key=lambda row: _size(row[2]["margin"]))
    found = "no false alarm" if not failed else f"**{show.count(failed, 'run')} failed**"
    return (
        f"{show.count(len(runs), 'clean run')} with {len({run['structure'] for run in runs})} different models, "
        f"{tensors:,} tensors compared: {found}. The worst margin (error ÷ limit) is {_text(worst['margin'])} "
        f"({stage}, {dtype}, {show.label(worst['framework'])}, run {worst['run']}, `{worst['tensor']}`). "
        f"{show.count(sum(apart), 'tensor')} in {show.count(len(apart), 'run')} are undetermined: over the limit, "
        "but the truth itself moves by a tenth of the error or more when its weights and images are moved by "
        "rounding."
    )


def _undetermined(run: dict[str, Any]) -> int:
    return sum(map(len, run.get("undetermined", {}).values()))


def _margins(runs: Records) -> list[tuple[str, str, dict[str, Any]]]:
    """(dtype, stage, worst entry) of every run."""
    return [
        (dtype, stage, entry | {"run": run["run"]})
        for run in runs
        for dtype, stages in run["worst"].items()
        for stage, entry in stages.items()
    ] or [("none", "none", {"margin": None, "framework": "torch", "run": 0, "tensor": "none"})]


def _stages(runs: Records) -> list[dict[str, Any]]:
    """Rows: the distribution of each stage's worst margin over the runs."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for dtype, stage, entry in _margins(runs):
        grouped.setdefault((stage, dtype), []).append(entry)
    rows = []
    for (stage, dtype), entries in sorted(grouped.items(), key=lambda item: (stage_position(item[0][0]), item[0])):
        ordered = sorted(entries, key=lambda entry: _size(entry["margin"]))
        worst = ordered[-1]
        rows.append(
            {
                "stage": stage,
                "dtype": dtype,
                "runs": len(ordered),
                "median margin": _text(ordered[len(ordered) // 2]["margin"]),
                "99th percentile": _text(
                    ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]["margin"]
                ),
                "worst margin": _text(worst["margin"]),
                "worst run": worst["run"],
                "framework": show.label(worst["framework"]),
            }
        )
    return rows


def _undetermined_rows(runs: Records) -> list[dict[str, Any]]:
    """Rows: how many tensors of each dtype and stage the truth does not determine, and how far it moves there."""
    grouped: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for run in runs:
        for dtype, tensors in run.get("undetermined", {}).items():
            for tensor, change in tensors.items():
                grouped.setdefault((dtype, tensor.partition("/")[0]), []).append((run["run"], change))
    return [
        {
            "dtype": dtype,
            "tensors": f"{kind}/…",
            "undetermined": len(found),
            "in runs": len({run for run, _ in found}),
            "largest change of the truth": show.small(max(change for _, change in found)),
        }
        for (dtype, kind), found in sorted(grouped.items())
    ]


def _drawn(runs: Records) -> list[dict[str, Any]]:
    """Rows: what was drawn, and how often."""
    counts = {
        "backbone": Counter(run["kind"] for run in runs),
        "version": Counter(run["version"] for run in runs),
        "images in a batch": Counter(str(len(run["counts"])) for run in runs),
        "objects in a batch": Counter(_range(sum(run["counts"])) for run in runs),
        "height x width": Counter("x".join(map(str, run["size_hw"])) for run in runs),
        "dtypes": Counter(" and ".join(run["tensors"]) for run in runs),
    }
    text = {
        name: ", ".join(f"{value}: {n}" for value, n in sorted(count.items())) for name, count in counts.items()
    }
    return [{"drawn": name, "runs by value": value} for name, value in text.items()]


def _range(objects: int) -> str:
    return "none" if objects == 0 else "1 to 5" if objects <= 5 else "6 or more"


def _size(margin: float | None) -> float:
    return math.inf if margin is None else margin


def _text(margin: float | None) -> str:
    return "not finite" if margin is None else f"{margin:.2g}"


def main(arguments: list[str] | None = None) -> int:
    """The command, see `page_command`."""
    return page_command(arguments, "reports.clean_runs", "the clean runs", build_page, _passed)


def _passed(records: Path) -> bool:
    return not any(run["failed"] for run in runs_of(read_lines(records)[0]))


if __name__ == "__main__":
    sys.exit(main())

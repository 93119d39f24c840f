"""The page of a GPU beside the CPU of its machine: errors of the twins, of a framework run twice, and of TF32."""

import math
from collections.abc import Iterable
from pathlib import Path

from frameworks.errors import UserError
from frameworks.shared.stages import stage_position
from reports import formatting as show
from reports.jsonl import read_lines
from reports.markdown import table
from reports.parity.page import all_passed, parity_verdict
from reports.parity.records import ParityRecord, ParityRecords, parse
from reports.parity.tables import environment_tables, failure_table, span
from reports.publish import install, page_command, render, working_folder

PAGE = "gpu.md"
GPU = "cuda"


def build_gpu_page(records: Path, out_dir: Path) -> Path:
    """Write gpu.md into `out_dir` from the records of a session on a machine with a GPU; returns its path.

    Raises:
        UserError: a missing or broken file, or one in which nothing was compared on a GPU.
    """
    raw, note = read_lines(Path(records))
    parsed = parse(raw, source=str(records))
    if not any(record.device == GPU for record in parsed.comparisons):
        raise UserError(f"{records}: nothing was compared on a GPU; run nox -s parity_gpu on a machine with one")
    frameworks = sorted({record.framework for record in parsed.comparisons if record.judge == "floor"})
    context = {
        "verdict": parity_verdict(parsed),
        "notes": [note] if note else [],
        "stages": table(stage_rows(parsed, frameworks), left=2),
        "failures": failure_table(parsed),
        "skips": [f"{test}: {reason}" for test, reason in parsed.skips],
        "environments": environment_tables(parsed),
        "records": Path(records).name,
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    with working_folder(out_dir, "gpu") as folder:
        (folder / PAGE).write_text(render("gpu.md.j2", context), encoding="utf-8")
        return install(folder, out_dir, PAGE, "*.png")


def stage_rows(records: ParityRecords, frameworks: Iterable[str]) -> list[dict[str, str]]:
    """A row per stage and dtype: the worst errors on CPU and GPU, the floors of each framework, TF32."""
    groups: dict[tuple[str, str], list[ParityRecord]] = {}
    for record in records.comparisons:
        if record.judge in ("twin", "floor", "tf32"):
            groups.setdefault((record.stage, record.dtype), []).append(record)
    keys = sorted(groups, key=lambda key: (key[1] != "float64", stage_position(key[0]), key))
    return [{"stage": key[0], "dtype": key[1]} | _row(groups[key], frameworks) for key in keys]


def _row(group: list[ParityRecord], frameworks: Iterable[str]) -> dict[str, str]:
    twins = [record for record in group if record.judge == "twin"]
    on_gpu = [record for record in group if record.device == GPU]
    row = {"twins, CPU": _worst([record for record in twins if record.device != GPU])}
    row["twins, GPU"] = _worst([record for record in twins if record.device == GPU])
    row["limit"] = span([record.limit for record in twins]) if twins else show.ABSENT
    for name in frameworks:
        same = [record for record in on_gpu if record.judge == "floor" and record.framework == name]
        row[f"{show.label(name)} twice, GPU"] = _worst(same)
    row["TF32 on, GPU"] = _worst([record for record in on_gpu if record.judge == "tf32"])
    failed = sum(not record.ok for record in group)
    return row | {"failed": f"**{failed}**" if failed else "0"}


def _worst(group: list[ParityRecord]) -> str:
    """The largest error; NaN is larger than any."""
    if any(math.isnan(record.error) for record in group):
        return "**nan**"
    return show.small(max((record.error for record in group), default=None))


def main(arguments: list[str] | None = None) -> int:
    """The command, see `page_command`."""
    return page_command(arguments, "reports.gpu_page", "a GPU", build_gpu_page, all_passed)

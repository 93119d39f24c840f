"""The ratios that the project promises, beside what was measured."""

from dataclasses import dataclass

from experiments.benchmarks.cells import TASK_NAMES, Record, Row, name_of
from experiments.benchmarks.session import FORMULAS
from experiments.benchmarks.statistics import Estimate
from experiments.benchmarks.tables import profile_of, show
from frameworks import REFERENCE


@dataclass(frozen=True)
class Target:
    """``label`` takes at most ``limit`` times what ``to`` takes, in every row."""

    label: str
    to: str
    limit: float


TARGETS = (Target(REFERENCE, "hf", 0.77), Target(REFERENCE, "official", 0.77), Target("jittor", FORMULAS, 1.0))


def verdict(ratio: Estimate, limit: float) -> str:
    """Whether a ratio keeps a limit; "open" where its interval contains the limit."""
    if ratio.high <= limit:
        return "met"
    return "**missed**" if ratio.low > limit else "open"


def target_rows(rows: list[Row], records: list[Record]) -> list[dict[str, str]]:
    """One table row per target and timed row; beside a step that does not meet it stand its largest parts."""
    return [
        {
            "target": f"{name_of(target.label)} ≤ {target.limit:g} × {name_of(target.to)}",
            "preset": f"`{row.preset}`",
            "image": f"{row.size}²",
            "batch": str(row.batch),
            "task": TASK_NAMES[row.task],
            "measured (95 %)": show(ratio),
            "result": verdict(ratio, target.limit),
            "most of its step": _largest_parts(records, target, row, ratio),
        }
        for target in TARGETS
        for row in rows
        if (ratio := row.ratio(target.label, target.to))
    ]


def _largest_parts(records: list[Record], target: Target, row: Row, ratio: Estimate) -> str:
    profile = profile_of(records, target.label, row)
    if row.task != "step" or not profile or verdict(ratio, target.limit) == "met":
        return ""
    total = sum(profile["parts"].values())
    largest = sorted(profile["parts"].items(), key=lambda part: -part[1])[:2]
    return ", ".join(f"{name} {100 * seconds / total:.0f} %" for name, seconds in largest)

"""Summarises a file of ``float32_spread``: how far the frameworks' float32 errors lie apart, by stage and part.

python -m parity_tests.float32_summary FILE parity_tests/float32_spread.toml
"""

import argparse
import datetime
import json
import os
import platform
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from frameworks.shared.stages import stage_position
from frameworks.shared.tolerances import FLOAT32_FLOOR, FLOAT32_FLOORS, POOLED

COMMAND = "nox -s float32_spread"
ROW = (
    '  {{ asked = "{asked}", stage = "{stage}", part = "{part}", tensors = {tensors}, medians = {medians}, '
    "worst = {worst}, within_3 = {within}, largest_factor = {largest} }},"
)


def kind_of(case: str) -> str:
    """What was asked: the whole model, the optimizer, steps (all tensors together), or a module alone."""
    if "." in case:
        return "module alone"
    if case.startswith("optimizer"):
        return "optimizer"
    return "steps" if case.endswith("steps") else "whole model"


def row(key: tuple[str, str, str], records: list[dict[str, Any]]) -> str:
    """The numbers of one stage and part as TOML; errors below the floor count as the floor."""
    asked, stage, part = key
    errors = {name: np.array([record["errors"][name] for record in records]) for name in records[0]["errors"]}
    floor = FLOAT32_FLOORS.get(stage, FLOAT32_FLOOR)
    floored = np.maximum(np.array(list(errors.values())), floor)
    factors = floored.max(axis=0) / floored.min(axis=0)

    def table(numbers: dict[str, float]) -> str:
        return "{ " + ", ".join(f"{name} = {number:.1e}" for name, number in numbers.items()) + " }"

    return ROW.format(
        asked=asked,
        stage=stage,
        part=part,
        tensors=len(records),
        medians=table({name: float(np.median(values)) for name, values in errors.items()}),
        worst=table({name: float(values.max()) for name, values in errors.items()}),
        within=round(float((factors <= 3).mean()), 4),
        largest=round(float(factors.max()), 1),
    )


def summary(records: list[dict[str, Any]]) -> str:
    """The whole file: where and when it was measured, how many tensors lie within a factor of 3, and the rows."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[kind_of(record["case"]), record["stage"], record["part"]].append(record)
    draws = sorted({(record["subject"], record["seed"]) for record in records})
    alone = [record for record in records if not record["tensor"].endswith(POOLED) and record["size"] > 1]
    floored = [[max(e, FLOAT32_FLOORS.get(r["stage"], FLOAT32_FLOOR)) for e in r["errors"].values()] for r in alone]
    within = float(np.mean([max(errors) <= 3 * min(errors) for errors in floored]))
    head = (
        "# Made by `python -m parity_tests.float32_summary` from the records of `" + COMMAND + "`.\n"
        "# Errors against the float64 truth, decisions forced; kinks are not left out.\n"
        f'date = "{datetime.date.today()}"\n'
        f'machine = "{platform.system()} {platform.machine()}, {os.cpu_count()} cores, 1 thread"\n'
        f'command = "{COMMAND}"\n'
        f"seeds = {len({seed for _, seed in draws})}  # of each subject\n"
        f"draws = {len(draws)}  # seeds times subjects\n"
        f"subjects = {json.dumps(sorted({subject for subject, _ in draws}))}\n"
        f"tensors = {len(records)}\n"
        f"within_3 = {within:.4f}  # of the tensors with more than one entry, one by one\n"
    )
    order = sorted(groups, key=lambda key: (key[0], stage_position(key[1]), key[2]))
    return "\n".join([head, "spread = [", *(row(key, groups[key]) for key in order), "]\n"])


def main() -> None:
    """Write the summary of a file of records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("summary", type=Path)
    options = parser.parse_args()
    records = [json.loads(line) for line in options.records.read_text().splitlines()]
    options.summary.write_text(summary(records))


if __name__ == "__main__":
    main()

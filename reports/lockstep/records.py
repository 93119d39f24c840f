"""Read the records of a lockstep session: training runs, each with its divergence from another run by step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frameworks.errors import UserError
from reports.jsonl import read_lines

RECORDS = "lockstep.jsonl"
QUANTITIES = ("loss", "gradient norm", "parameters", "average")
BASE, PERTURBED, FAULT = "base", "perturbed", "fault"  # kinds of runs
FAULT_STEPS = 10  # after which a fault that has not shown is taken as unseen

Key = tuple[str, str, str, str]  # framework, dtype, kind and which one of that kind
Curves = dict[str, NDArray[np.float64]]  # quantity -> [steps] relative divergence


@dataclass(frozen=True)
class Run:
    """A training run, and its divergence: a candidate's base from the reference's, any other from its own base."""

    framework: str
    dtype: str
    kind: str
    which: str
    curves: Curves


@dataclass(frozen=True)
class Lockstep:
    """A session: its settings and its runs."""

    session: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def reference(self) -> str:
        """The framework that the others are measured against: the first that ran."""
        return self.runs[0].framework

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Those that have an envelope, in the order of the runs."""
        return tuple(dict.fromkeys(run.dtype for run in self.runs if run.kind == PERTURBED and run.curves))

    def of(self, dtype: str, kind: str) -> list[Run]:
        """The runs of a kind in a dtype; of the bases only those that are measured against another."""
        return [run for run in self.runs if (run.dtype, run.kind) == (dtype, kind) and run.curves]


def steps_of(kind: str, plan: dict[str, Any]) -> int:
    """Steps of a run of this kind in a session with these settings."""
    return min(plan["steps"], FAULT_STEPS) if kind == FAULT else plan["steps"]


def read(path: Path) -> Lockstep:
    """Read the records. Raises UserError if there is no session in them, or none that has an envelope yet."""
    lines, _ = read_lines(path)
    sessions = [line for line in lines if line["kind"] == "session"]
    if not sessions:
        raise UserError(f"{path}: no lockstep session in it")
    grouped: dict[Key, list[dict[str, Any]]] = {}
    for line in lines:
        if line["kind"] != "session":
            grouped.setdefault(_key(line), []).append(line)
    session = sessions[0]
    whole = {key: steps for key, steps in grouped.items() if len(steps) == steps_of(key[2], session["plan"])}
    lockstep = Lockstep(session, tuple(Run(*key, _curves(key, whole)) for key in whole))
    if not lockstep.dtypes:
        raise UserError(f"{path}: no perturbed run is whole yet; go on with the session")
    return lockstep


def _key(line: dict[str, Any]) -> Key:
    return line["framework"], line["dtype"], line["kind"], line["which"]


def _curves(key: Key, steps: dict[Key, list[dict[str, Any]]]) -> Curves:
    """The divergence of one run; none for a base that is measured against nothing."""
    framework, dtype, kind, _ = key
    reference = next(iter(steps))[0]
    if kind == BASE and framework == reference:
        return {}
    base = steps.get((reference if kind == BASE else framework, dtype, BASE, ""))
    if base is None:
        return {}
    mine = steps[key]
    curves = {
        name: np.array(
            [abs(a[field] - b[field]) / abs(b[field]) for a, b in zip(mine, base[: len(mine)], strict=True)]
        )
        for name, field in (("loss", "loss"), ("gradient norm", "gradient_norm"))
    }
    return curves | {name: np.array([step[name] for step in mine]) for name in ("parameters", "average")}

"""Run two sides on the same input, find the first culprit, and write everything down as one record."""

import dataclasses
import functools
import math
from typing import Any

from experiments.diagnosis.sides import Side
from frameworks.arrays import Arrays
from frameworks.judge.blame import Culprit, Limit, find_culprit, first_inherited
from frameworks.judge.compare import compare
from frameworks.judge.diagnosis import Replays, lost_gradients, module_errors, without_lost
from frameworks.shared.tolerances import float64_limit
from frameworks.shared.trace_names import below

Record = dict[str, Any]


def diagnose(left: Side, right: Side, dtype: str, limit: Limit) -> Record:
    """Compare the right with the left, module by module.

    Args:
        limit: (stage, tensor) -> largest relative error that is no difference.

    Returns:
        the record that the page is made from: ``modules`` in data-flow order, ``whole`` (outputs and losses),
        ``lost`` (parameters with a gradient on one side alone), ``missing`` (modules of the left that the right
        lacks), ``culprit`` or None, ``failed`` (how many tensors differ) of ``compared``.
    """
    given = ours = left.run(dtype, None)
    listed = modules_of(ours)
    theirs = right.run(dtype, listed, ours)
    modules = [module for module in listed if module in modules_of(theirs)]
    lost = lost_gradients(ours, theirs, dtype)
    ours, theirs = without_lost(_shared(ours, theirs, modules), _shared(theirs, ours, modules), dtype)
    replays = Replays(*(functools.partial(side.alone, given=given) for side in (left, right)), dtype=dtype)
    rows = module_errors(modules, ours, theirs, replays)
    culprit = find_culprit(modules, theirs, ours, replays.right, replays.left, limit)
    if modules and all(row.note for row in rows):  # a side that runs no module alone
        culprit = first_inherited(modules, theirs, ours, limit) or culprit
    comparisons = compare(theirs, ours, limit, modules)
    whole = [c for c in comparisons if c.tensor.startswith(("forward/", "cost/", "match/", "loss/"))]
    return {
        "modules": [dataclasses.asdict(row) for row in rows],
        "whole": [{"tensor": c.tensor, "error": _finite(c.error), "passed": c.passed} for c in whole],
        "lost": [dataclasses.asdict(parameter) for parameter in lost],
        "missing": [module for module in listed if module not in modules],
        "culprit": _described(culprit) if culprit else None,
        "compared": len(comparisons),
        "failed": sum(not c.passed for c in comparisons),
    }


def _described(culprit: Culprit) -> Record:
    found = culprit.comparison
    place = {"module": culprit.module, "where": culprit.where, "tensor": found.tensor, "code": culprit.code}
    return place | {"error": _finite(found.error), "limit": found.limit, "note": found.note}


def modules_of(trace: Arrays) -> list[str]:
    """The recorded modules of a trace, in the order in which their outputs stand there."""
    return list(dict.fromkeys(name.split("/")[0] for name in below("capture", trace) if "/output/" in name))


def one_limit(value: float) -> Limit:
    """The same limit for every tensor."""
    return lambda stage, tensor: value


def project_limit(dtype: str) -> Limit:
    """The parity tests' own limits in float64; for float32, whose rounding depends on the model, 1e-3."""
    return float64_limit if dtype == "float64" else one_limit(1e-3)


def _shared(trace: Arrays, other: Arrays, modules: list[str]) -> Arrays:
    """A trace without the modules that the other side lacks, and without a kind of record that it never makes."""
    kinds = {name.split("/")[2] for name in other if name.startswith("capture/")}
    return {
        name: array
        for name, array in trace.items()
        if not name.startswith("capture/") or (name.split("/")[1] in modules and name.split("/")[2] in kinds)
    }


def _finite(error: float) -> float:
    return error if math.isfinite(error) else math.inf

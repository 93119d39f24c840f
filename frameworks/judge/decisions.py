"""What a comparison makes of a trace first: its discrete decisions as inputs, its parameters as changes."""

import numpy as np

from frameworks.arrays import Arrays
from frameworks.shared.trace_names import below, prefixed


def forced_decisions(truth: Arrays) -> Arrays:
    """The truth's top-k and matchings as inputs: a framework then uses them and takes no decision of its own."""
    decisions = {"forced/topk": truth["select/topk"]}
    return decisions | {f"forced/{name}": array for name, array in truth.items() if name.startswith("match/")}


def forced_at_every_step(truth: Arrays, count: int) -> Arrays:
    """The truth's decisions at each of ``count`` training steps."""
    forced: Arrays = {}
    for step in (f"step{number}" for number in range(count)):
        forced |= prefixed(step, forced_decisions(below(step, truth)))
    return forced


def updates(trace: Arrays, before: Arrays) -> Arrays:
    """The trace with ``parameter/NAME`` replaced by its change, ``update/NAME``, which is small beside it.

    Args:
        before: the weights before the first step.
    """
    result = {name: array for name, array in trace.items() if not name.startswith("parameter/")}
    for name in (name.removeprefix("parameter/") for name in trace if name.startswith("parameter/")):
        after, start = trace[f"parameter/{name}"], before[name]
        if after.dtype.kind == "f":
            after, start = after.astype(np.float64), start.astype(np.float64)
        result[f"update/{name}"] = after - start
    return result

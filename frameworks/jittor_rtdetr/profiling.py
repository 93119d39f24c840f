"""Where the time of a training step goes: by module, and by operator. For the benchmark's page, never for a run."""

import re
from collections.abc import Callable
from typing import Any

import jittor as jt

from frameworks.arrays import Arrays
from frameworks.config import ExperimentSpec
from frameworks.jittor_rtdetr import training
from frameworks.jittor_rtdetr.model import RTDETR
from frameworks.shared.part_times import REST, PartTimes, largest
from frameworks.state.module_paths import separate_modules

LARGEST = 10  # operators listed by name
FUSED = re.compile(r"opkey\d+:(\w+)")
FUSIONS = {
    "fused: reduction": {"reduce", "reindex_reduce"},
    "fused: indexing": {"reindex", "getitem", "setitem", "transpose", "concat"},
}


def profile_step(run: training.TrainingRun, batch: Arrays, repeats: int) -> dict[str, Any]:
    """Profile training steps of ``run`` on ``batch``, which is a step's as in ``Stepper``.

    The learning rates are 0, so that every step does the same work. A part is synchronised before and after, which
    cuts operators at the border of two parts that a usual step would fuse.

    Returns:
        ``parts``: seconds by part of the step of median length; ``operators``: seconds and calls by operator of one
        step.
    """

    def step() -> None:
        run.step(batch, [0.0] * len(run.spec.recipe.groups), 0.5)

    step()  # compiles what later steps reuse
    return {"operators": time_operators(step), "parts": time_parts(run, step, repeats)}


def profile_inference(model: RTDETR, images: Arrays, spec: ExperimentSpec, repeats: int) -> dict[str, Any]:
    """Profile the inference of an ``inference_model`` on ``images``, as ``training.predict`` takes them.

    A module is synchronised before and after, which cuts operators that a usual inference would fuse.

    Returns:
        ``modules``: median seconds by module, ``others`` being what lies between them.
    """
    times, modules = PartTimes(lambda: jt.sync_all(True)), dict(model.named_modules())
    with times.stack:
        for path in separate_modules(spec.model):
            times.watch(modules[path], "execute", path)
        training.predict(model, images, spec)  # compiles the operators that the synchronisation has cut
        found = times.medians(lambda: training.predict(model, images, spec), repeats)
    found["others"] = found.pop(REST)
    return {"modules": found}


def time_parts(run: training.TrainingRun, step: Callable[[], None], repeats: int) -> dict[str, float]:
    """Seconds of each part of a step; the backward pass is what the clocks of the others leave."""
    times = PartTimes(run._synchronise)
    with times.stack:
        for name in ("backbone", "encoder", "decoder"):
            times.watch(getattr(run.model, name), "execute", name)
        times.watch(training, "criterion", "criterion and matching")
        times.watch(run.optimizer, "step", "optimizer and average")
        times.watch(run.ema, "update", "optimizer and average")
        step()  # compiles the operators that the synchronisation has cut
        return times.median(step, repeats)


def time_operators(step: Callable[[], None]) -> dict[str, dict[str, float]]:
    """Seconds and calls of the kinds of kernels of one step."""
    with jt.profile_scope() as report:
        step()
    columns, *lines = report
    name, calls, total = (columns.index(column) for column in ("Name", "Count", "TotalTime"))
    rows: dict[str, dict[str, float]] = {}
    for line in lines:
        row = rows.setdefault(kernel_kind(line[name]), {"seconds": 0.0, "calls": 0})
        row["seconds"] += float(line[total]) / 1e9
        row["calls"] += int(line[calls])
    return largest(rows, LARGEST)


def kernel_kind(name: str) -> str:
    """Kind of a kernel of Jittor's profiler: an operator's name, or what the costliest part of a fusion does."""
    fused = set(FUSED.findall(name))
    if not fused:
        return name.partition("«")[0]
    for kind, operators in FUSIONS.items():
        if fused & operators:
            return kind
    return "fused: element-wise"

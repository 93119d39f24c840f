"""One clean run: draw a subject, run it in every framework, and judge the traces as the parity tests do.

Some random models do not determine a tensor: a narrow one loses more digits than those of the tests, and in float32
a unit near a kink takes either side. Then the truth itself moves as far when its weights and images are moved by a
few units in the last place. Such tensors are counted apart (``undetermined``).
"""

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from frameworks.config import ModelSpec
from frameworks.errors import UserError
from frameworks.judge.compare import Comparison, compare
from frameworks.judge.decisions import forced_decisions
from frameworks.protocol import Case
from frameworks.shared import kernels
from frameworks.shared.noise import denoising_count
from frameworks.shared.tolerances import FLOAT32_FACTOR, FLOAT32_KINKS, float64_limit
from frameworks.state.module_paths import module_paths
from frameworks.state.reached import unreached
from frameworks.workers.client import WorkerFailure
from parity_tests.agreement import float32_comparisons
from parity_tests.cases.subjects import Subject
from parity_tests.clean_runs.specs import structure
from parity_tests.traces import TRUTH, Traces, Workers, compared

# Different specs: each costs Jittor some compiling, so that most runs reuse one with other seeds and sizes.
STRUCTURES = 60
SIZES = ((64, 64), (64, 96), (96, 64), (96, 128), (160, 64))  # height, width
MOST_OBJECTS = 6  # in an image; more than the queries of some specs
WITHOUT_OBJECTS = 0.1  # share of the runs in which no image has one
MOST_FAILURES = 20  # that a record lists
MOVES, UNITS = 16, 4.0  # draws of moved weights and images, and how many units in the last place they are moved


def drawn(number: int) -> Subject:
    """The subject of a run: one of ``STRUCTURES`` specs, with seed, image size, batch and targets of its own."""
    spec = structure(number % STRUCTURES)
    stream = np.random.Generator(np.random.PCG64(number))
    allowed = [size_hw for size_hw in SIZES if _fits(spec.model, size_hw)]
    size_hw = allowed[int(stream.integers(len(allowed)))]
    batch, empty = int(stream.integers(1, 4)), stream.random() < WITHOUT_OBJECTS
    counts = tuple(0 if empty else int(count) for count in stream.integers(0, MOST_OBJECTS + 1, batch))
    return Subject(f"clean run {number}", spec, f"clean-{number}", size_hw, counts)


def dtypes_of(subject: Subject) -> tuple[str, ...]:
    """float32 too, but for discrete sampling: a location next to a pixel's edge takes the neighbour there."""
    return ("float64",) if _is_discrete(subject.spec.model) else ("float64", "float32")


def run(number: int, workers: Workers) -> dict[str, Any]:
    """The record of one run: what was drawn, tensors compared, worst margins by dtype and stage, failures.

    Tensors that are ``undetermined`` are neither failures nor in the margins.

    An exception in a framework and a refusal are failures too.
    """
    start = time.perf_counter()
    subject, traces = drawn(number), Traces(workers)
    record: dict[str, Any] = {"run": number} | _facts(number, subject)
    record |= {"worst": {}, "tensors": {}, "undetermined": {}, "failures": []}
    for dtype in dtypes_of(subject):
        try:
            found = compared_training(subject, dtype, traces)
            failed: dict[str, float] = {}
            for comparison in (c for comparisons in found.values() for c in comparisons if not c.passed):
                worst = np.maximum(comparison.error, failed.get(comparison.tensor, 0.0))  # NaN stays NaN
                failed[comparison.tensor] = float(worst)
            apart = undetermined(subject, dtype, failed, traces) if failed else {}
        except (WorkerFailure, UserError) as error:
            record["failures"].append(f"{dtype}: {type(error).__name__}: {error}")
            continue
        record["tensors"][dtype] = sum(map(len, found.values()))
        record["undetermined"] |= {dtype: apart} if apart else {}
        found = {name: [c for c in comparisons if c.tensor not in apart] for name, comparisons in found.items()}
        record["worst"][dtype] = worst_margins(found)
        record["failures"] += [
            f"{framework}: {comparison.describe(dtype, 'cpu')}"
            for framework, comparisons in found.items()
            for comparison in comparisons
            if not comparison.passed
        ]
    record["failed"] = len(record["failures"])
    record["failures"] = record["failures"][:MOST_FAILURES]
    return record | {"seconds": time.perf_counter() - start}


def _facts(number: int, subject: Subject) -> dict[str, Any]:
    """What was drawn, as plain values."""
    return {
        "structure": number % STRUCTURES,
        "size_hw": list(subject.size_hw),
        "counts": list(subject.counts),
        "kind": subject.spec.model.backbone.kind,
        "version": subject.spec.model.version,
    }


def compared_training(subject: Subject, dtype: str, traces: Traces) -> dict[str, list[Comparison]]:
    """Comparisons of a training pass by framework, with the limits of ``parity_tests/test_model.py``."""
    case, inputs = training_case(subject), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    modules = tuple(module_paths(subject.spec.model))
    if dtype == "float64":
        outputs = traces.run_all(case, subject, inputs, dtype, "cpu")
        return {name: compare(output, truth, float64_limit, modules) for name, output in outputs.items()}
    inputs |= forced_decisions(truth)
    outputs = {name: traces.run(case, subject, inputs, name, dtype, "cpu") for name in compared(dtype, "cpu")}
    return float32_comparisons(outputs, truth, modules, FLOAT32_KINKS)


def undetermined(subject: Subject, dtype: str, failed: dict[str, float], traces: Traces) -> dict[str, float]:
    """Of tensors over their limits those whose error is rounding, with the largest change of the truth's.

    A tensor's error is rounding if it is at most ``FLOAT32_FACTOR`` times the change: the rule for the errors of
    two frameworks, with the moved truth as the other side. ``failed``: error of each tensor.
    """
    case, inputs = training_case(subject), subject.training_inputs()
    truth, modules = traces.run(case, subject, inputs, *TRUTH), tuple(module_paths(subject.spec.model))
    inputs |= forced_decisions(truth) if dtype == "float32" else {}
    worker, largest = traces.workers.get(TRUTH[0], TRUTH[2]), dict.fromkeys(failed, 0.0)
    for draw in range(MOVES):
        stream = np.random.Generator(np.random.PCG64(draw))
        weights = {name: moved(array, dtype, stream) for name, array in subject.weights().items()}
        given = inputs | {"images": moved(inputs["images"], dtype, stream)}
        with kernels.chosen(traces.workers.path):
            other = worker.trace(case, weights, given, device=TRUTH[2], dtype=TRUTH[1])
        for change in compare(other, truth, float64_limit, modules):
            if change.tensor in largest:
                largest[change.tensor] = max(largest[change.tensor], change.error)
    return {
        tensor: largest[tensor] for tensor, error in failed.items() if error <= FLOAT32_FACTOR * largest[tensor]
    }


def moved(array: np.ndarray, dtype: str, stream: np.random.Generator) -> np.ndarray:
    """Floating-point numbers, each moved by up to ``UNITS`` units in the last place of ``dtype``, as float64."""
    if array.dtype.kind != "f":
        return array
    unit = np.spacing(np.abs(array).astype(dtype)).astype(np.float64)
    return array + unit * stream.uniform(-UNITS, UNITS, array.shape)


def training_case(subject: Subject) -> Case:
    """A training pass that records every module that a loss reaches: the others have no gradient to compare."""
    model, counts = subject.spec.model, np.asarray(subject.counts)
    unused = unreached(model, subject.spec.criterion, denoised=denoising_count(model, counts) > 0)
    captured = tuple(path for path in module_paths(model) if not f"{path}.".startswith(unused))
    return Case("loss", subject.spec, training=True, capture=captured)


def worst_margins(found: dict[str, list[Comparison]]) -> dict[str, dict[str, Any]]:
    """Stage -> the largest error / limit (None if not finite) of its floating-point tensors, and where it was."""
    worst: dict[str, dict[str, Any]] = {}
    for framework, comparisons in found.items():
        for comparison in _with_limit(comparisons):
            margin = comparison.error / comparison.limit
            if not margin <= _size(worst.get(comparison.stage)):  # NaN is the worst of all
                finite = margin if math.isfinite(margin) else None
                worst[comparison.stage] = {"margin": finite, "tensor": comparison.tensor, "framework": framework}
    return worst


def _size(entry: dict[str, Any] | None) -> float:
    if entry is None:
        return -1.0
    return math.inf if entry["margin"] is None else entry["margin"]


def _with_limit(comparisons: Iterable[Comparison]) -> Iterable[Comparison]:
    return (comparison for comparison in comparisons if comparison.limit > 0)


def _fits(model: ModelSpec, size_hw: tuple[int, int]) -> bool:
    """Whether an image has a token for each query and, for discrete sampling, is not higher than wide."""
    height, width = size_hw
    tokens = sum((height // stride) * (width // stride) for stride in model.backbone.out_strides)
    return tokens >= model.decoder.num_queries and not (_is_discrete(model) and height > width)


def _is_discrete(model: ModelSpec) -> bool:
    return model.decoder.cross_attn_method == "discrete"

"""How a stage is held: in float64 as the same function, in float32 as the same arithmetic."""

import dataclasses
from collections.abc import Callable, Mapping

import pytest

from frameworks.arrays import Arrays
from frameworks.shared.tolerances import FLOAT32_FACTOR, FLOAT32_FLOOR, float64_limit
from parity_tests.cases import subjects
from parity_tests.judge.compare import Comparison, compare, compare_float32
from parity_tests.traces import TRUTH, Twins, other

DTYPES = ("float64", "float32")
DEVICES = ("cpu", "cuda")
# (framework, dtype, device) -> trace
Answer = Callable[[str, str, str], Arrays]
Limit = Callable[[str, str], float]  # (stage, tensor) -> largest error that passes


def require(twins: Twins, device: str, dtype: str) -> None:
    """Skip with the reason where this device or dtype cannot be compared."""
    if reason := twins.unsupported(device, dtype):
        pytest.skip(reason)


def hold_same_function(
    judge: Callable[..., None],
    subject: subjects.Subject,
    case: str,
    device: str,
    answer: Answer,
    limit: Limit = float64_limit,
) -> None:
    """float64: Jittor against PyTorch, to rounding; on a GPU PyTorch against its own CPU too."""
    modules = subjects.module_paths(subject.spec.model)
    sides = ["jittor"] if device == "cpu" else ["torch", "jittor"]
    for framework in sides:
        comparisons = compare(answer(framework, "float64", device), answer(*TRUTH), limit, modules)
        comparisons = of_module(case, modules, comparisons)
        judge(
            comparisons, preset=subject.name, case=case, dtype="float64", device=device,
            framework=framework, judge="twin",
        )  # fmt: skip


def hold_same_arithmetic(
    judge: Callable[..., None],
    subject: subjects.Subject,
    case: str,
    device: str,
    answer: Answer,
    kinks: Mapping[str, float] | None = None,
) -> None:
    """float32: each twin's error against the float64 truth, held to the other's, both ways round."""
    modules = subjects.module_paths(subject.spec.model)
    truth = answer(*TRUTH)
    traces = {name: answer(name, "float32", device) for name in ("torch", "jittor")}
    for framework, trace in traces.items():
        comparisons = compare_float32(
            trace, traces[other(framework)], truth, FLOAT32_FACTOR, FLOAT32_FLOOR, modules, kinks
        )
        judge(
            of_module(case, modules, comparisons), preset=subject.name, case=case, dtype="float32", device=device,
            framework=framework, judge="twin",
        )  # fmt: skip


def of_module(case: str, modules: list[str], comparisons: list[Comparison]) -> list[Comparison]:
    """A module run alone has tensors without a name of their own (``output/0``): they are the module's."""
    if case not in modules:
        return comparisons
    return [dataclasses.replace(comparison, module=case) for comparison in comparisons]


def hold(
    judge: Callable[..., None],
    twins: Twins,
    subject: subjects.Subject,
    case: str,
    dtype: str,
    device: str,
    answer: Answer,
    kinks: Mapping[str, float] | None = None,
) -> None:
    """The stage in this precision, or a skip with the reason."""
    require(twins, device, dtype)
    if dtype == "float64":
        hold_same_function(judge, subject, case, device, answer)
    else:
        hold_same_arithmetic(judge, subject, case, device, answer, kinks)

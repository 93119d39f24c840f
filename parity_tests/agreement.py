"""Assertions that frameworks agree: the same function in float64, equal accuracy in float32.

The reference's float64 trace on the CPU is the truth. Every comparison is recorded, passed or not.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.blame import Culprit, first_failed
from frameworks.judge.compare import Comparison, compare, compare_float32
from frameworks.judge.record import Record
from frameworks.shared.tolerances import float32_limit, float64_limit
from parity_tests.can_fail import count_spoilt

DTYPES = ("float64", "float32")
DEVICES = ("cpu", "cuda")
AFTER_GRADIENTS = ("gradient norm", "update", "moments", "EMA")  # stages of what follows a training pass
Outputs = Mapping[str, Arrays]  # framework -> its trace
Limit = Callable[[str, str], float]  # (stage, tensor) -> largest error that passes
Search = Callable[[str, str, str], Culprit | None]  # (framework, dtype, device) -> see culprits.CulpritSearch


def no_module(framework: str, dtype: str, device: str) -> None:
    """The search where gradients are given, so that no module runs: a difference in updates is the optimizer's."""


def assert_agreement(
    outputs: Outputs,
    truth: Arrays,
    record: Record,
    kinks: Mapping[str, float] | None = None,
    search: Search | None = None,
) -> None:
    """Apply the rule of the dtype: ``assert_same_function`` in float64, else ``assert_same_arithmetic``."""
    if record.dtype == "float64":
        assert_same_function(outputs, truth, record, search=search)
    else:
        assert_same_arithmetic(outputs, truth, record, kinks, search)


def assert_same_function(
    outputs: Outputs,
    truth: Arrays,
    record: Record,
    limit: Limit = float64_limit,
    search: Search | None = None,
) -> None:
    """float64: every framework computes the truth's function; only rounding may differ.

    Args:
        search: with it, a failure names the first module that diverges.

    Raises:
        AssertionError: tensors differ; the message names framework, module, tensor, error and limit.
    """
    found = {name: compare(output, truth, limit, record.modules) for name, output in outputs.items()}
    _assert_recorded(found, truth, record, search)


def assert_same_arithmetic(
    outputs: Outputs,
    truth: Arrays,
    record: Record,
    kinks: Mapping[str, float] | None = None,
    search: Search | None = None,
) -> None:
    """float32: the error of each framework against the truth stays within a factor of the others' errors.

    Args:
        outputs: float32 traces of the reference and of every candidate.
        kinks: stage -> allowance for units at a kink (see tolerances.py).
        search: as for ``assert_same_function``.

    Raises:
        AssertionError: as for ``assert_same_function``.
    """
    found = float32_comparisons(outputs, truth, record.modules, kinks)
    _assert_recorded(found, truth, record, search)


def _assert_recorded(
    found: Mapping[str, list[Comparison]], truth: Arrays, record: Record, search: Search | None
) -> None:
    """Record the comparisons of all frameworks and fail if one failed, or if one could not have failed."""
    messages = []
    for framework, comparisons in found.items():
        message = record.add(comparisons, framework, "twin")
        if message and search:
            message += "\n" + first_divergence(comparisons, framework, record, search)
        messages.append(message)
    assert not any(messages), "\n".join(filter(None, messages))
    record.recorder.write({"spoilt": dict(count_spoilt(truth, _weakest(found.values()), record.dtype))})


def _weakest(found: Iterable[list[Comparison]]) -> Limit:
    """The largest limit that each tensor had in one of the comparisons."""
    limits: dict[str, float] = {}
    for comparison in itertools.chain.from_iterable(found):
        limits[comparison.tensor] = max(limits.get(comparison.tensor, 0.0), comparison.limit)
    return lambda _, tensor: limits[tensor]


def own_limits(comparisons: list[Comparison]) -> Limit:
    """float32: the limit that each tensor had; the least one for the tensors of a module alone."""
    limits = {comparison.tensor: comparison.limit for comparison in comparisons}
    return lambda stage, tensor: limits.get(tensor, float32_limit(stage, tensor, 0.0))


def float32_comparisons(
    outputs: Outputs, truth: Arrays, modules: tuple[str, ...] = (), kinks: Mapping[str, float] | None = None
) -> dict[str, list[Comparison]]:
    """Comparisons with the truth, both ways: a candidate beside the reference, the reference beside candidates."""
    reference = outputs[frameworks.REFERENCE]
    candidates = [output for name, output in outputs.items() if name != frameworks.REFERENCE]
    return {
        name: compare_float32(
            output,
            candidates if name == frameworks.REFERENCE else [reference],
            truth,
            modules=modules,
            kinks=kinks,
        )
        for name, output in outputs.items()
    }


def first_divergence(comparisons: list[Comparison], framework: str, record: Record, search: Search) -> str:
    """A line that names the first module that diverges from the truth, or the optimizer where no module does."""
    try:
        culprit = search(framework, record.dtype, record.device)
    except Exception as error:  # the failure itself must be reported, whatever happens to its explanation
        return f"no module found: the search for it failed: {type(error).__name__}: {error}"
    updates = [c for c in comparisons if not c.passed and c.stage in AFTER_GRADIENTS]
    if culprit is None and updates:
        culprit = Culprit("optimizer", first_failed(updates).stage, first_failed(updates))
    return f"first module that diverges: {culprit}" if culprit else "no module diverges on the truth's own inputs"

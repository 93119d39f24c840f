"""Search for the first module, in data-flow order, that diverges on the reference's own inputs.

An error in one module makes all later ones differ. So each module also runs alone on the inputs and cotangents
that it had in the reference. Errors in the code between modules show where a module's inputs differ.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frameworks.arrays import Arrays
from parity_tests.judge.compare import Comparison, compare

# The first module that runs on selected queries.
FIRST_AFTER_SELECTION = "decoder.query_pos_head"

Replay = Callable[[str], Arrays]
Limit = Callable[[str, str], float]


@dataclass(frozen=True)
class Culprit:
    """The first place where two training passes differ."""

    module: str
    where: str  # "forward", "backward", "inputs" (code before it), "gradient flow" (code after it), or a stage
    comparison: Comparison

    def __str__(self) -> str:
        return f"{self.module} ({self.where}): {self.comparison.tensor}, error {self.comparison.error:.2e}"


def replay_inputs(capture: Arrays, module: str) -> Arrays:
    """Inputs and cotangents of ``module`` in a captured training pass, as the inputs of a "module" case."""
    prefix = f"capture/{module}/"
    kinds = ("input/", "cotangent/")
    found = {name.removeprefix(prefix): array for name, array in capture.items() if name.startswith(prefix)}
    return {name: array for name, array in found.items() if name.startswith(kinds)}


def find_culprit(
    modules: Sequence[str],
    candidate: Arrays,
    reference: Arrays,
    candidate_replay: Replay,
    reference_replay: Replay,
    limit: Limit,
) -> Culprit | None:
    """Walk forward through modules and criterion, then backward; returns None when nothing differs.

    Args:
        candidate, reference: whole-model traces with captures of all ``modules``.
        candidate_replay, reference_replay: trace of one module alone on the reference's inputs.
        limit: (stage, tensor name) -> largest relative error that passes.
    """
    ours, theirs = functools.cache(candidate_replay), functools.cache(reference_replay)

    def received(module: str) -> Comparison | None:
        return _failed(_part(candidate, module, "input"), _part(reference, module, "input"), limit)

    def alone(module: str, kind: str) -> Comparison | None:
        return _failed(_only(ours(module), kind), _only(theirs(module), kind), limit)

    for module in modules:
        if module == FIRST_AFTER_SELECTION:
            selected = _failed(_only(candidate, "select/"), _only(reference, "select/"), limit)
            if selected:
                return Culprit("decoder", "query selection", selected)
        if received(module):
            # A module listed inside another gets wrong inputs because the outer one does.
            outer = next(m for m in (*_around(module, modules), module) if received(m))
            return Culprit(outer, "inputs", _certain(received(outer)))
        if alone(module, "output/"):
            return Culprit(module, "forward", _certain(alone(module, "output/")))
    for module, kind in (("decoder", "forward/"), ("criterion", "match/"), ("criterion", "loss/")):
        found = _failed(_only(candidate, kind), _only(reference, kind), limit)
        if found:
            return Culprit(module, "forward", found)
    for module in reversed(modules):
        got_back = _failed(_part(candidate, module, "cotangent"), _part(reference, module, "cotangent"), limit)
        if got_back:
            return Culprit(module, "gradient flow", got_back)
        if alone(module, "gradient"):
            inner = next(m for m in (*_inside(module, modules), module) if alone(m, "gradient"))
            return Culprit(inner, "backward", _certain(alone(inner, "gradient")))
    return _first_wrong_gradient_or_statistic(candidate, reference, limit, modules)


def _first_wrong_gradient_or_statistic(
    candidate: Arrays, reference: Arrays, limit: Limit, modules: Sequence[str]
) -> Culprit | None:
    """The first parameter gradient or norm statistic that differs although every module alone is right."""
    kinds = ("gradient/", "statistic/")
    mine, theirs = ({n: a for n, a in side.items() if n.startswith(kinds)} for side in (candidate, reference))
    failures = [c for c in compare(mine, theirs, limit, modules) if not c.passed]
    order = {module: i for i, module in enumerate(modules)}
    first = min(failures, key=lambda c: order.get(c.module, len(order)), default=None)
    return Culprit(first.module, first.stage, first) if first else None


def _around(module: str, modules: Sequence[str]) -> list[str]:
    """Listed modules that contain this one, outermost first."""
    return sorted((m for m in modules if module.startswith(f"{m}.")), key=len)


def _inside(module: str, modules: Sequence[str]) -> list[str]:
    """Listed modules within this one, innermost first."""
    return sorted((m for m in modules if m.startswith(f"{module}.")), key=len, reverse=True)


def _certain(comparison: Comparison | None) -> Comparison:
    assert comparison is not None
    return comparison


def _part(trace: Arrays, module: str, kind: str) -> Arrays:
    return {name: array for name, array in trace.items() if name.startswith(f"capture/{module}/{kind}/")}


def _only(trace: Arrays, kind: str) -> Arrays:
    return {name: array for name, array in trace.items() if name.startswith(kind)}


def _failed(candidate: Arrays, reference: Arrays, limit: Limit) -> Comparison | None:
    """The worst failing comparison, or None; also None where neither side has a tensor."""
    if not candidate and not reference:
        return None
    failures = [c for c in compare(candidate, reference, limit) if not c.passed]
    return max(failures, key=lambda c: c.error if c.error == c.error else float("inf"), default=None)

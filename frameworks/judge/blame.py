"""Search for the first module, in data-flow order, that diverges on the reference's own inputs.

An error in one module makes all later ones differ. So each module also runs alone on the inputs and cotangents
that it had in the reference. Errors in the code between modules show where a module's inputs differ.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frameworks.arrays import Arrays
from frameworks.judge.compare import Comparison, compare

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
    """Search forward through modules, predictions and losses, then backward; None when nothing differs.

    Args:
        modules: canonical paths in data-flow order.
        candidate, reference: training passes with captures of all ``modules``.
        candidate_replay, reference_replay: trace of one module alone on the reference's inputs.
        limit: (stage, tensor name) -> largest relative error that passes.
    """
    ours, theirs = functools.cache(candidate_replay), functools.cache(reference_replay)
    search = _Search(modules, candidate, reference, ours, theirs, limit)
    return (
        search.forward_through_modules()
        or search.predictions_and_losses()
        or search.backward_through_modules()
        or search.first_wrong_gradient_or_statistic()
    )


@dataclass(frozen=True)
class _Search:
    """The arguments of ``find_culprit``, and the parts of its search in their order."""

    modules: Sequence[str]
    candidate: Arrays
    reference: Arrays
    candidate_replay: Replay
    reference_replay: Replay
    limit: Limit

    def forward_through_modules(self) -> Culprit | None:
        """The first module with wrong inputs, or with wrong outputs on the reference's inputs."""
        for module in self.modules:
            if module == FIRST_AFTER_SELECTION and (selected := self.differs("select/")):
                return Culprit("decoder", "query selection", selected)
            if self.captured(module, "input"):
                # A module listed inside another gets wrong inputs because the outer one does.
                for outer in (*_around(module, self.modules), module):
                    if wrong := self.captured(outer, "input"):
                        return Culprit(outer, "inputs", wrong)
            if wrong := self.alone(module, "output/"):
                return Culprit(module, "forward", wrong)
        return None

    def predictions_and_losses(self) -> Culprit | None:
        """Wrong predictions, matchings or losses although every module is right."""
        criterion = [("criterion", kind) for kind in ("cost/", "match/", "loss/")]
        for module, kind in (("decoder", "forward/"), *criterion):
            if wrong := self.differs(kind):
                return Culprit(module, "forward", wrong)
        return None

    def backward_through_modules(self) -> Culprit | None:
        """The last module with wrong cotangents, or with wrong gradients on the reference's cotangents."""
        for module in reversed(self.modules):
            if wrong := self.captured(module, "cotangent"):
                return Culprit(module, "gradient flow", wrong)
            if self.alone(module, "gradient"):
                for inner in (*_inside(module, self.modules), module):
                    if wrong := self.alone(inner, "gradient"):
                        return Culprit(inner, "backward", wrong)
        return None

    def first_wrong_gradient_or_statistic(self) -> Culprit | None:
        """A parameter's gradient or a norm statistic that differs although every module alone is right."""
        kinds = ("gradient/", "statistic/")
        ours, theirs = _only(self.candidate, kinds), _only(self.reference, kinds)
        failures = [c for c in compare(ours, theirs, self.limit, self.modules) if not c.passed]
        order = {module: i for i, module in enumerate(self.modules)}
        first = min(failures, key=lambda c: order.get(c.module, len(order)), default=None)
        return Culprit(first.module, first.stage, first) if first else None

    def differs(self, prefix: str) -> Comparison | None:
        """The worst failure among the arrays of the two passes whose names start with ``prefix``."""
        return _failed(_only(self.candidate, prefix), _only(self.reference, prefix), self.limit)

    def captured(self, module: str, kind: str) -> Comparison | None:
        """The worst failure among what ``module`` received: its inputs, or its cotangents."""
        return self.differs(f"capture/{module}/{kind}/")

    def alone(self, module: str, prefix: str) -> Comparison | None:
        """The worst failure of ``module`` run alone on the reference's inputs and cotangents."""
        ours, theirs = _only(self.candidate_replay(module), prefix), _only(self.reference_replay(module), prefix)
        return _failed(ours, theirs, self.limit)


def _around(module: str, modules: Sequence[str]) -> list[str]:
    """Listed modules that contain this one, outermost first."""
    return sorted((m for m in modules if module.startswith(f"{m}.")), key=len)


def _inside(module: str, modules: Sequence[str]) -> list[str]:
    """Listed modules within this one, innermost first."""
    return sorted((m for m in modules if m.startswith(f"{module}.")), key=len, reverse=True)


def _only(trace: Arrays, prefix: str | tuple[str, ...]) -> Arrays:
    return {name: array for name, array in trace.items() if name.startswith(prefix)}


def _failed(candidate: Arrays, reference: Arrays, limit: Limit) -> Comparison | None:
    """The worst failing comparison, or None; also None where neither side has a tensor."""
    if not candidate and not reference:
        return None
    failures = [c for c in compare(candidate, reference, limit) if not c.passed]
    return max(failures, key=lambda c: c.error if c.error == c.error else float("inf"), default=None)

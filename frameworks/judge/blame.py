"""Search for the first module, in data-flow order, that diverges on the reference's own inputs.

An error in one module makes all later ones differ. So each module also runs alone on the inputs and cotangents
that it had in the reference; so do the denoising queries and the criterion, which are no modules. Errors in the
code between modules show where a module's inputs differ.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from frameworks.arrays import Arrays
from frameworks.judge.compare import Comparison, compare
from frameworks.protocol import Case
from frameworks.shared.stages import flow_position, without_numbers
from frameworks.shared.trace_names import below, prefixed

# The first module that runs on tokens for the selection, and the first one that runs on selected queries.
FIRST_OF_SELECTION = "decoder.enc_output"
FIRST_AFTER_SELECTION = "decoder.query_pos_head"
# The parts that run alone like a module although they are none.
DENOISING, CRITERION = "denoising", "criterion"

# What the code between the modules computes: module without numbers, and which of its inputs.
CODE_BEFORE = {
    ("encoder.encoder", "0"): "flattened map",
    ("encoder.encoder", "1"): "position embedding",
    ("encoder.fpn_blocks", "0"): "upsampled map and the concatenation with it",
    ("encoder.pan_blocks", "0"): "concatenated maps",
    ("decoder.enc_output", "0"): "flattened maps, or which anchors are valid",
    ("decoder.query_pos_head", "0"): "anchors, boxes of the selected tokens, or denoising boxes in front of them",
    ("decoder.decoder.layers", "0"): "content of the selected tokens, or class embedding of the denoising queries",
    ("decoder.decoder.layers", "1"): "reference boxes",
    ("decoder.decoder.layers", "2"): "flattened maps",
    ("decoder.decoder.layers", "4"): "attention mask",
    ("decoder.decoder.layers", "5"): "position of the queries",
}

Replay = Callable[[str], Arrays]
Limit = Callable[[str, str], float]


@dataclass(frozen=True)
class Culprit:
    """The first place where two training passes differ."""

    module: str
    where: str  # "forward", "backward", "inputs" (code before it), "gradient flow" (code after it), or a stage
    comparison: Comparison
    code: str = ""  # what the code at fault computes, where that is known and no module

    def __str__(self) -> str:
        hint = f"; {self.code}" if self.code else ""
        return f"{self.module} ({self.where}): {self.comparison.tensor}, error {self.comparison.error:.2e}{hint}"


def replay_inputs(capture: Arrays, module: str) -> Arrays:
    """Inputs and cotangents of ``module`` in a captured training pass, as the inputs of a "module" case."""
    return _only(below(f"capture/{module}", capture), ("input/", "cotangent/"))


def replay_question(case: Case, inputs: Arrays, capture: Arrays, part: str) -> tuple[Case, Arrays]:
    """The case and the inputs with which ``part`` of a training pass runs alone.

    Args:
        case, inputs: of the whole pass.
        capture: the reference's trace of it.
        part: a module's canonical path, DENOISING or CRITERION.
    """
    alone = replace(case, capture=())
    targets = {name: array for name, array in inputs.items() if name != "images" and not name.startswith("forced/")}
    if part == DENOISING:
        return replace(alone, question=DENOISING), targets
    if part == CRITERION:
        given = {n.replace("forward/", "prediction/", 1): a for n, a in capture.items() if n.startswith("forward/")}
        forced = prefixed("forced", _only(capture, "match/"))
        return replace(alone, question=CRITERION), targets | given | forced
    return replace(alone, question="module", module=part), replay_inputs(capture, part)


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
        candidate_replay, reference_replay: trace of one part alone on the reference's inputs, see
            ``replay_question``.
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


def first_inherited(modules: Sequence[str], candidate: Arrays, reference: Arrays, limit: Limit) -> Culprit | None:
    """The first module whose outputs differ in the whole pass, where no module can run alone."""
    for module in modules:
        prefix = f"capture/{module}/output/"
        if wrong := _failed(_only(candidate, prefix), _only(reference, prefix), limit):
            return Culprit(module, "outputs", wrong, "this module, or the code before it")
    return None


def first_failed(comparisons: Iterable[Comparison]) -> Comparison:
    """The failure that comes first in the data flow. Raises ValueError where nothing failed."""
    return min((c for c in comparisons if not c.passed), key=lambda c: flow_position(c.stage, c.module))


@dataclass(frozen=True)
class _Search:
    """The arguments of ``find_culprit``, and the parts of its search in their order."""

    modules: Sequence[str]
    candidate: Arrays
    reference: Arrays
    candidate_replay: Replay
    reference_replay: Replay
    limit: Limit

    @property
    def detects(self) -> bool:
        """Whether the passes are those of a detection model: a selection, denoising queries, a criterion."""
        return "select/topk" in self.reference

    def forward_through_modules(self) -> Culprit | None:
        """The first module with wrong inputs, or with wrong outputs on the reference's inputs."""
        for module in self.modules:
            if module == FIRST_AFTER_SELECTION and (culprit := self.selection_and_denoising()):
                return culprit
            if self.captured(module, "input"):
                # A module listed inside another gets wrong inputs because the outer one does.
                for outer in (*_around(module, self.modules), module):
                    if wrong := self.captured(outer, "input"):
                        return _before(outer, wrong, self.modules)
            if wrong := self.alone(module, "output/"):
                return Culprit(module, "forward", wrong)
        return None

    def selection_and_denoising(self) -> Culprit | None:
        """Wrong selected tokens, or wrong denoising queries."""
        if wrong := self.differs("select/"):
            return Culprit("decoder", "query selection", wrong)
        if self.detects and _only(self.reference, "loss/") and (wrong := self.alone(DENOISING, "denoising/")):
            return Culprit(DENOISING, "forward", wrong, wrong.tensor.split("/")[1])
        return None

    def predictions_and_losses(self) -> Culprit | None:
        """Wrong predictions, matching costs, matchings or losses although every module is right."""
        places = (("decoder", "forward/"), (CRITERION, "cost/"), (CRITERION, "match/"), (CRITERION, "loss/"))
        if not self.detects:
            places = (("model", "forward/"), ("loss", "loss/"))
        for module, kind in places:
            if wrong := self.differs(kind):
                return Culprit(module, "forward", wrong, self.failed_terms() if kind == "loss/" else "")
        return None

    def failed_terms(self) -> str:
        """Which loss terms differ, where not all of them do."""
        ours, theirs = _only(self.candidate, "loss/"), _only(self.reference, "loss/")
        names = {c.tensor: c.passed for c in compare(ours, theirs, self.limit) if c.tensor != "loss/total"}
        failed = [name.removeprefix("loss/") for name, passed in names.items() if not passed]
        return f"terms {', '.join(failed)}" if 0 < len(failed) < len(names) else ""

    def backward_through_modules(self) -> Culprit | None:
        """The last module with wrong cotangents, or with wrong gradients on the reference's cotangents."""
        criterion = self.detects and _only(self.reference, "gradient/")
        if criterion and (wrong := self.alone(CRITERION, "gradient_input/")):
            return Culprit(CRITERION, "backward", wrong)
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


def _before(module: str, wrong: Comparison, modules: Sequence[str]) -> Culprit:
    """The code in front of a module whose inputs are wrong."""
    within = f"the code of {around[-1]} before it" if (around := _around(module, modules)) else ""
    code = CODE_BEFORE.get((without_numbers(module), wrong.tensor.rpartition("/")[2]), within)
    if module in (FIRST_OF_SELECTION, FIRST_AFTER_SELECTION):
        return Culprit("decoder", "query selection", wrong, code)
    return Culprit(module, "inputs", wrong, code)


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

"""Every field of the spec counts: with its default in place of another value, a compared tensor differs.

The fields come from the dataclasses, and the values from the subjects of this session. For each field, one of the
subjects that have another value gets the default, in this field alone, and the PyTorch twin runs both: a twin that
hard-codes the default would be seen there. A new field fails until a subject varies it or UNREAD says why none can.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import pytest

from frameworks.arrays import Arrays
from frameworks.config import (
    CriterionSpec,
    DecoderSpec,
    DLASpec,
    EncoderSpec,
    ExperimentSpec,
    HGNetv2Spec,
    HGStageSpec,
    MatcherSpec,
    ModelSpec,
    ParameterGroup,
    PResNetSpec,
    RecipeSpec,
    RegNetSpec,
    SpecError,
)
from frameworks.judge.compare import compare
from frameworks.judge.decisions import updates
from frameworks.protocol import Case
from frameworks.shared.tolerances import float64_limit
from frameworks.state.parameters import state_shapes
from parity_tests import test_losses, test_optimizers
from parity_tests.agreement import assert_same_function
from parity_tests.cases import subjects
from parity_tests.cases.subjects import Subject
from parity_tests.cases.varied import VARIED, varied
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces

BACKBONES = (PResNetSpec, HGNetv2Spec, HGStageSpec, DLASpec, RegNetSpec)
SPECS = (ModelSpec, *BACKBONES, EncoderSpec, DecoderSpec, MatcherSpec, CriterionSpec, RecipeSpec, ParameterGroup)

# Fields that no case of a framework reads, with the reason and what tests them instead.
UNREAD = {
    "RecipeSpec.tuning": "the file that an official run starts from: frameworks/tests/test_recipes.py",
    "RecipeSpec.accumulate": "read by the training loop alone, which frameworks share: test_updates.py",
    "RecipeSpec.amp": "mixed precision, of PyTorch's trainer alone: frameworks/tests/test_torch_mixed_precision.py",
    "RecipeSpec.amp_dtype": "as amp: frameworks/tests/test_torch_loss_scaling.py",
    "HGStageSpec.downsample": "the strides of the four stages fix it; another value is refused",
    **{
        f"{kind.__name__}.kind": "names the class of the spec in plain data: another kind is another class"
        for kind in (PResNetSpec, HGNetv2Spec, DLASpec, RegNetSpec)
    },
}
# Values for fields without a default, and where the default fits no small model.
OTHER: dict[str, Any] = {
    **{f"{kind.__name__}.return_idx": (1, 2) for kind in (PResNetSpec, HGNetv2Spec, DLASpec, RegNetSpec)},
    "RegNetSpec.group_width": 4,
    "EncoderSpec.use_encoder_idx": (0,),
    "DecoderSpec.num_queries": 19,
    "ParameterGroup.pattern": "encoder",
    "ParameterGroup.lr": 3e-3,
    "ParameterGroup.weight_decay": 0.3,
    "HGStageSpec.mid_channels": 10,
    "HGStageSpec.out_channels": 14,
    "HGStageSpec.blocks": 3,
    "HGStageSpec.light": True,
    "HGStageSpec.kernel": 7,
}
FIELDS = {
    f"{kind.__name__}.{field.name}": (kind, field)
    for kind in SPECS
    for field in dataclasses.fields(kind)
    if field.name not in ("backbone", "encoder", "decoder", "matcher", "stages", "groups")  # specs themselves
}
QUESTIONS = dict.fromkeys((*subjects.FAST[:3], *VARIED), ("forward", "loss", "steps"))
QUESTIONS |= dict.fromkeys(subjects.LOSSES, ("criterion", "postprocess"))
QUESTIONS |= dict.fromkeys(test_optimizers.CASES, ("optimizer",))
Place = tuple[str | int, ...]  # attributes and indices that lead to a spec within a spec


@functools.cache
def subject_of(name: str) -> Subject:
    """A subject of this session by name, an optimizer case of ``tiny`` by the case's name."""
    if name in VARIED:
        return varied(name)
    if name in test_optimizers.CASES:
        return test_optimizers.case_of(test_optimizers.CASES[name])[0]
    return subjects.subject(name)


def places(spec: Any, kind: type, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every spec of a class within ``spec``, with the way to it."""
    if isinstance(spec, tuple):
        for index, part in enumerate(spec):
            yield from places(part, kind, (*place, index))
    elif dataclasses.is_dataclass(spec):
        if isinstance(spec, kind):
            yield place, spec
        for field in dataclasses.fields(spec):
            yield from places(getattr(spec, field.name), kind, (*place, field.name))


def changed(spec: Any, place: Place, field: str, value: Any) -> Any:
    """The spec with one field of the spec at ``place`` replaced. Raises SpecError where no model can have it."""
    if not place:
        return dataclasses.replace(spec, **{field: value})
    first, *rest = place
    if isinstance(first, int):
        return tuple(changed(p, tuple(rest), field, value) if i == first else p for i, p in enumerate(spec))
    return dataclasses.replace(spec, **{first: changed(getattr(spec, first), tuple(rest), field, value)})


def variations(name: str) -> Iterator[tuple[str, ExperimentSpec]]:
    """Subjects whose value of the field is no default, each with its spec changed to the default in that field."""
    kind, field = FIELDS[name]
    for subject in QUESTIONS:
        spec = subject_of(subject).spec
        for place, part in places(spec, kind):
            value = OTHER.get(name, field.default)
            if value is not dataclasses.MISSING and value != getattr(part, field.name):
                try:
                    yield subject, changed(spec, place, field.name, value)
                except SpecError:
                    continue


def answer(name: str, question: str, spec: ExperimentSpec, traces: Traces) -> Arrays:
    """The PyTorch twin's trace of a question about a subject with this spec, on the subject's own inputs."""
    subject = subject_of(name)
    noise = dataclasses.replace(subject, spec=spec).training_inputs() if spec.model.decoder.num_denoising else {}
    inputs = subject.training_inputs() | {name: array for name, array in noise.items() if "noise/" in name}
    if question in ("criterion", "postprocess"):
        inputs |= test_losses.given(subject, traces) | {"sizes_wh": test_losses.SIZES_WH}
    elif question == "optimizer":
        inputs = subjects.given_gradients(subject, test_optimizers.STEPS)
    steps = {"steps": 1, "optimizer": test_optimizers.STEPS}.get(question, 0)
    case = Case(question, spec, training=question in ("loss", "steps", "criterion"), steps=steps)
    trace = traces.run(case, dataclasses.replace(subject, spec=spec), inputs, *TRUTH)
    return updates(trace, subject.weights())


def shows(name: str, spec: ExperimentSpec, traces: Traces) -> bool:
    """Whether names or shapes of the state differ from the subject's own, or a compared tensor does.

    Where the recipe differs, the questions with updates are asked, else the others.
    """
    own = subject_of(name).spec
    updating = spec.recipe != own.recipe
    if state_shapes(own.model) != state_shapes(spec.model):
        return True
    for question in (q for q in QUESTIONS[name] if (q in ("steps", "optimizer")) == updating):
        found = compare(answer(name, question, spec, traces), answer(name, question, own, traces), float64_limit)
        if not all(comparison.passed for comparison in found):
            return True
    return False


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in UNREAD])
def test_the_default_in_place_of_the_value_is_seen(name, traces: Traces):
    found = list(variations(name))
    assert found, f"no subject has another value of {name} than the default: vary it, or say in UNREAD why not"
    assert any(shows(subject, spec, traces) for subject, spec in found), (
        f"{name} changes no compared tensor of {', '.join(dict.fromkeys(subject for subject, _ in found))}"
    )


@pytest.mark.parametrize("name", UNREAD)
def test_unread_fields_exist(name):
    assert name in FIELDS


@pytest.mark.parametrize("name", VARIED)
def test_twins(name, traces: Traces, record):
    """All frameworks read the other values: a training pass and a step of the recipe, in float64."""
    subject = varied(name)
    inputs, weights = subject.training_inputs(), subject.weights()
    cases = {"training": Case("loss", subject.spec, training=True), "1 steps": subjects.steps_case(subject, 1)}
    for label, case in cases.items():
        truth = updates(traces.run(case, subject, inputs, *TRUTH), weights)
        traced = traces.run_all(case, subject, inputs, "float64", "cpu")
        outputs = {framework: updates(trace, weights) for framework, trace in traced.items()}
        setting, search = record(subject, label, "float64", "cpu"), CulpritSearch(traces, subject)
        assert_same_function(outputs, truth, setting, search=search)

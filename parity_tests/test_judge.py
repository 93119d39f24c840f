"""Tests of the judge: planted faults fail in the right stage and name the right module; clean runs pass."""

import functools
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.blame import Culprit, find_culprit, replay_question
from frameworks.judge.compare import Comparison, EmptyComparisonError, compare, compare_float32, relative_error
from frameworks.judge.decisions import updates
from frameworks.judge.record import Recorder
from frameworks.protocol import Case
from frameworks.shared import kernels
from frameworks.shared.tolerances import FLOAT32_KINKS, float64_limit
from frameworks.state.module_paths import module_paths
from parity_tests.agreement import float32_comparisons
from parity_tests.cases import subjects
from parity_tests.cases.faults import FAULTS, Fault
from parity_tests.cases.subjects import training_case
from parity_tests.traces import TRUTH, Traces

SEEDS = range(20)
SUBJECT = subjects.subject("tiny")
MODULES = module_paths(SUBJECT.spec.model)


def trace(
    subject: subjects.Subject, case: Case, inputs: Arrays, fault: Fault | None, framework: str = "torch"
) -> Arrays:
    """A trace in this process, with the fault planted."""
    twin = frameworks.load(framework)
    weights = subject.weights()
    if fault is None:
        return twin.trace(case, weights, inputs, device="cpu", dtype="float64")
    with fault.patch(), kernels.chosen("reference"):  # the faults are planted in the formulas
        case = replace(case, spec=fault.spec(case.spec))
        return twin.trace(case, fault.weights(weights), inputs, device="cpu", dtype="float64")


class Clean:
    """The training pass of the PyTorch twin without a fault, and its modules alone, each run once."""

    def __init__(self, subject: subjects.Subject) -> None:
        self.subject = subject
        self.modules = module_paths(subject.spec.model)
        self.trace = trace(subject, training_case(subject), subject.training_inputs(), None)
        self.replay = functools.cache(functools.partial(self.replayed, None, "torch"))

    def replayed(self, fault: Fault | None, framework: str, module: str) -> Arrays:
        """One part alone, on the inputs and cotangents that it had in the clean pass."""
        asked = training_case(self.subject), self.subject.training_inputs()
        return trace(self.subject, *replay_question(*asked, self.trace, module), fault, framework)

    def faulty(self, fault: Fault | None) -> Arrays:
        """The training pass with the fault planted."""
        return trace(self.subject, training_case(self.subject), self.subject.training_inputs(), fault)

    def blame(self, fault: Fault | None, candidate: Arrays, framework: str = "torch") -> Culprit | None:
        """The first module of ``candidate`` that diverges from the clean pass."""
        again = functools.partial(self.replayed, fault, framework)
        return find_culprit(self.modules, candidate, self.trace, again, self.replay, float64_limit)

    def failures(self, candidate: Arrays) -> list[Comparison]:
        """Comparisons of ``candidate`` with the clean pass that fail."""
        return [c for c in compare(candidate, self.trace, float64_limit, self.modules) if not c.passed]


@functools.cache
def clean_of(name: str) -> Clean:
    return Clean(subjects.subject(name))


@pytest.fixture(scope="module")
def clean() -> Clean:
    return clean_of("tiny")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault(fault: Fault):
    """The right stage fails, and the first culprit is the module where the fault was planted."""
    clean = clean_of(fault.subject)
    faulty = fault.trace(clean.faulty(fault))
    stage, module, where = fault.expected
    assert stage in {c.stage for c in clean.failures(faulty)}, f"{fault.name}: {stage} did not fail"
    culprit = clean.blame(fault, faulty)
    assert culprit is not None, f"{fault.name}: no module was named"
    assert (culprit.module, culprit.where) == (module, where), f"{fault.name}: blamed {culprit}"


@pytest.mark.parametrize("name", sorted({fault.subject for fault in FAULTS}))
def test_clean_run_names_no_module(name: str):
    clean = clean_of(name)
    assert clean.blame(None, clean.faulty(None)) is None


def test_stop_grad_in_place_is_caught(clean: Clean):
    """In Jittor, ``stop_grad`` in place of ``detach`` changes gradients but no forward value."""
    jittor = frameworks.load("jittor")
    import jittor as jt

    from frameworks.jittor_rtdetr.decoder import RTDETRTransformer

    original = RTDETRTransformer._select

    def select(*arguments):
        with mock.patch.object(jt.Var, "detach", jt.Var.stop_grad):
            return original(*arguments)

    with mock.patch.object(RTDETRTransformer, "_select", select):
        faulty = jittor.trace(
            training_case(SUBJECT), SUBJECT.weights(), SUBJECT.training_inputs(), device="cpu", dtype="float64"
        )
    failed = {c.stage for c in clean.failures(faulty)}
    assert failed == {"backward"}, f"only gradients may show it, but {failed} failed"
    culprit = clean.blame(None, faulty, "jittor")
    assert culprit is not None and culprit.module in ("decoder.enc_score_head", "decoder.enc_bbox_head"), culprit
    assert culprit.where == "gradient flow"


@pytest.mark.parametrize("question", ["optimizer", "ema"])
def test_update_faults_are_caught(question: str):
    """L2 decay in place of decoupled decay, and an EMA without warm-up: their own stages fail."""
    from frameworks.shared import schedules

    case = Case("optimizer", SUBJECT.spec, steps=2)
    inputs = subjects.given_gradients(SUBJECT, 2)
    clean_trace = updates(trace(SUBJECT, case, inputs, None), SUBJECT.weights())
    if question == "ema":
        patch = mock.patch.object(schedules, "ema_decay", lambda recipe, update: recipe.ema_decay)
        stage = "EMA"
    else:
        import torch

        patch = mock.patch("frameworks.torch_rtdetr.optimizer.torch.optim.AdamW", torch.optim.Adam)
        stage = "update"
    with patch:
        faulty = updates(trace(SUBJECT, case, inputs, None), SUBJECT.weights())
    failed = {c.stage for c in compare(faulty, clean_trace, float64_limit, MODULES) if not c.passed}
    assert stage in failed, failed


@pytest.mark.parametrize("seed", SEEDS)
def test_clean_seed_passes(seed: int, traces: Traces, recorder: Recorder):
    """Fresh weights, images, targets and noise: no false alarm, in either precision."""
    subject = replace(SUBJECT, name=f"tiny, seed {seed}", seed=f"clean-{seed}", counts=(seed % 4, 1 + seed % 3))
    truth = traces.training(subject, *TRUTH)
    context = {"preset": "tiny", "case": f"clean seed {seed}", "device": "cpu", "judge": "twin"}
    failures = []
    for name in frameworks.candidates():
        found = compare(traces.training(subject, name, "float64", "cpu"), truth, float64_limit, MODULES)
        failures += recorder.add(found, framework=name, dtype="float64", **context)
    outputs = {name: traces.training(subject, name, "float32", "cpu", truth) for name in frameworks.ADAPTERS}
    for name, found in float32_comparisons(outputs, truth, tuple(MODULES), FLOAT32_KINKS).items():
        failures += recorder.add(found, framework=name, dtype="float32", **context)
    assert not failures, "\n".join(failures)


def one(value: float) -> Arrays:
    return {"gradient/backbone.x": np.array([value, 1.0])}


def test_nan_never_passes():
    for pair in ((one(np.nan), one(1.0)), (one(1.0), one(np.nan)), (one(np.nan), one(np.nan))):
        assert not compare(*pair, lambda stage, name: 1e9)[0].passed


def test_infinity_never_passes():
    assert not compare(one(np.inf), one(np.inf), lambda stage, name: 1e9)[0].passed


def test_empty_comparison_is_an_error():
    with pytest.raises(EmptyComparisonError):
        compare({}, {}, float64_limit)


def test_missing_tensor_fails_on_either_side():
    extra = one(1.0) | {"gradient/backbone.y": np.ones(1)}
    for pair in ((one(1.0), extra), (extra, one(1.0))):
        assert [c.note.startswith("missing") for c in compare(*pair, float64_limit) if not c.passed] == [True]


def test_shape_mismatch_fails():
    found = compare({"loss/a": np.ones((1,))}, {"loss/a": np.ones(())}, lambda stage, name: 1e9)
    assert not found[0].passed and "shape" in found[0].note


def test_integers_must_be_equal():
    found = compare({"select/topk": np.array([1, 2])}, {"select/topk": np.array([1, 3])}, lambda stage, name: 1e9)
    assert not found[0].passed and found[0].note == "1 of 2 entries differ"


def test_relative_error_is_frobenius():
    assert relative_error(np.array([3.0, 4.0]), np.array([3.0, 5.0])) == pytest.approx(1 / np.sqrt(34))
    assert relative_error(np.zeros(3), np.zeros(3)) == 0.0
    assert relative_error(np.ones(3), np.zeros(3)) == np.inf


def test_zero_gradient_is_not_excused_as_negligible():
    """A gradient that should be there and is zero has the error 1, however small the others are."""
    truth = {"gradient/a": np.full(4, 1e-3), "gradient/b": np.full(4, 1.0)}
    found = {c.tensor: c for c in compare(truth | {"gradient/a": np.zeros(4)}, truth, float64_limit)}
    assert found["gradient/a"].error == 1.0 and not found["gradient/a"].passed


def test_float32_blames_the_less_accurate_framework():
    truth = {"forward/x": np.ones(8)}
    good, bad = ({"forward/x": np.ones(8) + error} for error in (1e-7, 1e-3))
    assert compare_float32(good, [bad], truth)[0].passed
    assert not compare_float32(bad, [good], truth)[0].passed


def test_float32_limit_of_the_reference_is_that_of_the_best_candidate():
    truth = {"forward/x": np.ones(8)}
    good, bad, nan = ({"forward/x": np.ones(8) + error} for error in (1e-7, 1e-3, np.nan))
    assert not compare_float32(bad, [bad, good, nan], truth)[0].passed
    assert compare_float32(bad, [bad, nan], truth)[0].passed
    assert not compare_float32(bad, [nan], truth)[0].passed

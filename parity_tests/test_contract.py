"""The contract of a framework adapter; the author of a new one runs this file first.

Every request goes through a worker process, as in a real session. A failure message names what the adapter lacks;
parity_tests/cases/contract.py lists the promised names and shapes.
"""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.errors import UserError
from frameworks.judge.compare import compare
from frameworks.protocol import QUESTIONS, Case, StepRecord
from frameworks.shared import trace_names
from frameworks.shared.schedules import learning_rates
from frameworks.shared.tolerances import DEPLOY, FLOAT32_SCALED, FLOAT32_SUM
from frameworks.state.parameters import trainable_names
from frameworks.workers import client
from parity_tests.cases.contract import (
    BATCH,
    CLASSES,
    LAYERS,
    MODEL,
    QUERIES,
    SHAPES,
    SPEC,
    TERMS,
    batch,
    expected_dtype,
    inputs_of,
    promised,
    sizes,
    trace,
    weights,
)

REFUSAL = (client.WorkerFailure, UserError)
PRETEND_DEVICE, PRETEND_DTYPE = "abacus", "float13"


@pytest.fixture(scope="session", params=frameworks.ADAPTERS)
def framework(request):
    """Each framework, in a worker."""
    python = interpreters(request).get(request.param)
    with client.open_framework(request.param, python=python, timeout=900) as opened:
        yield opened


def interpreters(request) -> dict[str, str]:
    """``--python NAME=PATH``, as for the other parity tests."""
    return dict(pair.split("=", 1) for pair in request.config.getoption("--python", []))


@pytest.fixture(scope="session")
def trace_of(framework):
    """The trace for every question, each run once."""
    cached: dict[str, Arrays] = {}

    def of(question: str) -> Arrays:
        if reason := framework.supports("cpu", "float64"):
            pytest.skip(f"{framework.name}: {reason}")
        if question not in cached:
            cached[question] = trace(framework, question)
        return cached[question]

    return of


# Runs where the framework may be imported: members and parameter names of the adapter against the protocol.
MEMBERS = """
import inspect, json, sys
import frameworks
from frameworks.protocol import Framework
adapter, missing = frameworks.load(*sys.argv[1:]), []
for name, promised in vars(Framework).items():
    if name.startswith("_") or not callable(promised):
        continue
    method = getattr(adapter, name, None)
    if method is None:
        missing.append(f"no method {name}()")
        continue
    wanted = [p for p in inspect.signature(promised).parameters if p != "self"]
    given = list(inspect.signature(method).parameters)
    if given != wanted:
        missing.append(f"{name}() takes {given}, the protocol {wanted}")
if getattr(adapter, "name", None) != sys.argv[1]:
    missing.append(f"name is {getattr(adapter, 'name', None)!r}, registered as {sys.argv[1]!r}")
sys.stderr.write("MISSING" + json.dumps(missing))
"""


@pytest.mark.parametrize("name", frameworks.ADAPTERS)
def test_adapter_has_the_members_of_the_protocol(name, request):
    python = interpreters(request).get(name, sys.executable)
    command = [python, "-c", MEMBERS, name, frameworks.ADAPTERS[name]]
    done = subprocess.run(command, cwd=client.REPOSITORY, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"importing the adapter of {name} failed:\n{done.stderr[-2000:]}"
    missing = json.loads(done.stderr.rpartition("MISSING")[2])
    assert not missing, f"FRAMEWORK in {frameworks.ADAPTERS[name]} is no frameworks.protocol.Framework: {missing}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_supports_returns_none_or_a_reason(framework, dtype):
    reason = framework.supports("cpu", dtype)
    assert reason is None or (isinstance(reason, str) and reason), f"supports() returned {reason!r}"


@pytest.mark.parametrize(("device", "dtype"), [(PRETEND_DEVICE, "float32"), ("cpu", PRETEND_DTYPE)])
def test_supports_refuses_nonsense_by_name(framework, device, dtype):
    reason = framework.supports(device, dtype)
    unknown = device if device == PRETEND_DEVICE else dtype
    assert reason, f"supports({device!r}, {dtype!r}) returned {reason!r}; expected a reason why not"
    assert unknown in reason, f"the reason {reason!r} does not name {unknown!r}"


def test_what_supports_refuses_is_not_run(framework):
    with pytest.raises(REFUSAL, match=PRETEND_DTYPE):
        framework.trace(Case("forward", SPEC), weights(), batch(), device="cpu", dtype=PRETEND_DTYPE)


def test_environment_says_what_runs(framework):
    record = framework.environment("cpu")
    for field in ("framework", "version", "threads", "fast_math", "tf32"):
        assert field in record, f"environment() must record {field!r}; it has {sorted(record)}"
    assert record["framework"] == framework.name


def test_parameter_shapes_are_the_canonical_ones(framework):
    shapes = framework.parameter_shapes(MODEL)
    assert not SHAPES.keys() - shapes.keys(), f"the model lacks {sorted(SHAPES.keys() - shapes.keys())[:5]}"
    assert not shapes.keys() - SHAPES.keys(), f"not canonical: {sorted(shapes.keys() - SHAPES.keys())[:5]}"
    wrong = {n: (s, SHAPES[n]) for n, s in shapes.items() if s != SHAPES[n]}
    assert not wrong, f"(built, canonical) shapes differ: {dict(list(wrong.items())[:5])}"


def test_every_question_has_a_promise():
    assert {q for q in QUESTIONS if promised(q)} == set(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_trace_writes_the_promised_arrays(trace_of, question):
    written, wanted = trace_of(question), promised(question)
    assert not wanted.keys() - written.keys(), f"{question}: missing {sorted(wanted.keys() - written.keys())[:5]}"
    assert not written.keys() - wanted.keys(), (
        f"{question}: not in the protocol: {sorted(written.keys() - wanted.keys())[:5]}"
    )
    shapes = {n: (a.shape, wanted[n]) for n, a in written.items() if a.shape != wanted[n]}
    assert not shapes, f"{question}: (written, promised) shapes differ: {dict(list(shapes.items())[:5])}"


@pytest.mark.parametrize("question", QUESTIONS)
def test_trace_has_the_requested_dtype(trace_of, question):
    written = trace_of(question)
    wrong = {n: (str(a.dtype), expected_dtype(n)) for n, a in written.items() if a.dtype != expected_dtype(n)}
    assert not wrong, f"{question} in float64: (written, expected) dtypes differ: {dict(list(wrong.items())[:5])}"
    dead = [n for n, a in written.items() if not np.isfinite(a).all()]
    assert not dead, f"{question}: not finite: {dead[:5]}"


def test_the_deploy_form_computes_the_same_function(framework, trace_of):
    case = Case("forward", SPEC, deploy=True)
    fused = framework.trace(case, weights(), inputs_of("forward"), device="cpu", dtype="float64")
    # A fused model has no norm statistics.
    fused, unfused = (
        {name: array for name, array in side.items() if not name.startswith("statistic/")}
        for side in (fused, trace_of("forward"))
    )
    found = compare(fused, unfused, lambda stage, name: DEPLOY)
    failed = [comparison.describe("float64", "cpu") for comparison in found if not comparison.passed]
    assert not failed, "\n".join(failed)


def test_inputs_in_float64_keep_their_digits(framework, trace_of):
    given = inputs_of("forward")
    given |= {"images": given["images"].astype(np.float64) * (1 + 1e-10)}  # float32 has no such digits
    moved = framework.trace(Case("forward", SPEC), weights(), given, device="cpu", dtype="float64")
    assert (moved["forward/pred_logits"] != trace_of("forward")["forward/pred_logits"]).any()


@pytest.mark.parametrize("question", ["loss", "optimizer"])
def test_the_same_case_twice_gives_the_same_bits(framework, trace_of, question):
    first, second = trace_of(question), trace(framework, question)
    changed = [n for n in first if first[n].tobytes() != second[n].tobytes()]
    assert not changed, f"{question}: {len(changed)} arrays differ between two runs, first {changed[:5]}"


BROKEN = {
    "missing name": lambda w: {n: a for n, a in w.items() if n != "decoder.enc_output.0.bias"},
    "extra name": lambda w: w | {"decoder.unknown.weight": np.zeros(3, np.float32)},
    "wrong shape": lambda w: w | {"decoder.enc_output.0.bias": np.zeros(MODEL.decoder.hidden_dim + 1, np.float32)},
    "broadcast": lambda w: w | {"decoder.enc_output.0.bias": np.zeros(1, np.float32)},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_weights_are_loaded_strictly(framework, fault):
    name = "decoder.unknown.weight" if fault == "extra name" else "decoder.enc_output.0.bias"
    with pytest.raises(REFUSAL, match=name):
        framework.trace(Case("forward", SPEC), BROKEN[fault](weights()), batch(), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def trained(framework):
    """A trainer after one step, with that step's record."""
    trainer = framework.trainer(SPEC, weights(), device="cpu")
    return trainer, advance(trainer, 0)


def advance(trainer, step: int) -> StepRecord:
    """One training step at the recipe's learning rates, with the EMA decay 0.5."""
    return trainer.step(batch(), learning_rates(SPEC.recipe, step, epoch=0), 0.5)


def untimed(record: StepRecord) -> StepRecord:
    """The record without times, and without what only a first step compiles."""
    return dataclasses.replace(record, seconds=0.0, kernels_compiled=0, compile_seconds=0.0)


def test_step_reports_finite_numbers_and_every_loss_term(trained):
    _, record = trained
    names = [f"loss_{term}" for term in TERMS]
    # main, auxiliary layers, encoder; one denoising prediction for each layer: three terms each
    assert len(names) == 3 * (1 + (LAYERS - 1) + 1 + LAYERS)
    assert list(record.losses) == names, "losses must come in the official order: main, aux, encoder, dn"
    numbers = [*record.losses.values(), record.total, record.gradient_norm, record.seconds]
    assert np.isfinite(numbers).all(), f"not finite: {record}"
    assert np.isclose(record.total, sum(record.losses.values()), rtol=FLOAT32_SUM), (
        "total is not the sum of the terms"
    )
    assert record.gradient_norm > 0, "gradient_norm is the norm before clipping"
    assert record.matching, "matching is a hash that tells when two runs part"


def test_trainer_goes_on_from_a_saved_state_to_the_bit(framework, trained):
    trainer, _ = trained
    saved = trainer.state()
    first, after = advance(trainer, 1), trainer.state()
    resumed = framework.trainer(SPEC, weights(), device="cpu")
    resumed.load(saved)
    second, again = advance(resumed, 1), resumed.state()
    assert untimed(first) == untimed(second)
    assert after.keys() == again.keys(), f"state() changed its names: {sorted(after.keys() ^ again.keys())[:5]}"
    lost = [n for n in after if after[n].tobytes() != again[n].tobytes()]
    assert not lost, f"state() or load() loses {len(lost)} arrays, first {lost[:5]}"


def test_a_step_moves_parameters_moments_and_averages(framework):
    trainer = framework.trainer(SPEC, weights(), device="cpu")
    before = trainer.state()
    advance(trainer, 0)
    after = trainer.state()
    for kind in ("parameter/", "ema/"):
        still = [n for n in trainable_names(MODEL) if np.array_equal(before[kind + n], after[kind + n])]
        assert not still, f"{len(still)} trainable {kind} arrays did not move, first {still[:5]}"
    assert {n for n in after if n.startswith("moment1/")} == {f"moment1/{n}" for n in trainable_names(MODEL)}
    assert trainer.peak_memory_mb() > 1, "peak_memory_mb() is in MB"


def test_load_rewinds_a_trainer(framework):
    trainer = framework.trainer(SPEC, weights(), device="cpu")
    start = trainer.state()
    first, after = advance(trainer, 0), trainer.state()
    trainer.load(start)
    back = trainer.state()
    assert start.keys() == back.keys(), f"load() leaves {sorted(back.keys() - start.keys())[:3]} of the later state"
    second, again = advance(trainer, 0), trainer.state()
    assert untimed(first) == untimed(second)
    lost = [n for n in after if after[n].tobytes() != again[n].tobytes()]
    assert not lost, f"{len(lost)} arrays are not the saved ones, first {lost[:5]}"


def check_detections(arrays: Arrays) -> None:
    """Names, shapes, dtypes and order of the detections of ``batch``."""
    assert set(arrays) == {"labels", "boxes", "scores"}
    assert arrays["labels"].shape == (BATCH, QUERIES) and arrays["labels"].dtype == np.int64
    assert arrays["boxes"].shape == (BATCH, QUERIES, 4) and arrays["scores"].shape == (BATCH, QUERIES)
    assert ((arrays["labels"] >= 0) & (arrays["labels"] < CLASSES)).all()
    assert (np.diff(arrays["scores"], axis=1) <= 0).all(), "scores must descend"
    assert (arrays["boxes"][..., 2:] >= arrays["boxes"][..., :2]).all(), "boxes are xyxy in pixels"


def test_predict_returns_scored_boxes_in_pixels(framework):
    images = {"images": batch()["images"]}
    detections = framework.predict(SPEC, weights(), images | sizes(), device="cpu")
    check_detections(detections.arrays)
    assert detections.seconds > 0
    reference = frameworks.load(frameworks.REFERENCE)
    evaluated = reference.trace(Case("forward", SPEC), weights(), images, device="cpu", dtype="float64")
    last = trace_names.prefixed("prediction", trace_names.below("forward", evaluated)) | sizes()
    wanted = reference.trace(Case("postprocess", SPEC), weights(), last, device="cpu", dtype="float64")
    scores = detections.arrays["scores"]
    np.testing.assert_allclose(
        scores, wanted["postprocess/scores"], rtol=FLOAT32_SUM, err_msg="not the last layer's"
    )
    # (w, h) of each image in turn: doubling the width doubles x and leaves y
    double = framework.predict(SPEC, weights(), images | {"sizes_wh": sizes()["sizes_wh"] * [2, 1]}, device="cpu")
    np.testing.assert_allclose(
        double.arrays["boxes"], detections.arrays["boxes"] * [2, 1, 2, 1], rtol=FLOAT32_SCALED
    )


def test_trainer_predicts_with_the_averages(framework, trained):
    trainer, _ = trained
    images = {"images": batch()["images"]} | sizes()
    state = trainer.state()
    averages = {n: state[f"ema/{n}"] if f"ema/{n}" in state else np.zeros(s, np.int64) for n, s in SHAPES.items()}
    wanted = framework.predict(SPEC, averages, images, device="cpu").arrays
    found = trainer.predict(images).arrays
    check_detections(found)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=f"{name}: not the EMA model's")


def test_predictions_follow_every_change_of_the_averages(framework):
    trainer = framework.trainer(SPEC, weights(), device="cpu")
    images, start = {"images": batch()["images"]} | sizes(), trainer.state()
    scores = [trainer.predict(images).arrays["scores"]]
    advance(trainer, 0)
    scores += [trainer.predict(images).arrays["scores"] for _ in range(2)]
    trainer.load(start)
    scores.append(trainer.predict(images).arrays["scores"])
    assert not np.array_equal(scores[0], scores[1]), "a step does not reach the predictions"
    np.testing.assert_array_equal(scores[1], scores[2])
    np.testing.assert_array_equal(scores[0], scores[3], err_msg="load() does not reach the predictions")


@pytest.mark.parametrize("images", [1, 2])
def test_predictions_of_images_with_targets_have_losses(framework, images):
    """The first images have targets; the losses are the main terms of the reference on these images alone."""
    given, counts = batch(), batch()["counts"][:images]
    first = {"labels": given["labels"][: counts.sum()], "boxes": given["boxes"][: counts.sum()], "counts": counts}
    trainer = framework.trainer(SPEC, weights(), device="cpu")
    found = trainer.predict({"images": given["images"]} | sizes() | first)
    check_detections(found.arrays)
    reference = frameworks.load(frameworks.REFERENCE)
    evaluated = reference.trace(
        Case("forward", SPEC), weights(), {"images": given["images"][:images]}, device="cpu", dtype="float64"
    )
    alone = first | trace_names.prefixed("prediction", trace_names.below("forward", evaluated))
    terms = reference.trace(Case("criterion", SPEC), weights(), alone, device="cpu", dtype="float64")
    assert set(found.losses) == {"loss_vfl", "loss_bbox", "loss_giou"}
    for name, value in found.losses.items():
        expected = float(terms[f"loss/{name.removeprefix('loss_')}"])
        np.testing.assert_allclose(value, expected, rtol=FLOAT32_SUM, err_msg=name)

"""Losses that no preset has: focal, BCE, cross-entropy, weighted box losses, shared matchings, softmax scores.

They are compared on identical predictions. The truth itself is compared with NumPy loops.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from frameworks.arrays import Arrays
from frameworks.config import CriterionSpec
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs, trace_names
from frameworks.shared.hungarian import Indices
from frameworks.tests import closed_forms
from parity_tests.agreement import DEVICES, DTYPES, assert_agreement
from parity_tests.cases import subjects
from parity_tests.cases.subjects import Subject
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces, rounded

SIZES_WH = np.array([[640, 480], [333, 500]], np.int64)
Drawn = list[tuple[np.ndarray, np.ndarray]]  # labels [N] and cxcywh boxes [N, 4] of each image
Prediction = tuple[np.ndarray, np.ndarray]  # logits [B, Q, K] and cxcywh boxes [B, Q, 4]


def given(subject: Subject, traces: Traces) -> Arrays:
    """Targets, noise, and the predictions of a training pass of the model with its own losses."""
    base, _ = subjects.LOSSES[subject.name]
    forward = trace_names.below("forward", traces.training(subjects.subject(base), *TRUTH))
    return subject.training_inputs() | trace_names.prefixed("prediction", rounded(forward))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", subjects.LOSSES)
def test_criterion(name, dtype, device, traces: Traces, record):
    """Every loss term, its gradient towards logits and boxes, and the matchings."""
    subject = subjects.subject(name)
    case, inputs = Case("criterion", subject.spec, training=True), given(subject, traces)
    truth = traces.run(case, subject, inputs, *TRUTH)
    forced = {f"forced/{name}": array for name, array in truth.items() if name.startswith("match/")}
    outputs = traces.run_all(case, subject, inputs | forced, dtype, device)
    assert_agreement(outputs, truth, record(subject, "criterion", dtype, device))


def saturated(inputs: Arrays) -> Arrays:
    """A quarter of all logits at 60 and -60, where float32 scores are 1 and exp(60) is near its largest number."""

    def change(name: str, logits: np.ndarray) -> np.ndarray:
        drawn = drawn_inputs.uniform(name, logits.shape, "saturated")
        return np.where(drawn < 0.25, np.copysign(60, drawn - 0.125), logits).astype(np.float32)

    return inputs | {name: change(name, array) for name, array in inputs.items() if name.endswith("pred_logits")}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tiny_sigmoid", "tiny_softmax"])
def test_criterion_of_saturated_logits(name, dtype, device, traces: Traces, record):
    """The same where scores are as close to 0 and 1 as float32 has them: no term overflows or loses its digits."""
    subject = subjects.subject(name)
    case, inputs = Case("criterion", subject.spec, training=True), saturated(given(subject, traces))
    truth = traces.run(case, subject, inputs, *TRUTH)
    forced = {f"forced/{name}": array for name, array in truth.items() if name.startswith("match/")}
    outputs = traces.run_all(case, subject, inputs | forced, dtype, device)
    assert_agreement(outputs, truth, record(subject, "criterion, saturated", dtype, device))


def nearly_equal_queries(inputs: Arrays) -> Arrays:
    """Queries 0 and 1 of all predictions lie at each image's first target, 1 nearer by what float32 cannot hold."""
    inputs = {name: array.astype(np.float64) if "pred_" in name else array for name, array in inputs.items()}
    labels, boxes = trace_names.targets_per_image(inputs)
    for image, (own_labels, own_boxes) in enumerate(zip(labels, boxes, strict=True)):
        for logits in (array for name, array in inputs.items() if name.endswith("pred_logits")):
            logits[image, :2] = np.where(np.arange(logits.shape[-1]) == own_labels[0], 8.0, -8.0)
        for predicted in (array for name, array in inputs.items() if name.endswith("pred_boxes")):
            predicted[image, :2] = own_boxes[0] * [[1 - 1e-2], [1 - 1e-2 + 1e-11]]
    return inputs


def test_matching_of_nearly_equal_costs(traces: Traces, record):
    """Two queries whose costs differ in float64 alone: every framework matches the better one, and so do loops."""
    subject = subjects.subject("tiny_sigmoid")
    inputs = nearly_equal_queries(given(subject, traces))
    case = Case("criterion", subject.spec, training=True)
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    assert_agreement(outputs, truth, record(subject, "criterion, nearly equal costs", "float64", "cpu"))
    for output in (truth, *outputs.values()):
        for image in range(len(inputs["counts"])):
            cost = output[f"cost/0/{image}"]
            assert 0 < cost[0, 0] - cost[1, 0] < 1e-9
            assert 1 in output[f"match/0/{image}/queries"] and 0 not in output[f"match/0/{image}/queries"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_postprocess(dtype, device, traces: Traces, record):
    """Softmax scores: labels, boxes in pixels and scores, the truth's against NumPy too."""
    subject = subjects.subject("tiny_softmax")
    inputs = given(subject, traces) | {"sizes_wh": SIZES_WH}
    inputs = {n: inputs[n] for n in ("prediction/pred_logits", "prediction/pred_boxes", "sizes_wh")}
    case = Case("postprocess", subject.spec)
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    assert_agreement(outputs, truth, record(subject, "post-processing", dtype, device))
    logits, boxes, sizes = (array.astype(np.float64) for array in inputs.values())
    wanted = closed_forms.postprocess(logits, boxes, sizes, logits.shape[1], focal=False)
    for column, array in zip(("labels", "boxes", "scores"), wanted, strict=True):
        np.testing.assert_allclose(truth[f"postprocess/{column}"], array, rtol=1e-12, err_msg=column)


@pytest.mark.parametrize("name", subjects.LOSSES)
def test_terms_against_loops(name, traces: Traces):
    """The truth's matchings and every one of its terms."""
    subject = subjects.subject(name)
    inputs = given(subject, traces)
    truth = traces.run(Case("criterion", subject.spec, training=True), subject, inputs, *TRUTH)
    queries = traces.run(Case("denoising", subject.spec, training=True), subject, inputs, *TRUTH)
    labels, boxes = trace_names.targets_per_image(inputs)
    targets = [(label, box.astype(np.float64)) for label, box in zip(labels, boxes, strict=True)]
    spec = subject.spec.criterion
    predictions = {n: a.astype(np.float64) for n, a in trace_names.below("prediction", inputs).items()}
    layers, encoder, denoising = trace_names.read_predictions(predictions, prediction_of)
    matching = [layers[-1], *layers[:-1], encoder]
    count, groups = max(float(sum(map(len, labels))), 1.0), int(queries["denoising/groups"])
    wanted: dict[str, float] = {}
    costs, found_pairs = matched_by_loops(matching, targets, spec)
    for place, indices in enumerate(found_pairs):
        for image, pair in enumerate(indices):
            np.testing.assert_allclose(truth[f"cost/{place}/{image}"], costs[place][image], rtol=1e-11)
            for side, array in zip(("queries", "targets"), pair, strict=True):
                np.testing.assert_array_equal(truth[f"match/{place}/{image}/{side}"], array)
        suffix = f"_aux_{place - 1}" if place else ""
        wanted |= {
            f"{kind}{suffix}": v for kind, v in terms(matching[place], targets, indices, count, spec).items()
        }
    positives = [queries[f"denoising/positive/{image}"] for image in range(len(targets))]
    indices = [(p, np.tile(np.arange(len(own)), groups)) for p, own in zip(positives, labels, strict=True)]
    for layer, prediction in enumerate(denoising):
        found = terms(prediction, targets, indices, count * groups, spec)
        wanted |= {f"{kind}_dn_{layer}": value for kind, value in found.items()}
    given_terms = {n: float(v) for n, v in trace_names.below("loss", truth).items() if n != "total"}
    assert given_terms == pytest.approx(wanted, rel=1e-11)


def prediction_of(logits: np.ndarray, boxes: np.ndarray) -> Prediction:
    return logits, boxes


def matched_by_loops(
    predictions: list[Prediction], targets: Drawn, spec: CriterionSpec
) -> tuple[list[list[np.ndarray]], list[Indices]]:
    """Costs and SciPy's matching of each prediction; with shared indices the first count for all but the last."""
    costs: list[list[np.ndarray]] = []
    for logits, boxes in predictions:
        costs.append(
            [
                closed_forms.matching_cost(logits[b], boxes[b], *target, focal=spec.matcher.use_focal_loss)
                for b, target in enumerate(targets)
            ]
        )
    if spec.share_matched_indices:
        costs = [costs[0]] * (len(costs) - 1) + costs[-1:]
    return costs, [[linear_sum_assignment(cost) for cost in own] for own in costs]


def terms(
    prediction: Prediction, targets: Drawn, indices: Indices, count: float, spec: CriterionSpec
) -> dict[str, float]:
    """The weighted terms of one prediction, by kind."""
    (logits, boxes), form = prediction, spec.boxes_weight_format
    values: dict[str, float] = {}
    if "labels" in spec.losses:
        values["ce"] = closed_forms.cross_entropy(logits, targets, indices, spec.eos_coef)
    if "bce" in spec.losses:
        values["bce"] = closed_forms.bce(logits, targets, indices, count)
    if "focal" in spec.losses:
        values["focal"] = closed_forms.focal(logits, targets, indices, count, spec.alpha, spec.gamma)
    if "vfl" in spec.losses:
        constants = count, spec.alpha, spec.gamma, form == "giou"
        values["vfl"] = closed_forms.varifocal(logits, boxes, targets, indices, *constants)
    values["bbox"], values["giou"] = closed_forms.box_terms(boxes, targets, indices, count, form)
    return {kind: getattr(spec, f"weight_{kind}") * value for kind, value in values.items()}


@pytest.mark.parametrize("name", ["tiny_sigmoid", "tiny_softmax"])
def test_gradients_are_those_of_the_values(name, traces: Traces):
    """Central differences of the total; without the varifocal loss, which holds parts of itself constant."""
    subject = subjects.subject(name)
    losses = tuple(loss for loss in subject.spec.criterion.losses if loss != "vfl")
    spec = replace(subject.spec, criterion=replace(subject.spec.criterion, losses=losses))
    case, inputs = Case("criterion", spec, training=True), given(subject, traces)
    truth = traces.run(case, subject, inputs, *TRUTH)
    inputs |= {f"forced/{name}": array for name, array in truth.items() if name.startswith("match/")}
    rng, step = np.random.default_rng(0), 1e-6
    start = {n: a.astype(np.float64) for n, a in inputs.items() if n.startswith("prediction/")}
    way = {n: rng.normal(size=a.shape) for n, a in start.items()}
    sides = [{n: start[n] + sign * step * way[n] for n in start} for sign in (1, -1)]
    above, below = (float(traces.run(case, subject, inputs | side, *TRUTH)["loss/total"]) for side in sides)
    slope = sum(float((truth[f"gradient_input/{n}"] * way[n]).sum()) for n in start)
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("losses", [("boxes",), ("focal",)])
def test_training_without_one_kind_of_loss(losses, traces: Traces, record):
    """A whole pass: the heads that no loss reaches have no gradient, which is not a gradient of zero."""
    subject = subjects.subject("tiny")
    spec = replace(subject.spec, criterion=replace(subject.spec.criterion, losses=losses))
    case, inputs = Case("loss", spec, training=True), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    unused, used = ("score", "bbox") if losses == ("boxes",) else ("bbox", "score")
    assert not any(f"_{unused}_head." in name for name in truth if name.startswith("gradient/"))
    assert any(f"_{used}_head." in name for name in truth if name.startswith("gradient/"))
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    search = CulpritSearch(traces, replace(subject, spec=spec))
    assert_agreement(
        outputs, truth, record(subject, f"training, only {losses[0]}", "float64", "cpu"), search=search
    )


@pytest.mark.parametrize("denoising", [10, 0])
def test_training_without_auxiliary_losses(denoising, traces: Traces, record):
    """The heads of the encoder have no gradient; without denoising, nor have those of earlier layers."""
    subject = subjects.subject("tiny_bottleneck")
    model, criterion = subject.spec.model, replace(subject.spec.criterion, aux_loss=False)
    model = replace(model, decoder=replace(model.decoder, num_denoising=denoising))
    subject = replace(subject, spec=replace(subject.spec, model=model, criterion=criterion))
    case, inputs = Case("loss", subject.spec, training=True), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    heads = {name.split(".")[1] for name in truth if name.startswith("gradient/decoder.")}
    assert "enc_score_head" not in heads and "dec_score_head" in heads
    assert ("gradient/decoder.dec_score_head.0.bias" in truth) == bool(denoising)
    assert ("gradient/decoder.dec_bbox_head.0.layers.0.bias" in truth) == bool(denoising)
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    label = f"training, no auxiliary losses, {denoising} denoising queries"
    assert_agreement(outputs, truth, record(subject, label, "float64", "cpu"))

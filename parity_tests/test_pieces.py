"""Criterion, denoising queries and post-processing on given inputs, and the optimizer on given gradients."""

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.judge.decisions import forced_decisions, updates
from frameworks.protocol import Case
from parity_tests.agreement import DEVICES, DTYPES, assert_agreement, no_module
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces, rounded

pytestmark = [
    pytest.mark.parametrize("device", DEVICES),
    pytest.mark.parametrize("dtype", DTYPES),
    pytest.mark.parametrize("name", subjects.SUBJECTS),
]


def predictions(training: Arrays) -> Arrays:
    """The predictions of a training pass as inputs of the criterion, rounded to float32."""
    forward = {name: array for name, array in training.items() if name.startswith("forward/")}
    return {name.replace("forward/", "prediction/"): array for name, array in rounded(forward).items()}


def test_criterion(name, dtype, device, traces: Traces, record):
    """Every loss term and its gradient towards logits and boxes, on identical predictions and matchings."""
    subject = subjects.subject(name)
    training = traces.training(subject, *TRUTH)
    inputs = subject.training_inputs() | predictions(training) | forced_decisions(training)
    case = Case("criterion", subject.spec, training=True)
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    assert_agreement(outputs, truth, record(subject, "criterion", dtype, device))


def test_denoising(name, dtype, device, traces: Traces, record):
    """Labels, noised boxes, attention mask and positives from identical noise."""
    subject = subjects.subject(name)
    case, inputs = Case("denoising", subject.spec, training=True), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    assert_agreement(outputs, truth, record(subject, "denoising", dtype, device))


def test_postprocess(name, dtype, device, traces: Traces, record):
    """Labels, boxes in pixels and scores from identical predictions."""
    subject = subjects.subject(name)
    given = predictions(traces.training(subject, *TRUTH))
    inputs = {name: given[name] for name in ("prediction/pred_logits", "prediction/pred_boxes")}
    inputs["sizes_wh"] = np.array([[640, 480], [333, 500]], np.int64)
    case = Case("postprocess", subject.spec)
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    assert_agreement(outputs, truth, record(subject, "post-processing", dtype, device))


@pytest.mark.parametrize("count", [1, 5])
def test_optimizer(name, dtype, device, count, traces: Traces, record):
    """Clipping, AdamW with its groups, moments and EMA on identical gradients."""
    subject = subjects.subject(name)
    case, inputs = Case("optimizer", subject.spec, steps=count), subjects.given_gradients(subject, count)
    truth = updates(traces.run(case, subject, inputs, *TRUTH), subject.weights())
    traced = traces.run_all(case, subject, inputs, dtype, device)
    outputs = {framework: updates(trace, subject.weights()) for framework, trace in traced.items()}
    setting = record(subject, f"optimizer, {count} steps", dtype, device)
    assert_agreement(outputs, truth, setting, search=no_module)

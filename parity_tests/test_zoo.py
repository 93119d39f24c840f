"""Every official preset: all frameworks compute the same function. The slow part: ``nox -s parity_zoo``."""

import pytest

from frameworks.judge.decisions import updates
from frameworks.protocol import Case
from frameworks.shared.tolerances import zoo_limit
from parity_tests.agreement import DEVICES, assert_same_function
from parity_tests.cases import subjects
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces

# One of each backbone, and each form of the decoder: RT-DETR's, RT-DETRv2's, discrete, and eval_idx before the end.
UPDATED = (
    *("rtdetr_r34vd", "rtdetr_r50vd_m", "rtdetr_dla34", "rtdetr_regnet"),
    *("rtdetrv2_r18vd", "rtdetrv2_hgnetv2_l", "rtdetrv2_r18vd_dsp", "rtdetrv2_r18vd_sp2"),
)

pytestmark = pytest.mark.zoo


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", subjects.OFFICIAL)
def test_evaluation(name, device, traces: Traces, record):
    """Predictions and query selection in evaluation mode."""
    subject = subjects.zoo_subject(name)
    case, inputs = Case("forward", subject.spec), subject.images()
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, "float64", device)
    search = CulpritSearch(traces, subject, training=False, limit=zoo_limit)
    assert_same_function(outputs, truth, record(subject, "evaluation", "float64", device), zoo_limit, search)


@pytest.mark.parametrize("name", subjects.OFFICIAL)
def test_training(name, traces: Traces, record):
    """Batch statistics, denoising, predictions of every layer, losses, matchings, every gradient, activations."""
    subject = subjects.zoo_subject(name)
    case, inputs = subjects.training_case(subject), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    search = CulpritSearch(traces, subject, limit=zoo_limit)
    assert_same_function(outputs, truth, record(subject, "training", "float64", "cpu"), zoo_limit, search)


@pytest.mark.parametrize("name", UPDATED)
def test_update(name, traces: Traces, record):
    """One whole training step: update, moments and EMA of every parameter under the preset's own groups."""
    subject = subjects.zoo_subject(name)
    case, inputs, weights = subjects.steps_case(subject, 1), subject.training_inputs(), subject.weights()
    truth = updates(traces.run(case, subject, inputs, *TRUTH), weights)
    traced = traces.run_all(case, subject, inputs, "float64", "cpu")
    outputs = {framework: updates(trace, weights) for framework, trace in traced.items()}
    search = CulpritSearch(traces, subject, limit=zoo_limit)
    assert_same_function(outputs, truth, record(subject, "1 step", "float64", "cpu"), zoo_limit, search)

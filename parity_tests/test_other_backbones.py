"""The backbones that no small subject of this session has: DLA with deep trees, RegNet with a frozen stem.

Without these a fault in either of them would only be found by the session of the zoo.
"""

from dataclasses import replace

import pytest

from frameworks.protocol import Case
from parity_tests.agreement import assert_same_function
from parity_tests.cases import subjects
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces

CHANGES = {
    "tiny_dla": {"levels": (1, 1, 1, 2, 3, 1)},  # only a tree of depth three gives a deep tree children
    "tiny_regnet": {"freeze_at": 0},  # the stem alone
}


def changed(name: str) -> subjects.Subject:
    """A subject of the zoo's session with the branches of its backbone that it does not take there."""
    subject = subjects.subject(name)
    model = subject.spec.model
    spec = replace(subject.spec, model=replace(model, backbone=replace(model.backbone, **CHANGES[name])))
    return replace(subject, name=f"{name}, changed", spec=spec)


@pytest.mark.parametrize("name", CHANGES)
def test_training(name, traces: Traces, record):
    """Batch statistics, activations, losses, gradients; frozen parameters have none."""
    subject = changed(name)
    case, inputs = subjects.training_case(subject), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    setting = record(subject, "training", "float64", "cpu")
    assert_same_function(outputs, truth, setting, search=CulpritSearch(traces, subject))


@pytest.mark.parametrize("name", CHANGES)
def test_evaluation(name, traces: Traces, record):
    """Running statistics."""
    subject = changed(name)
    case, inputs = Case("forward", subject.spec), subject.images()
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    assert_same_function(outputs, truth, record(subject, "evaluation", "float64", "cpu"))

"""Training on a batch in which no image has an object: no denoising in v1, one pair of dummies in v2."""

from dataclasses import replace

import pytest

from parity_tests.agreement import assert_same_function
from parity_tests.cases import subjects
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces


@pytest.mark.parametrize(("name", "denoised"), [("tiny", False), ("tiny_hgnetv2", True)])
def test_training(name, denoised, traces: Traces, record):
    """Losses, matchings (empty) and gradients."""
    subject = replace(subjects.subject(name), counts=(0, 0))
    case, inputs = subjects.training_case(subject), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    assert ("loss/vfl_dn_0" in truth) == denoised
    assert truth["loss/bbox"] == 0 and truth["loss/vfl"] > 0
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    setting = record(subject, "training without objects", "float64", "cpu")
    assert_same_function(outputs, truth, setting, search=CulpritSearch(traces, subject))

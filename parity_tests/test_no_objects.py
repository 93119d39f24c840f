"""Training on a batch in which no image has an object: no denoising in v1, one pair of dummies in v2."""

from dataclasses import replace

import pytest

from parity_tests.agreement import hold_same_function
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Evidence


@pytest.mark.parametrize(("name", "denoised"), [("tiny", False), ("tiny_hgnetv2", True)])
def test_training(name, denoised, evidence: Evidence, judge):
    """Losses, matchings (empty) and gradients."""
    subject = replace(subjects.subject(name), counts=(0, 0))

    def answer(*where: str):
        return evidence.loss(subject, *where)

    truth = answer(*TRUTH)
    assert ("loss/vfl_dn_0" in truth) == denoised
    assert truth["loss/bbox"] == 0 and truth["loss/vfl"] > 0
    hold_same_function(judge, subject, "training without objects", "cpu", answer)

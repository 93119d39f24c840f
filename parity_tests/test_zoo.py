"""Every official preset: both twins compute the same function. The slow part: ``nox -s parity_zoo``."""

import pytest

from frameworks.shared.tolerances import zoo_limit
from parity_tests.agreement import DEVICES, hold_same_function, require
from parity_tests.cases import subjects
from parity_tests.traces import Evidence

# One of each backbone, and each form of the decoder: RT-DETR's, RT-DETRv2's, discrete, and eval_idx before the end.
UPDATED = (
    "rtdetr_r34vd", "rtdetr_r50vd_m", "rtdetr_dla34", "rtdetr_regnet", "rtdetrv2_r18vd", "rtdetrv2_hgnetv2_l",
    "rtdetrv2_r18vd_dsp", "rtdetrv2_r18vd_sp2",
)  # fmt: skip

pytestmark = pytest.mark.zoo


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", subjects.OFFICIAL)
def test_evaluation(name, device, evidence: Evidence, judge):
    """Predictions and query selection in evaluation mode."""
    require(evidence.twins, device, "float64")
    subject = subjects.zoo_subject(name)

    def answer(*where: str):
        return evidence.forward(subject, *where)

    hold_same_function(judge, subject, "evaluation", device, answer, zoo_limit)


@pytest.mark.parametrize("name", subjects.OFFICIAL)
def test_training(name, evidence: Evidence, judge):
    """Batch statistics, denoising, predictions of every layer, losses, matchings, every gradient, activations."""
    subject = subjects.zoo_subject(name)

    def answer(*where: str):
        return evidence.loss(subject, *where)

    hold_same_function(judge, subject, "training", "cpu", answer, zoo_limit)


@pytest.mark.parametrize("name", UPDATED)
def test_update(name, evidence: Evidence, judge):
    """One whole training step: update, moments and EMA of every parameter under the preset's own groups."""
    subject = subjects.zoo_subject(name)

    def answer(*where: str):
        return evidence.steps(subject, 1, *where)

    hold_same_function(judge, subject, "1 step", "cpu", answer, zoo_limit)

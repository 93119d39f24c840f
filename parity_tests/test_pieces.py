"""Criterion, denoising queries and post-processing on given inputs, and the optimizer on given gradients."""

import functools

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.protocol import Case
from parity_tests.agreement import DEVICES, DTYPES, hold
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Evidence, forced_decisions

pytestmark = [
    pytest.mark.parametrize("device", DEVICES),
    pytest.mark.parametrize("dtype", DTYPES),
    pytest.mark.parametrize("name", subjects.SUBJECTS),
]


def predictions(evidence: Evidence, subject: subjects.Subject) -> Arrays:
    """The truth's predictions in training mode as float32 inputs."""
    truth = evidence.loss(subject, *TRUTH)
    return {
        name.replace("forward/", "prediction/"): array.astype(np.float32)
        for name, array in truth.items()
        if name.startswith("forward/")
    }


def test_criterion(name, dtype, device, evidence: Evidence, judge):
    """Every loss term and its gradient towards logits and boxes, on identical predictions."""
    subject = subjects.subject(name)
    inputs = subject.training_inputs() | predictions(evidence, subject)
    inputs |= forced_decisions(evidence.loss(subject, *TRUTH))
    case = Case("criterion", subject.spec, training=True)
    answer = functools.partial(evidence.trace, "criterion", case, subject, inputs)
    hold(judge, evidence.twins, subject, "criterion", dtype, device, answer)


def test_denoising(name, dtype, device, evidence: Evidence, judge):
    """Labels, noised boxes, attention mask and positives from identical noise."""
    subject = subjects.subject(name)
    case = Case("denoising", subject.spec, training=True)
    answer = functools.partial(evidence.trace, "denoising", case, subject, subject.training_inputs())
    hold(judge, evidence.twins, subject, "denoising", dtype, device, answer)


def test_postprocess(name, dtype, device, evidence: Evidence, judge):
    """Labels, boxes in pixels and scores from identical predictions."""
    subject = subjects.subject(name)
    given = predictions(evidence, subject)
    inputs = {
        n: given[f"prediction/{n.partition('/')[2]}"] for n in ("prediction/pred_logits", "prediction/pred_boxes")
    }
    inputs["sizes_wh"] = np.array([[640, 480], [333, 500]], np.int64)
    case = Case("postprocess", subject.spec)
    answer = functools.partial(evidence.trace, "postprocess", case, subject, inputs)
    hold(judge, evidence.twins, subject, "post-processing", dtype, device, answer)


@pytest.mark.parametrize("count", [1, 5])
def test_optimizer(name, dtype, device, count, evidence: Evidence, judge):
    """Clipping, AdamW with its groups, moments and EMA on identical gradients."""
    subject = subjects.subject(name)

    def answer(*where: str):
        return evidence.optimizer(subject, count, *where)

    hold(judge, evidence.twins, subject, f"optimizer, {count} steps", dtype, device, answer)

"""The whole model: evaluation, training mode, every loss term, every gradient, the input's gradient."""

import numpy as np
import pytest

from parity_tests import cases
from parity_tests.compare import compare
from parity_tests.evidence import TRUTH, Evidence
from parity_tests.hold import DEVICES, DTYPES, hold, require

SUBJECTS = ("tiny", "tiny_bottleneck", "rtdetr_r18vd")

pytestmark = [
    pytest.mark.parametrize("device", DEVICES),
    pytest.mark.parametrize("dtype", DTYPES),
    pytest.mark.parametrize("name", SUBJECTS),
]


def test_evaluation(name, dtype, device, evidence: Evidence, judge):
    """Evaluation-mode norms, early exit at eval_idx."""
    subject = cases.subject(name)

    def answer(*where: str):
        return evidence.forward(subject, *where)

    hold(judge, evidence.twins, subject, "evaluation", dtype, device, answer)


def test_training(name, dtype, device, evidence: Evidence, judge):
    """Batch statistics, denoising, predictions of every layer, losses, matchings, gradients, activations."""
    subject = cases.subject(name)

    def answer(*where: str):
        return evidence.loss(subject, *where)

    hold(judge, evidence.twins, subject, "training", dtype, device, answer)


def test_own_decisions(name, dtype, device, evidence: Evidence, judge):
    """Without forcing, top-k and matchings come out the same: the inputs have no ties within rounding."""
    require(evidence.twins, device, dtype)
    subject = cases.subject(name)
    truth = evidence.loss(subject, *TRUTH)
    gap = np.diff(np.sort(truth["select/scores"], axis=1), axis=1).min()
    if dtype == "float32":
        # The tightest pair of selected scores must be resolvable, or the comparison would be a coin toss.
        assert gap > 1e-5 or name != "rtdetr_r18vd", f"scores {gap:.1e} apart: choose another seed"
    decisions = {n: a for n, a in truth.items() if n.startswith("match/") or n == "select/topk"}
    for framework in ("torch", "jittor"):
        own = evidence.own_decisions(subject, framework, dtype, device)
        comparisons = compare(own, decisions, lambda stage, tensor: 0.0)
        judge(
            comparisons, preset=name, case="own decisions", dtype=dtype, device=device,
            framework=framework, judge="twin",
        )  # fmt: skip

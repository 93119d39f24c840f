"""The whole model: evaluation, training mode, every loss term, every gradient, the input's gradient."""

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.shared.tolerances import FLOAT32_KINKS
from parity_tests.agreement import DEVICES, DTYPES, hold, require
from parity_tests.cases import subjects
from parity_tests.judge.compare import compare
from parity_tests.traces import TRUTH, Evidence

pytestmark = [
    pytest.mark.parametrize("device", DEVICES),
    pytest.mark.parametrize("dtype", DTYPES),
    pytest.mark.parametrize("name", subjects.SUBJECTS),
]


def test_evaluation(name, dtype, device, evidence: Evidence, judge):
    """Evaluation-mode norms, early exit at eval_idx."""
    subject = subjects.subject(name)

    def answer(*where: str):
        return evidence.forward(subject, *where)

    hold(judge, evidence.twins, subject, "evaluation", dtype, device, answer)


def test_training(name, dtype, device, evidence: Evidence, judge):
    """Batch statistics, denoising, predictions of every layer, losses, matchings, gradients, activations."""
    subject = subjects.subject(name)

    def answer(*where: str):
        return evidence.loss(subject, *where)

    hold(judge, evidence.twins, subject, "training", dtype, device, answer, FLOAT32_KINKS)


def test_own_decisions(name, dtype, device, evidence: Evidence, judge):
    """Without forcing, top-k and matchings come out the same, but for ties within the error of the scores."""
    require(evidence.twins, device, dtype)
    subject = subjects.subject(name)
    truth = evidence.own_decisions(subject, *TRUTH)
    for framework in ("torch", "jittor"):
        own = evidence.own_decisions(subject, framework, dtype, device)
        comparisons = compare(decisions(own, truth), decisions(truth, truth), lambda stage, tensor: 0.0)
        judge(
            comparisons, preset=name, case="own decisions", dtype=dtype, device=device,
            framework=framework, judge="twin",
        )  # fmt: skip


def decisions(own: Arrays, truth: Arrays) -> Arrays:
    """Selected tokens with ties resolved as in the truth, and matched tokens of every matching.

    A position may hold another token when the truth's scores of the two differ by less than the error of the
    scores: then the order is a coin toss. Matchings name tokens, so that such a swap does not change them.
    """
    error = float(np.abs(own["select/scores"] - truth["select/scores"]).max())
    topk = own["select/topk"].copy()
    for image, (mine, theirs) in enumerate(zip(own["select/topk"], truth["select/topk"], strict=True)):
        scores = dict(zip(theirs.tolist(), truth["select/scores"][image], strict=True))
        lowest = truth["select/scores"][image].min()
        for position in np.flatnonzero(mine != theirs):
            # A token that the truth did not select can only tie with the last ones that it did.
            gap = abs(scores.get(int(mine[position]), lowest) - truth["select/scores"][image][position])
            if gap <= 2 * error:
                topk[image, position] = theirs[position]
    found = {"select/topk": topk}
    for name, queries in own.items():
        if name.startswith("match/") and name.endswith("/queries"):
            image = int(name.split("/")[2])
            targets = own[name.replace("/queries", "/targets")]
            pairs = np.stack([own["select/topk"][image][queries], targets], axis=1)  # (token, target)
            found[name] = pairs[np.argsort(targets)]
    return found

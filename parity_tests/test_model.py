"""The whole model: evaluation, training mode, every loss term, every gradient, the input's gradient.

In float32 the discrete decisions (top-k, matchings) of the truth are forced, so that rounding cannot lead to
another branch; test_own_decisions compares the decisions themselves.
"""

import numpy as np
import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.compare import compare
from frameworks.judge.decisions import forced_decisions
from frameworks.protocol import Case
from frameworks.shared.tolerances import FLOAT32_KINKS
from parity_tests.agreement import DEVICES, DTYPES, assert_agreement
from parity_tests.cases import subjects
from parity_tests.culprits import CulpritSearch
from parity_tests.traces import TRUTH, Traces

pytestmark = [
    pytest.mark.parametrize("device", DEVICES),
    pytest.mark.parametrize("dtype", DTYPES),
    pytest.mark.parametrize("name", subjects.SUBJECTS),
]


def test_evaluation(name, dtype, device, traces: Traces, record):
    """Evaluation-mode norms, early exit at eval_idx."""
    subject = subjects.subject(name)
    case, inputs = Case("forward", subject.spec), subject.images()
    truth = traces.run(case, subject, inputs, *TRUTH)
    if dtype == "float32":
        inputs |= {"forced/topk": truth["select/topk"]}
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    search = CulpritSearch(traces, subject, training=False)
    assert_agreement(outputs, truth, record(subject, "evaluation", dtype, device), search=search)


def test_training(name, dtype, device, traces: Traces, record):
    """Batch statistics, denoising, predictions of every layer, losses, matchings, gradients, activations."""
    subject = subjects.subject(name)
    case, inputs = subjects.training_case(subject), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    if dtype == "float32":
        inputs |= forced_decisions(truth)
    outputs = traces.run_all(case, subject, inputs, dtype, device)
    search = CulpritSearch(traces, subject)
    assert_agreement(outputs, truth, record(subject, "training", dtype, device), FLOAT32_KINKS, search)


def test_own_decisions(name, dtype, device, traces: Traces, record):
    """Without forcing, top-k and matchings come out the same, but for ties within the error of the scores."""
    subject = subjects.subject(name)
    case, inputs = subjects.training_case(subject), subject.training_inputs()
    truth = traces.run(case, subject, inputs, *TRUTH)
    for framework in frameworks.ADAPTERS:
        own = traces.run(case, subject, inputs, framework, dtype, device)
        comparisons = compare(decisions(own, truth), decisions(truth, truth), lambda stage, tensor: 0.0)
        record(subject, "own decisions", dtype, device).check(comparisons, framework, "twin")


def decisions(own: Arrays, truth: Arrays) -> Arrays:
    """Selected tokens with ties resolved as in the truth, and matched tokens of every matching.

    A position may hold another token when the truth's scores of the two differ by less than the error of the
    scores: then rounding decides their order. Matchings name tokens, so that such a swap does not change them.
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

"""Early exit: any decoder layer may answer at inference, without retraining (RT-DETR section 4.4)."""

import re
from dataclasses import replace

import pytest

import frameworks
from frameworks.protocol import Case
from frameworks.shared.tolerances import float64_limit
from parity_tests.agreement import hold_same_function
from parity_tests.cases import subjects
from parity_tests.judge.compare import compare
from parity_tests.traces import Evidence

LAYERS = 3
NAMES = ("tiny_bottleneck", "tiny_hgnetv2")
LATER = re.compile(r"decoder\.(decoder\.layers|dec_score_head|dec_bbox_head)\.[12]\.")


def deep(name: str, layers: int, eval_idx: int) -> subjects.Subject:
    """A subject with so many decoder layers, one of which answers; a layer's weights depend on neither."""
    subject = subjects.subject(name)
    decoder = replace(subject.spec.model.decoder, num_layers=layers, eval_idx=eval_idx)
    spec = replace(subject.spec, model=replace(subject.spec.model, decoder=decoder))
    return replace(subject, name=f"{name}, layer {eval_idx} of {layers}", spec=spec)


@pytest.mark.parametrize("eval_idx", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("name", NAMES)
def test_twins(name, eval_idx, evidence: Evidence, judge):
    """Both twins answer from the same layer."""
    subject = deep(name, LAYERS, eval_idx)

    def answer(*where: str):
        return evidence.forward(subject, *where)

    hold_same_function(judge, subject, "early exit", "cpu", answer)


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_exit_is_a_shorter_decoder(name, layers, framework, evidence: Evidence, judge):
    """Answering from layer k is the model whose decoder ends there, on the same weights."""
    early, short = deep(name, LAYERS, layers - 1), deep(name, layers, -1)
    where = (framework, "float64", "cpu")
    comparisons = compare(evidence.forward(early, *where), evidence.forward(short, *where), float64_limit)
    judge(
        comparisons, preset=name, case=f"exit after {layers} layers", dtype="float64", device="cpu",
        framework=framework, judge="self",
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_layers_answer_differently(name, evidence: Evidence):
    """The comparison above would hold, too, if eval_idx were ignored and all layers said the same."""
    answers = [evidence.forward(deep(name, LAYERS, i), "torch", "float64", "cpu") for i in range(LAYERS)]
    boxes = [answer["forward/pred_boxes"] for answer in answers]
    assert abs(boxes[0] - boxes[1]).max() > 1e-3 and abs(boxes[1] - boxes[2]).max() > 1e-3


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
def test_layers_behind_the_exit_are_not_read(framework, evidence: Evidence):
    """A checkpoint whose last layers are spoilt answers as before."""
    subject = deep("tiny_bottleneck", LAYERS, 0)
    weights = subject.weights()
    spoilt = {name: array * 0 if LATER.match(name) else array for name, array in weights.items()}
    assert sum((spoilt[name] != weights[name]).any() for name in weights) > 20
    twin = evidence.twins.get(framework, "cpu")
    case = Case("forward", subject.spec)
    answers = [twin.trace(case, w, subject.images(), device="cpu", dtype="float64") for w in (weights, spoilt)]
    assert (answers[0]["forward/pred_logits"] == answers[1]["forward/pred_logits"]).all()

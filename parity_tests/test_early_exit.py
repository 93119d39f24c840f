"""Early exit: any decoder layer can give the predictions at inference, without retraining (RT-DETR section 4.4)."""

import re
from dataclasses import replace

import pytest

import frameworks
from frameworks.arrays import Arrays
from frameworks.judge.compare import compare
from frameworks.judge.record import Record
from frameworks.protocol import Case
from frameworks.shared.tolerances import float64_limit
from parity_tests.agreement import assert_same_function
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces

LAYERS = 3
NAMES = ("tiny_bottleneck", "tiny_hgnetv2")
LATER = re.compile(r"decoder\.(decoder\.layers|dec_score_head|dec_bbox_head)\.[12]\.")


def deep(name: str, layers: int, eval_idx: int) -> subjects.Subject:
    """A subject with ``layers`` decoder layers and exit ``eval_idx``; a layer's weights depend on neither."""
    subject = subjects.subject(name)
    decoder = replace(subject.spec.model.decoder, num_layers=layers, eval_idx=eval_idx)
    spec = replace(subject.spec, model=replace(subject.spec.model, decoder=decoder))
    return replace(subject, name=f"{name}, layer {eval_idx} of {layers}", spec=spec)


@pytest.mark.parametrize("eval_idx", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("name", NAMES)
def test_twins(name, eval_idx, traces: Traces, record):
    """All frameworks exit after the same layer."""
    subject = deep(name, LAYERS, eval_idx)
    case, inputs = Case("forward", subject.spec), subject.images()
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    assert_same_function(outputs, truth, record(subject, "early exit", "float64", "cpu"))


def predictions(traces: Traces, subject: subjects.Subject, framework: str) -> Arrays:
    """The evaluation-mode forward pass in float64."""
    return traces.run(Case("forward", subject.spec), subject, subject.images(), framework, "float64", "cpu")


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_exit_is_a_shorter_decoder(name, layers, framework, traces: Traces, recorder):
    """The exit after layer k equals the model whose decoder ends there, on the same weights."""
    early = predictions(traces, deep(name, LAYERS, layers - 1), framework)
    short = predictions(traces, deep(name, layers, -1), framework)
    found = compare(early, short, float64_limit)
    Record(recorder, name, f"exit after {layers} layers", "float64", "cpu").check(found, framework, "self")


@pytest.mark.parametrize("name", NAMES)
def test_layers_predict_differently(name, traces: Traces):
    """The comparison above would also pass if eval_idx were ignored and all layers had the same predictions."""
    exits = [predictions(traces, deep(name, LAYERS, i), frameworks.REFERENCE) for i in range(LAYERS)]
    boxes = [trace["forward/pred_boxes"] for trace in exits]
    assert abs(boxes[0] - boxes[1]).max() > 1e-3 and abs(boxes[1] - boxes[2]).max() > 1e-3


@pytest.mark.parametrize("framework", frameworks.ADAPTERS)
def test_layers_behind_the_exit_are_not_read(framework, traces: Traces):
    """Zeros in the layers after the exit do not change the predictions."""
    subject = deep("tiny_bottleneck", LAYERS, 0)
    weights = subject.weights()
    spoilt = {name: array * 0 if LATER.match(name) else array for name, array in weights.items()}
    assert sum((spoilt[name] != weights[name]).any() for name in weights) > 20
    worker, case = traces.workers.get(framework, "cpu"), Case("forward", subject.spec)
    found = [worker.trace(case, w, subject.images(), device="cpu", dtype="float64") for w in (weights, spoilt)]
    assert (found[0]["forward/pred_logits"] == found[1]["forward/pred_logits"]).all()

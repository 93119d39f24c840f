"""Values beyond the bounds of a formula, which the usual inputs never reach: the clamp of RT-DETR's decoder layers
before their last norm, the clip of the logit at 0 and at 1, boxes that touch, and anchors that are invalid by any
coordinate."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from frameworks.arrays import Arrays
from frameworks.judge.blame import replay_inputs
from frameworks.protocol import Case
from frameworks.shared import trace_names
from parity_tests.agreement import assert_same_function
from parity_tests.cases import subjects
from parity_tests.traces import TRUTH, Traces, rounded

EPS = 1e-5  # of the logit
LAYER = "decoder.decoder.layers.0"


@dataclass(frozen=True)
class LargeFeedForward(subjects.Subject):
    """A subject whose first decoder layer has sums far beyond the clamp before its last norm, and others within."""

    def weights(self) -> Arrays:
        """Drawn weights, with a million times the last linear layer of the feed-forward."""
        drawn, name = super().weights(), f"{LAYER}.linear2.weight"
        return drawn | {name: drawn[name] * np.float32(1e6)}


@pytest.mark.parametrize(("name", "clamps"), [("tiny", True), ("tiny_hgnetv2", False)])
def test_large_feed_forward(name, clamps, traces: Traces, record):
    """RT-DETR clamps what its last norm receives, RT-DETRv2 does not."""
    subject = subjects.subject(name)
    large = LargeFeedForward(**vars(subject))
    inputs = rounded(replay_inputs(traces.training(subject, *TRUTH), LAYER))
    case = Case("module", subject.spec, training=True, module=LAYER)
    truth = traces.run(case, large, inputs, *TRUTH)
    outputs = traces.run_all(case, large, inputs, "float64", "cpu")
    assert_same_function(outputs, truth, record(subject, f"{LAYER}, large", "float64", "cpu"))


def test_boxes_at_the_border(traces: Traces, record):
    """The logit is clipped at both ends: negatives of boxes at the right and at the left side leave the image."""
    subject = subjects.subject("tiny")
    inputs = subject.training_inputs()
    sides_BT = np.repeat(
        np.array([0.99, 0.01], np.float32), subject.counts
    )  # centres: right in image 0, left in image 1
    boxes_T4 = inputs["boxes"].copy()
    boxes_T4[:, 0], boxes_T4[:, 2] = sides_BT, 0.02
    sign_BN4 = np.ones_like(inputs["noise/sign"]) * np.array([1, -1], np.float32)[:, None, None]
    inputs |= {"boxes": boxes_T4, "noise/sign": sign_BN4, "noise/part": np.full_like(sign_BN4, 0.9999)}
    case = Case("denoising", subject.spec, training=True)
    truth = traces.run(case, subject, inputs, *TRUTH)
    logits_BN = truth["denoising/boxes_unact"][..., 0]
    clipped = np.log(1 / EPS)
    assert np.allclose([logits_BN[0].max(), logits_BN[1].min()], [clipped, -clipped])
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    assert_same_function(outputs, truth, record(subject, "denoising at the border", "float64", "cpu"))


def test_boxes_that_touch(traces: Traces, record):
    """Predicted boxes share a side with targets: at the bound 0 of the overlap's width the gradient passes."""
    subject = subjects.subject("tiny")
    forward = trace_names.below("forward", traces.training(subject, *TRUTH))
    predictions = rounded(trace_names.prefixed("prediction", forward))
    left, right = np.array([[0.25, 0.5, 0.25, 0.5], [0.46875, 0.45, 0.1875, 0.3]], np.float32)  # share x = 0.375
    for name, array in predictions.items():
        if name.endswith("pred_boxes"):
            predictions[name] = np.broadcast_to(right, array.shape).copy()
    inputs = subject.training_inputs() | predictions
    inputs["boxes"] = np.broadcast_to(left, inputs["boxes"].shape).copy()
    case = Case("criterion", subject.spec, training=True)
    truth = traces.run(case, subject, inputs, *TRUTH)
    inputs |= {f"forced/{name}": array for name, array in truth.items() if name.startswith("match/")}
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    assert_same_function(outputs, truth, record(subject, "criterion, boxes that touch", "float64", "cpu"))


def test_anchors_near_all_borders(traces: Traces, record):
    """Rows and columns next to the border are invalid on the first of three maps, and are taken as queries."""
    subject = subjects.subject("tiny")
    model = subject.spec.model
    spec = replace(subject.spec, model=replace(model, decoder=replace(model.decoder, eps=0.07)))
    subject = replace(subject, name="tiny, anchors", spec=spec, size_hw=(64, 64))
    first = np.arange(spec.model.decoder.num_queries)  # the upper rows of a map of 8 x 8
    inputs = subject.images() | {"forced/topk": np.tile(first, (len(subject.counts), 1))}
    case = Case("forward", spec)
    truth = traces.run(case, subject, inputs, *TRUTH)
    outputs = traces.run_all(case, subject, inputs, "float64", "cpu")
    assert_same_function(outputs, truth, record(subject, "evaluation, anchors", "float64", "cpu"))

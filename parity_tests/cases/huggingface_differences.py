"""Probes of the known differences between Hugging Face's implementation and the official code.

A probe shows that the difference exists, and that nothing else differs once its cause is removed. All run in this
process, in float64, against the PyTorch twin, whose parts some of them put into Hugging Face's model.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers.models.rt_detr import modeling_rt_detr as v1  # pyright: ignore[reportMissingImports]
from transformers.models.rt_detr_v2 import modeling_rt_detr_v2 as v2  # pyright: ignore[reportMissingImports]

import frameworks
from frameworks.arrays import Arrays
from frameworks.hf_rtdetr.adapter import FRAMEWORK as HF
from frameworks.hf_rtdetr.model import Matcher, build, configuration, empty
from frameworks.hf_rtdetr.tracing import prediction
from frameworks.judge.compare import compare
from frameworks.protocol import Case
from frameworks.shared.tolerances import HF_AGREES, HF_DIFFERS
from frameworks.shared.tolerances import HUGGINGFACE as LIMITS
from frameworks.state.initialisation import initial_weights
from frameworks.torch_rtdetr.criterion import match
from frameworks.torch_rtdetr.decoder import Prediction, make_anchors
from frameworks.torch_rtdetr.denoising import Targets
from frameworks.torch_rtdetr.encoder import position_embedding
from parity_tests.cases.huggingface import hf_subject, untouched_by_look_forward_twice
from parity_tests.cases.subjects import Subject


@dataclass(frozen=True)
class Finding:
    """The result of a probe."""

    differs: bool  # the difference exists
    explained: bool  # without the cause that the entry names, both agree


def both_traces(
    subject: Subject, question: str = "forward", weights: Arrays | None = None
) -> tuple[Arrays, Arrays]:
    """The traces of the PyTorch twin and of Hugging Face's model."""
    training = question == "loss"
    case = Case(question, subject.spec, training=training)
    inputs = subject.training_inputs() if training else subject.images()
    given = subject.weights() if weights is None else weights
    sides = (frameworks.load(frameworks.REFERENCE), HF)
    ours, theirs = (side.trace(case, given, inputs, device="cpu", dtype="float64") for side in sides)
    return ours, theirs


def worst(ours: Arrays, theirs: Arrays, *prefixes: str) -> float:
    """The largest error among the arrays whose names start with one of the prefixes."""
    mine, reference = ({n: a for n, a in side.items() if n.startswith(prefixes)} for side in (ours, theirs))
    return max(comparison.error for comparison in compare(mine, reference, lambda stage, name: 0.0))


def forward_finding(subject: Subject, without_cause: Callable[[], Any], weights: Arrays | None = None) -> Finding:
    """Predictions and selected scores, as they are and inside a context that removes the cause."""
    differs = worst(*both_traces(subject, weights=weights), "forward/") > HF_DIFFERS
    with without_cause():
        explained = worst(*both_traces(subject, weights=weights), "forward/", "select/scores") < HF_AGREES
    return Finding(differs, explained)


@contextlib.contextmanager
def our_positions(module: Any, name: str) -> Any:
    """Our position embedding in their encoder."""

    def ours(self: Any, width: int, height: int, device: Any, dtype: torch.dtype) -> torch.Tensor:
        like = torch.empty(0, device=device, dtype=dtype)
        return position_embedding(height, width, self.embed_dim, self.temperature, like)

    with mock.patch.object(getattr(module, name), "forward", ours):
        yield


def position_embedding_order() -> Finding:
    """On a map so wide that tokens next to its border are invalid, with a seed that selects them."""
    wide = replace(hf_subject("tiny_v1"), size_hw=(64, 416), seed="twin-detr-hf-8")
    shapes = [(64 // stride, 416 // stride) for stride in wide.spec.model.backbone.out_strides]
    _, valid = make_anchors(shapes, wide.spec.model.decoder.eps, torch.empty(0))
    selected = both_traces(wide)[0]["select/topk"]
    assert not valid[0, :, 0].numpy()[selected].all(), "subject seed selects no invalid token"
    return forward_finding(wide, lambda: our_positions(v1, "RTDetrSinePositionEmbedding"))


def no_look_forward_twice() -> Finding:
    """Gradients differ only where a later layer's box loss contributes, and nowhere in a decoder of one layer."""
    subject = hf_subject("tiny_v1")
    ours, theirs = both_traces(subject, "loss")
    names = {name for name in ours if name.startswith("gradient/")}
    prefixes = tuple(f"gradient/{p}" for p in untouched_by_look_forward_twice(subject.spec.model))
    untouched = {name for name in names if name.startswith(prefixes)}
    changed = {name for name in names if worst(ours, theirs, name) > HF_DIFFERS}
    same_values = worst(ours, theirs, "forward/", "loss/", "match/", *untouched) < LIMITS["backward"]
    one_layer = worst(*both_traces(hf_subject("tiny_v1_one_layer"), "loss"), "gradient/") < LIMITS["backward"]
    return Finding(bool(changed), same_values and one_layer and changed == names - untouched)


def anchors_of_invalid_tokens() -> Finding:
    """Anchors differ at invalid tokens only, where the sigmoid of both is 1."""
    shapes = [(12, 52), (6, 26), (3, 13)]
    like = torch.empty(0, dtype=torch.float64)
    ours, valid = make_anchors(shapes, 0.01, like)
    theirs, their_valid = v1.RTDetrModel._cached_generate_anchors(tuple(shapes), 0.05, "cpu", torch.float64)
    invalid = ~valid.squeeze(-1)
    offsets = torch.linspace(-20, 20, ours.numel(), dtype=torch.float64).view_as(ours)  # of the box head
    boxes, their_boxes = (ours + offsets).sigmoid(), (theirs + offsets).sigmoid()
    same_rest = torch.equal(valid, their_valid) and bool((ours - theirs)[~invalid].abs().max() < HF_AGREES)
    same_boxes = torch.equal(boxes[invalid], their_boxes[invalid])
    return Finding(bool((ours != theirs)[invalid].all()), same_rest and same_boxes and bool(invalid.any()))


def every_decoder_layer_runs() -> Finding:
    """Their last layer differs from our exit layer; their intermediate prediction of the exit layer agrees."""
    subject = hf_subject("tiny_v2_bottleneck")
    ours, _ = both_traces(subject)
    images = torch.from_numpy(subject.images()["images"]).double()
    with torch.no_grad():
        model = build(subject.spec.model, subject.spec.criterion, subject.weights(), "cpu", torch.float64).eval()
        outputs = model(pixel_values=images)
    exited = prediction(outputs, subject.spec.model.decoder.eval_layer)
    named = {"forward/pred_logits": exited.logits.numpy(), "forward/pred_boxes": exited.boxes_cxcywh.numpy()}
    last = {"forward/pred_logits": outputs.logits.numpy(), "forward/pred_boxes": outputs.pred_boxes.numpy()}
    predictions = ("forward/pred_",)
    return Finding(worst(ours, last, *predictions) > HF_DIFFERS, worst(ours, named, *predictions) < HF_AGREES)


def no_clamp_before_the_last_norm() -> Finding:
    """Activations beyond 65504 differ, and agree with the clamp put before their last norm."""
    subject = hf_subject("tiny_v1")
    weights = subject.weights()
    name = "decoder.decoder.layers.0.linear2.weight"
    weights[name] = weights[name] * np.float32(1e6)
    original = v1.RTDetrDecoderLayer.__init__

    def clamping(self: Any, config: Any) -> None:
        original(self, config)
        self.final_layer_norm.register_forward_pre_hook(lambda _, inputs: inputs[0].clamp(-65504, 65504))

    return forward_finding(subject, lambda: mock.patch.object(v1.RTDetrDecoderLayer, "__init__", clamping), weights)


def discrete_sampling_of_wide_maps() -> Finding:
    """Wide maps differ, and agree with x limited to the height, as in the official code."""
    name = "multi_scale_deformable_attention_v2"
    original = getattr(v2, name)

    def narrow(value: Any, shapes: Any, locations: Any, weights: Any, points: list[int], method: str) -> Any:
        limits = [(h - 1) / w for (h, w), count in zip(shapes, points, strict=True) for _ in range(count)]
        x = torch.minimum(locations[..., 0], torch.tensor(limits, dtype=locations.dtype))
        return original(value, shapes, torch.stack([x, locations[..., 1]], -1), weights, points, method)

    wide = replace(hf_subject("tiny_v2_discrete"), size_hw=(64, 128))
    with our_positions(v2, "RTDetrV2SinePositionEmbedding"):
        return forward_finding(wide, lambda: mock.patch.object(v2, name, narrow))


def initial_values() -> Finding:
    """Four initial values differ as the entry states."""
    spec = hf_subject("tiny_v1").spec
    classes, width = spec.model.num_classes, spec.model.decoder.hidden_dim
    ours = initial_weights(spec.model, seed=0)
    theirs = {n: value.numpy() for n, value in empty(spec.model, spec.criterion).state_dict().items()}
    prior, norms = theirs["model.enc_score_head.bias"], theirs["model.encoder_input_proj.2.1.weight"]
    labels, box_head = theirs["model.denoising_class_embed.weight"], theirs["model.enc_bbox_head.layers.2.weight"]
    stated = (
        np.allclose(prior, -np.log(classes)),
        0 < np.abs(norms).max() < 0.06,  # N(0, 0.01)
        np.abs(labels).max() < np.sqrt(6 / (classes + 1 + width)),  # Glorot's bound
        bool(np.abs(box_head).max() > 0),
    )
    official = (
        np.allclose(ours["decoder.enc_score_head.bias"], -np.log(99)),
        bool((ours["encoder.input_proj.2.1.weight"] == 1).all()),
        np.abs(ours["decoder.denoising_class_embed.weight"]).max() > 2,
        not ours["decoder.enc_bbox_head.layers.2.weight"].any(),
    )
    return Finding(any(stated), all(stated) and all(official))


def matching_on_costs_that_are_not_finite() -> Finding:
    """Their matcher accepts a NaN cost; the twin raises FloatingPointError."""
    spec = hf_subject("tiny_v1").spec
    logits, boxes = torch.zeros(1, 2, spec.model.num_classes), torch.full((1, 2, 4), 0.5)
    logits[0, 0] = torch.nan
    target = {"class_labels": torch.tensor([3]), "boxes": torch.full((1, 4), 0.4)}
    matcher = Matcher(configuration(spec.model, spec.criterion))
    ((queries, _),) = matcher({"logits": logits, "pred_boxes": boxes}, [target])
    try:
        targets = Targets([target["class_labels"]], [target["boxes"]])
        match(Prediction(logits, boxes), targets, spec.criterion.matcher)
        return Finding(differs=False, explained=True)
    except FloatingPointError:
        return Finding(differs=True, explained=queries.tolist() == [1])


def no_denoising_without_objects() -> Finding:
    """Losses of a batch in which no image has an object: all but the denoising ones, which only the twin has."""
    ours, theirs = both_traces(hf_subject("tiny_v2_no_objects"), "loss")
    extra = {name for name in ours.keys() - theirs.keys() if name.startswith("loss/")}
    differs = len(extra) > 0 and all("_dn_" in name for name in extra)
    shared = {name for name in theirs if name.startswith("loss/") and name != "loss/total"}
    mine, reference = ({name: side[name] for name in shared} for side in (ours, theirs))
    return Finding(differs, worst(mine, reference, "loss/") < HF_AGREES)


PROBES: dict[str, Callable[[], Finding]] = {
    "hf-position-embedding-order": position_embedding_order,
    "hf-no-look-forward-twice": no_look_forward_twice,
    "hf-anchors-of-invalid-tokens": anchors_of_invalid_tokens,
    "hf-every-decoder-layer-runs": every_decoder_layer_runs,
    "hf-no-clamp-before-the-last-norm": no_clamp_before_the_last_norm,
    "hf-discrete-sampling-of-wide-maps": discrete_sampling_of_wide_maps,
    "hf-initial-values": initial_values,
    "hf-matching-on-costs-that-are-not-finite": matching_on_costs_that_are_not_finite,
    "hf-no-denoising-without-objects": no_denoising_without_objects,
}

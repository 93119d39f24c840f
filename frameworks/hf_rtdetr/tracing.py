"""Run Hugging Face's model for one parity ``Case``; return its tensors under the names of ``frameworks.protocol``.

Everything comes from transformers' code, except ``select/topk``, which it does not return and which is computed
here from its scores, and the noise of the denoising queries, which replaces its own draws.
"""

import contextlib
import os.path
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.errors import UserError
from frameworks.hf_rtdetr.model import ImageProcessor, Matcher, Model
from frameworks.hf_rtdetr.names import NAME, from_huggingface, huggingface_names
from frameworks.protocol import Case
from frameworks.shared import trace_names
from frameworks.state.parameters import state_shapes, trainable_names
from frameworks.torch_rtdetr.decoder import Prediction
from frameworks.torch_rtdetr.exchange import read_targets, to_arrays, to_numpy, to_tensor

Captured = dict[str, Tensor]


def trace_forward(case: Case, model: Model, inputs: Arrays) -> Arrays:
    """Trace ``forward``: predictions, query selection and captured outputs in evaluation mode."""
    model.eval()
    with torch.no_grad(), _capture(case, model) as captured:
        outputs = model(pixel_values=to_tensor(inputs["images"], model))
    named = trace_names.name_predictions(
        [prediction(outputs, case.spec.model.decoder.eval_layer)], _encoder(outputs)
    )
    arrays = _forward(named) | _selection(case, outputs)
    return arrays | _arrays(captured) | _statistics(case, model)


def trace_loss(case: Case, model: Model, inputs: Arrays) -> Arrays:
    """Trace ``loss``: one forward and backward pass in training mode, with losses, matchings and gradients."""
    model.train()
    images = to_tensor(inputs["images"], model).requires_grad_()
    with given_noise(model, inputs), _capture(case, model) as captured, _matchings() as matchings:
        outputs = model(pixel_values=images, labels=labels(inputs, model))
    arrays = _forward(_named(outputs)) | _selection(case, outputs) | _arrays(captured) | matchings
    arrays |= trace_names.losses(to_arrays(outputs.loss_dict | {"total": outputs.loss}))
    return arrays | _gradients(case, model, outputs.loss, images) | _statistics(case, model)


def trace_denoising(case: Case, model: Model, inputs: Arrays) -> Arrays:
    """Trace ``denoising``: the denoising queries from given targets and noise."""
    spec = case.spec.model
    with given_noise(model, inputs):
        classes, boxes, mask, meta = _module(model).get_contrastive_denoising_training_group(
            labels(inputs, model),
            spec.num_classes,
            spec.decoder.num_queries,
            class_embed=lambda label: label,  # the labels themselves, not their embedding
            num_denoising_queries=spec.decoder.num_denoising,
            label_noise_ratio=spec.decoder.label_noise_ratio,
            box_noise_scale=spec.decoder.box_noise_scale,
        )
    if meta is None:
        return trace_names.denoising(groups=0)
    return trace_names.denoising(
        meta["dn_num_group"],
        labels=to_numpy(classes).astype(np.int64),
        boxes_unact=to_numpy(boxes),
        blocked=to_numpy(mask == -torch.inf),
        positive=[to_numpy(indices) for indices in meta["dn_positive_idx"]],
    )


def trace_postprocess(case: Case, model: Model, inputs: Arrays) -> Arrays:
    """Trace ``postprocess``: labels, boxes in pixels and scores of the image processor, without a threshold.

    Raises:
        UserError: softmax scores, which the image processor takes over the wrong axis.
    """
    if not case.spec.criterion.matcher.use_focal_loss:
        raise UserError(f"{NAME} has no softmax scores: it takes the softmax over the images of a batch")
    given = SimpleNamespace(
        logits=to_tensor(inputs["prediction/pred_logits"], model),
        pred_boxes=to_tensor(inputs["prediction/pred_boxes"], model),
    )
    sizes_hw: Any = to_tensor(inputs["sizes_wh"], model).flip(-1)
    results = ImageProcessor().post_process_object_detection(given, threshold=-1.0, target_sizes=sizes_hw)
    names = ("labels", "boxes", "scores")
    return {f"postprocess/{n}": np.stack([to_numpy(result[n]) for result in results]) for n in names}


def labels(inputs: Arrays, model: Model) -> list[dict[str, Tensor]]:
    """Targets in the form of transformers: for each image its class labels [N] and cxcywh boxes [N, 4]."""
    targets = read_targets(inputs, model)
    pairs = zip(targets.labels, targets.boxes_cxcywh, strict=True)
    return [{"class_labels": label, "boxes": boxes} for label, boxes in pairs]


def prediction(outputs: Any, layer: int) -> Prediction:
    """Logits [B, Q, K] and boxes [B, Q, 4] of one decoder layer; transformers always runs all of them."""
    return Prediction(outputs.intermediate_logits[:, layer], outputs.intermediate_reference_points[:, layer])


@contextlib.contextmanager
def given_noise(model: Model, inputs: Arrays) -> Iterator[None]:
    """Make transformers build its denoising queries from the noise in ``inputs`` and in the model's dtype.

    It draws with ``rand_like`` (labels, boxes) and ``randint_like`` (new labels, signs), and makes boxes in the
    default dtype and the mask in float32, which float64 attention refuses.
    """
    module, name = _module(model), "get_contrastive_denoising_training_group"
    original = getattr(module, name)

    def with_noise(*arguments: Any, **options: Any) -> Any:
        noise = {n: to_tensor(inputs[f"noise/{n}"], model) for n in trace_names.NOISE}
        before = torch.get_default_dtype()
        torch.set_default_dtype(model.dtype)
        try:
            with (
                mock.patch.object(torch, "rand_like", side_effect=[noise["label_u"], noise["part"]]),
                mock.patch.object(torch, "randint_like", side_effect=[noise["new_label"], (noise["sign"] + 1) / 2]),
            ):
                classes, boxes, mask, meta = original(*arguments, **options)
        finally:
            torch.set_default_dtype(before)
        return classes, boxes, mask if mask is None else mask.to(model.dtype), meta

    with mock.patch.object(module, name, with_noise if "noise/part" in inputs else original):
        yield


def module_path(spec: ModelSpec, canonical: str) -> str:
    """Path of the Hugging Face module with a canonical module's parameters: the common part of their names."""
    inside = [name for name in state_shapes(spec) if name.startswith(f"{canonical}.")]
    paths = [path.replace(".", "/") for name in inside for path in huggingface_names(name)]
    return os.path.commonpath(paths).replace("/", ".")


def _named(outputs: Any) -> dict[str, Tensor]:
    """Every layer's predictions under the official names; denoising queries come first in a layer."""
    meta = outputs.denoising_meta_values
    split = meta["dn_num_split"][0] if meta else 0
    layers = [prediction(outputs, layer) for layer in range(outputs.intermediate_logits.shape[1])]
    matching = [Prediction(p.logits[:, split:], p.boxes_cxcywh[:, split:]) for p in layers]
    denoising = [Prediction(p.logits[:, :split], p.boxes_cxcywh[:, :split]) for p in layers if split]
    return trace_names.name_predictions(matching, _encoder(outputs), denoising)


def _encoder(outputs: Any) -> Prediction:
    return Prediction(outputs.enc_topk_logits, outputs.enc_topk_bboxes)


def _forward(named: dict[str, Tensor]) -> Arrays:
    return trace_names.prefixed("forward", to_arrays(named))


def _selection(case: Case, outputs: Any) -> Arrays:
    best_BN = outputs.enc_outputs_class.max(-1).values
    scores_BQ, topk_BQ = torch.topk(best_BN, case.spec.model.decoder.num_queries, dim=1)
    return trace_names.selection(to_numpy(topk_BQ), to_numpy(scores_BQ))


def _gradients(case: Case, model: Model, loss: Tensor, images: Tensor) -> Arrays:
    """Gradients under canonical names, parts joined again; an unused parameter has none."""
    parameters = dict(model.named_parameters())
    targets = {name: huggingface_names(name) for name in trainable_names(case.spec.model)}
    wanted = {n: parameters[n] for names in targets.values() for n in names} | {"images": images}
    results = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    found = {n: to_numpy(g) for n, g in zip(wanted, results, strict=True) if g is not None}
    packed = {name: [found[n] for n in names if n in found] for name, names in targets.items()}
    arrays = {
        f"gradient/{name}": np.concatenate(parts) if len(parts) > 1 else parts[0]
        for name, parts in packed.items()
        if parts
    }
    return arrays | {"gradient_input/images": found["images"]}


def _statistics(case: Case, model: Model) -> Arrays:
    names = list(state_shapes(case.spec.model))
    return trace_names.statistics(from_huggingface(to_arrays(model.state_dict()), names))


@contextlib.contextmanager
def _capture(case: Case, model: Model) -> Iterator[Captured]:
    """Record the first output of every module that ``case.capture`` names."""
    captured: Captured = {}

    def record(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            captured.setdefault(name, output[0] if isinstance(output, tuple) else output)

        return hook

    handles = [
        _last_module(model, case.spec.model, name).register_forward_hook(record(name)) for name in case.capture
    ]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _matchings() -> Iterator[Arrays]:
    """Record costs and pairs of every matching of a loss: the matcher is created inside the loss function."""
    arrays: Arrays = {}
    costs: list[np.ndarray] = []  # of the matching in progress, image by image
    loss: Any = sys.modules[Matcher.__module__]
    solve = loss.linear_sum_assignment

    def recorded(cost_QT: Tensor) -> Any:
        costs.append(to_numpy(cost_QT))
        return solve(cost_QT)

    def hook(module: Any, _inputs: Any, output: Any) -> None:
        if isinstance(module, Matcher):
            number = len({name.split("/")[1] for name in arrays})
            for image, (pair, cost_QT) in enumerate(zip(output, costs, strict=True)):
                arrays[f"cost/{number}/{image}"] = cost_QT
                for side, indices in zip(("queries", "targets"), pair, strict=True):
                    arrays[f"match/{number}/{image}/{side}"] = to_numpy(indices)
            costs.clear()

    handle = register_module_forward_hook(hook)
    try:
        with mock.patch.object(loss, "linear_sum_assignment", recorded):
            yield arrays
    finally:
        handle.remove()


def _last_module(model: Model, spec: ModelSpec, canonical: str) -> torch.nn.Module:
    """The module with the output of the canonical one: the last, where transformers calls a list one by one."""
    module = model.get_submodule(module_path(spec, canonical))
    return module[-1] if isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)) else module


def _arrays(captured: Captured) -> Arrays:
    return {f"capture/{name}/output/0": to_numpy(value) for name, value in captured.items()}


def _module(model: Model) -> Any:
    return sys.modules[type(model).__module__]

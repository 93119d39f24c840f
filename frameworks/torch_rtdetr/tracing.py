"""Answers to cases: named arrays out of the model, the criterion, single modules and the optimizer.

The file asks the twin; it does not contain any of the model.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frameworks.arrays import Arrays
from frameworks.protocol import Case
from frameworks.shared import schedules
from frameworks.shared.assignment import Indices
from frameworks.torch_rtdetr.capture import Capture, as_list
from frameworks.torch_rtdetr.criterion import criterion, total_loss
from frameworks.torch_rtdetr.decoder import Outputs, Prediction
from frameworks.torch_rtdetr.denoising import make_denoising_queries
from frameworks.torch_rtdetr.ema import ModelEMA
from frameworks.torch_rtdetr.exchange import (
    forced_matchings,
    name_outputs,
    outputs_from,
    read_noise,
    read_targets,
    set_training,
    state_arrays,
    to_numpy,
    to_tensor,
    trainable,
)
from frameworks.torch_rtdetr.model import RTDETR
from frameworks.torch_rtdetr.optimizer import AdamW, clip_gradients
from frameworks.torch_rtdetr.postprocess import postprocess


def trace_forward(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Predictions and query selection, without gradients."""
    capture = Capture(model, case.capture)
    with torch.no_grad():
        outputs = _forward(case, model, inputs, None)
    arrays = {f"forward/{name}": to_numpy(value) for name, value in name_outputs(outputs).items()}
    return arrays | _selection(outputs) | capture.arrays() | _statistics(model)


def trace_loss(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """One forward and backward pass: everything up to the unclipped gradients."""
    images = to_tensor(inputs["images"], model).requires_grad_()
    capture = Capture(model, case.capture)
    arrays, gradients = _loss_and_gradients(case, model, inputs, images, capture)
    arrays |= {f"gradient/{name}": to_numpy(gradient) for name, gradient in gradients.items()}
    return arrays | _statistics(model)


def trace_steps(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """``case.steps`` training steps on one batch with the recipe's optimizer, clipping and EMA."""
    recipe = case.spec.recipe
    optimizer, ema = AdamW(trainable(model), recipe), ModelEMA(model)
    images = to_tensor(inputs["images"], model)
    trace: Arrays = {}
    for step in range(case.steps):
        given = at_step(inputs, step)
        arrays, gradients = _loss_and_gradients(case, model, given, images, None)
        clipped, norm = clip_gradients(gradients, recipe.clip_max_norm)
        rates = [lr * case.lr_scale for lr in schedules.learning_rates(recipe, step, epoch=0)]
        optimizer.step(clipped, rates)
        ema.update(model, schedules.ema_decay(recipe, step + 1))
        arrays["gradient_norm/total"] = to_numpy(norm)
        trace |= {f"step{step}/{name}": value for name, value in arrays.items() if not name.startswith("forward/")}
    return trace | training_state(model, optimizer, ema)


def trace_optimizer(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Clipping, AdamW and EMA alone, on given gradients."""
    recipe = case.spec.recipe
    optimizer, ema = AdamW(trainable(model), recipe), ModelEMA(model)
    trace: Arrays = {}
    for step in range(case.steps):
        gradients = {name: to_tensor(inputs[f"gradient/{step}/{name}"], model) for name in trainable(model)}
        clipped, norm = clip_gradients(gradients, recipe.clip_max_norm)
        rates = [lr * case.lr_scale for lr in schedules.learning_rates(recipe, step, epoch=0)]
        optimizer.step(clipped, rates)
        ema.update(model, schedules.ema_decay(recipe, step + 1))
        trace[f"step{step}/gradient_norm/total"] = to_numpy(norm)
    return trace | training_state(model, optimizer, ema)


def trace_module(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """One module alone, on given inputs and cotangents: its outputs and gradients."""
    module = model.get_submodule(case.module)
    arguments = [_argument(inputs, k, model) for k in range(_argument_count(inputs))]
    outputs = as_list(module(*arguments))
    arrays = {f"output/{k}": to_numpy(value) for k, value in enumerate(outputs)}
    wanted = {f"gradient/{case.module}.{n}": p for n, p in module.named_parameters() if p.requires_grad}
    wanted |= {
        f"gradient_input/{k}": a for k, a in enumerate(arguments) if isinstance(a, Tensor) and a.requires_grad
    }
    if wanted and "cotangent/0" in inputs:
        cotangents = [to_tensor(inputs[f"cotangent/{k}"], model) for k in range(len(outputs))]
        # What an answer does not depend on has the gradient zero, not none.
        gradients = torch.autograd.grad(outputs, list(wanted.values()), cotangents, materialize_grads=True)
        arrays |= {n: to_numpy(g) for n, g in zip(wanted, gradients, strict=True)}
    return arrays


def trace_criterion(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Loss terms, matchings and gradients with respect to given predictions."""
    leaves = {n: to_tensor(a, model).requires_grad_() for n, a in inputs.items() if n.startswith("prediction/")}
    targets = read_targets(inputs, model)
    queries = None
    if case.training:
        queries = make_denoising_queries(targets, read_noise(inputs, model), case.spec.model)
    outputs = outputs_from(leaves, queries)
    terms, matchings = criterion(outputs, targets, case.spec.criterion, forced_matchings(inputs))
    total = total_loss(terms)
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    arrays = _losses(terms, total) | _matchings(matchings)
    named = zip(leaves, gradients, strict=True)
    return arrays | {f"gradient_input/{n}": to_numpy(g) for n, g in named if g is not None}


def trace_postprocess(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Labels, boxes in pixels and scores from given predictions."""
    prediction = Prediction(
        to_tensor(inputs["prediction/pred_logits"], model), to_tensor(inputs["prediction/pred_boxes"], model)
    )
    sizes_wh_B2 = to_tensor(inputs["sizes_wh"], model)
    names = ("labels", "boxes", "scores")
    results = postprocess(prediction, sizes_wh_B2, case.spec.model.decoder.num_queries)
    return {f"postprocess/{name}": to_numpy(value) for name, value in zip(names, results, strict=True)}


def trace_denoising(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Denoising queries made from given targets and noise."""
    targets = read_targets(inputs, model)
    queries = make_denoising_queries(targets, read_noise(inputs, model), case.spec.model)
    if queries is None:
        return {"denoising/groups": np.zeros((), np.int64)}
    arrays = {
        "denoising/labels": to_numpy(queries.labels_BN),
        "denoising/boxes_unact": to_numpy(queries.boxes_unact_BN4),
        "denoising/blocked": to_numpy(queries.blocked_SS),
        "denoising/groups": np.asarray(queries.groups, np.int64),
    }
    return arrays | {f"denoising/positive/{i}": to_numpy(p) for i, p in enumerate(queries.positive_idx)}


def training_state(model: RTDETR, optimizer: AdamW, ema: ModelEMA) -> Arrays:
    """Model, optimizer and average under the names of the protocol."""
    arrays = {f"parameter/{name}": array for name, array in state_arrays(model).items()}
    extra = optimizer.state() | {f"ema/{name}": value for name, value in ema.state().items()}
    return arrays | {name: to_numpy(value) for name, value in extra.items()}


def at_step(inputs: Arrays, step: int) -> Arrays:
    """Inputs with those of one optimizer step (``stepT/...``) under their plain names."""
    prefix = f"step{step}/"
    return inputs | {n.removeprefix(prefix): array for n, array in inputs.items() if n.startswith(prefix)}


def _forward(case: Case, model: RTDETR, inputs: Arrays, images: Tensor | None) -> Outputs:
    set_training(model, case.training)
    images = to_tensor(inputs["images"], model) if images is None else images
    topk = to_tensor(inputs["forced/topk"], model) if "forced/topk" in inputs else None
    targets = read_targets(inputs, model) if case.training and "counts" in inputs else None
    return model(images, targets, read_noise(inputs, model), topk)


def _loss_and_gradients(
    case: Case, model: RTDETR, inputs: Arrays, images: Tensor, capture: Capture | None
) -> tuple[Arrays, dict[str, Tensor]]:
    outputs = _forward(case, model, inputs, images)
    targets = read_targets(inputs, model)
    terms, matchings = criterion(outputs, targets, case.spec.criterion, forced_matchings(inputs))
    total = total_loss(terms)
    wanted: dict[str, Tensor] = {f"gradient/{name}": p for name, p in trainable(model).items()}
    watched = capture.watched() if capture else {}
    if images.requires_grad:
        watched["gradient_input/images"] = images
    wanted |= watched
    results = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    found = {n: g for n, g in zip(wanted, results, strict=True) if g is not None}
    arrays = {f"forward/{name}": to_numpy(value) for name, value in name_outputs(outputs).items()}
    arrays |= _selection(outputs) | _losses(terms, total) | _matchings(matchings)
    arrays |= {name: to_numpy(found[name]) for name in watched if name in found}
    if capture:
        arrays |= capture.arrays()
    prefix = "gradient/"
    return arrays, {n.removeprefix(prefix): g for n, g in found.items() if n.startswith(prefix)}


def _selection(outputs: Outputs) -> Arrays:
    return {"select/topk": to_numpy(outputs.topk_BQ), "select/scores": to_numpy(outputs.topk_scores_BQ)}


def _losses(terms: dict[str, Tensor], total: Tensor) -> Arrays:
    return {f"loss/{name.removeprefix('loss_')}": to_numpy(v) for name, v in terms.items()} | {
        "loss/total": to_numpy(total)
    }


def _matchings(matchings: list[Indices]) -> Arrays:
    return {
        f"match/{c}/{b}/{side}": array
        for c, indices in enumerate(matchings)
        for b, pair in enumerate(indices)
        for side, array in zip(("queries", "targets"), pair, strict=True)
    }


def _statistics(model: RTDETR) -> Arrays:
    return {f"statistic/{name}": array for name, array in state_arrays(model).items() if ".running_" in name}


def _argument_count(inputs: Arrays) -> int:
    return 1 + max(int(name.split("/")[1]) for name in inputs if name.startswith("input/"))


def _argument(inputs: Arrays, k: int, model: nn.Module) -> Any:
    """Float arrays become leaves, booleans masks, integers lists of (h, w); a missing one is None."""
    array = inputs.get(f"input/{k}")
    if array is None:
        return None
    if array.dtype.kind == "i":
        return [tuple(int(side) for side in row) for row in array]
    tensor = to_tensor(array, model)
    return tensor.requires_grad_() if tensor.dtype.is_floating_point else tensor

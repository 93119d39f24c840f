"""Runs the twin for one parity ``Case`` and returns its tensors as named arrays (see ``frameworks.protocol``)."""

from typing import Any

import torch
from torch import Tensor, nn

from frameworks.arrays import Arrays
from frameworks.protocol import Case
from frameworks.shared import schedules, trace_names
from frameworks.shared.hungarian import Matching
from frameworks.torch_rtdetr.capture import Capture
from frameworks.torch_rtdetr.criterion import criterion, total_loss
from frameworks.torch_rtdetr.decoder import Outputs, Prediction
from frameworks.torch_rtdetr.denoising import make_denoising_queries
from frameworks.torch_rtdetr.exchange import (
    outputs_from,
    read_noise,
    read_targets,
    set_training,
    state_arrays,
    to_arrays,
    to_numpy,
    to_tensor,
    trainable,
)
from frameworks.torch_rtdetr.model import RTDETR
from frameworks.torch_rtdetr.postprocess import postprocess
from frameworks.torch_rtdetr.training import TrainingRun


def trace_forward(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Predictions and query selection, without gradients."""
    capture = Capture(model, case.capture)
    set_training(model, case.training)
    images = to_tensor(inputs["images"], model)
    topk_BQ = to_tensor(inputs["forced/topk"], model) if "forced/topk" in inputs else None
    targets = read_targets(inputs, model) if case.training and "counts" in inputs else None
    with torch.no_grad():
        outputs = model(images, targets, read_noise(inputs, model), topk_BQ)
    return _predictions(outputs) | capture.arrays() | trace_names.statistics(state_arrays(model))


def trace_loss(case: Case, run: TrainingRun, inputs: Arrays) -> Arrays:
    """One forward and backward pass: everything up to the unclipped gradients."""
    capture = Capture(run.model, case.capture)
    passed: list[tuple[Outputs, list[Matching]]] = []

    def watch(images: Tensor, outputs: Outputs, found: list[Matching]) -> dict[str, Tensor]:
        passed.append((outputs, found))
        return capture.watched() | {"gradient_input/images": images}

    terms, gradients, _ = run.loss_and_gradients(inputs, watch)
    (outputs, found), *_ = passed
    arrays = _predictions(outputs) | trace_names.losses(to_arrays(terms)) | trace_names.matchings(found)
    # What is watched has its full name; a parameter's name has no slash.
    arrays |= {n if "/" in n else f"gradient/{n}": to_numpy(g) for n, g in gradients.items()}
    return arrays | capture.arrays() | trace_names.statistics(state_arrays(run.model))


def trace_steps(case: Case, run: TrainingRun, inputs: Arrays) -> Arrays:
    """``case.steps`` training steps on one batch with the recipe's clipping, optimizer and EMA."""
    trace: Arrays = {}

    def watch(images: Tensor, outputs: Outputs, found: list[Matching]) -> dict[str, Tensor]:
        trace.update(trace_names.prefixed(f"step{step}", _selection(outputs) | trace_names.matchings(found)))
        return {}

    for step in range(case.steps):
        record = run.step(trace_names.at_step(inputs, step), *_schedule(case, step), watch=watch)
        trace |= trace_names.prefixed(f"step{step}", trace_names.step_numbers(record, run.dtype))
    return trace | run.state()


def trace_optimizer(case: Case, run: TrainingRun, inputs: Arrays) -> Arrays:
    """Clipping, optimizer and EMA alone, on given gradients ``gradient/STEP/PARAMETER``."""
    trace: Arrays = {}
    for step in range(case.steps):
        given = trace_names.below(f"gradient/{step}", inputs)
        gradients = {name: to_tensor(given[name], run.model) for name in trainable(run.model)}
        norm = run.update(gradients, *_schedule(case, step))
        trace[f"step{step}/gradient_norm/total"] = to_numpy(norm).reshape(())
    return trace | run.state()


def trace_module(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """One module alone, on given inputs and cotangents: its outputs and gradients."""
    module = model.get_submodule(case.module)
    arguments = [_argument(inputs, k, model) for k in range(trace_names.argument_count(inputs))]
    outputs = trace_names.as_list(module(*arguments))
    arrays = {f"output/{k}": to_numpy(value) for k, value in enumerate(outputs)}
    wanted = {f"gradient/{case.module}.{n}": p for n, p in module.named_parameters() if p.requires_grad}
    wanted |= {
        f"gradient_input/{k}": a for k, a in enumerate(arguments) if isinstance(a, Tensor) and a.requires_grad
    }
    if wanted and "cotangent/0" in inputs:
        cotangents = [to_tensor(inputs[f"cotangent/{k}"], model) for k in range(len(outputs))]
        # An input that no output depends on has the gradient zero, not None.
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
    terms, found = criterion(outputs, targets, case.spec.criterion, trace_names.forced_matchings(inputs))
    total = total_loss(terms)
    # Zeros for predictions that no term reads, as in Jittor.
    gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    arrays = trace_names.losses(to_arrays(terms | {"total": total})) | trace_names.matchings(found)
    named = zip(leaves, gradients, strict=True)
    return arrays | {f"gradient_input/{n}": to_numpy(g) for n, g in named}


def trace_postprocess(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Labels, boxes in pixels and scores from given predictions."""
    prediction = Prediction(
        to_tensor(inputs["prediction/pred_logits"], model), to_tensor(inputs["prediction/pred_boxes"], model)
    )
    sizes_wh_B2 = to_tensor(inputs["sizes_wh"], model)
    queries, focal = case.spec.model.decoder.num_queries, case.spec.criterion.matcher.use_focal_loss
    results = postprocess(prediction, sizes_wh_B2, queries, use_focal_loss=focal)
    return trace_names.prefixed("postprocess", trace_names.detections(*map(to_numpy, results)))


def trace_denoising(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Denoising queries made from given targets and noise."""
    targets = read_targets(inputs, model)
    queries = make_denoising_queries(targets, read_noise(inputs, model), case.spec.model)
    if queries is None:
        return trace_names.denoising(groups=0)
    return trace_names.denoising(
        queries.groups,
        labels=to_numpy(queries.labels_BN),
        boxes_unact=to_numpy(queries.boxes_unact_BN4),
        blocked=to_numpy(queries.blocked_SS),
        positive=[to_numpy(indices) for indices in queries.positive_idx],
    )


def _predictions(outputs: Outputs) -> Arrays:
    """Predictions and query selection."""
    named = trace_names.name_predictions(outputs.layers, outputs.encoder, outputs.denoising)
    return trace_names.prefixed("forward", to_arrays(named)) | _selection(outputs)


def _selection(outputs: Outputs) -> Arrays:
    return trace_names.selection(to_numpy(outputs.topk_BQ), to_numpy(outputs.topk_scores_BQ))


def _schedule(case: Case, step: int) -> tuple[list[float], float]:
    """Learning rates and EMA decay of an optimizer step."""
    recipe = case.spec.recipe
    rates = [lr * case.lr_scale for lr in schedules.learning_rates(recipe, step, epoch=0)]
    return rates, schedules.ema_decay(recipe, step + 1)


def _argument(inputs: Arrays, k: int, model: nn.Module) -> Any:
    """Float arrays become leaves, booleans masks, integers lists of (h, w); a missing one is None."""
    array = inputs.get(f"input/{k}")
    if array is None:
        return None
    if array.dtype.kind == "i":
        return [tuple(int(side) for side in row) for row in array]
    tensor = to_tensor(array, model)
    return tensor.requires_grad_() if tensor.dtype.is_floating_point else tensor

"""Runs the twin for one parity ``Case`` and returns its tensors as named arrays (see ``frameworks.protocol``)."""

from typing import Any

import jittor as jt
from jittor import Var, nn

from frameworks.arrays import Arrays
from frameworks.jittor_rtdetr.capture import Capture
from frameworks.jittor_rtdetr.criterion import criterion, total_loss
from frameworks.jittor_rtdetr.decoder import Outputs, Prediction
from frameworks.jittor_rtdetr.denoising import make_denoising_queries
from frameworks.jittor_rtdetr.ema import ModelEMA
from frameworks.jittor_rtdetr.exchange import (
    connected,
    freeze,
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
from frameworks.jittor_rtdetr.model import RTDETR
from frameworks.jittor_rtdetr.optimizer import Optimizer, clip_gradients
from frameworks.jittor_rtdetr.postprocess import postprocess
from frameworks.jittor_rtdetr.training import training_state
from frameworks.protocol import Case
from frameworks.shared import schedules, trace_names


def trace_forward(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Predictions and query selection, without gradients."""
    capture = Capture(model, case.capture)
    with jt.no_grad():
        outputs = _forward(case, model, inputs, None)
    return _predictions(outputs) | capture.arrays() | trace_names.statistics(state_arrays(model))


def trace_loss(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """One forward and backward pass: everything up to the unclipped gradients."""
    images = to_tensor(inputs["images"], model)
    capture = Capture(model, case.capture)
    arrays, gradients = _loss_and_gradients(case, model, inputs, images, capture)
    return (
        arrays
        | trace_names.prefixed("gradient", to_arrays(gradients))
        | trace_names.statistics(state_arrays(model))
    )


def trace_steps(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """``case.steps`` training steps on one batch with the recipe's clipping, optimizer and EMA."""
    optimizer, ema = _optimizer(case, model), ModelEMA(model)
    images = to_tensor(inputs["images"], model).stop_grad()
    trace: Arrays = {}
    for step in range(case.steps):
        arrays, gradients = _loss_and_gradients(case, model, trace_names.at_step(inputs, step), images, None)
        arrays |= _update(case, step, gradients, model, optimizer, ema)
        trace |= {f"step{step}/{name}": value for name, value in arrays.items() if not name.startswith("forward/")}
    return trace | training_state(model, optimizer, ema)


def trace_optimizer(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Clipping, optimizer and EMA alone, on given gradients ``gradient/STEP/PARAMETER``."""
    optimizer, ema = _optimizer(case, model), ModelEMA(model)
    trace: Arrays = {}
    for step in range(case.steps):
        gradients = {name: to_tensor(inputs[f"gradient/{step}/{name}"], model) for name in trainable(model)}
        trace |= trace_names.prefixed(f"step{step}", _update(case, step, gradients, model, optimizer, ema))
    return trace | training_state(model, optimizer, ema)


def trace_module(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """One module alone, on given inputs and cotangents: its outputs and gradients."""
    module = dict(model.named_modules())[case.module]
    arguments = [_argument(inputs, k, model) for k in range(trace_names.argument_count(inputs))]
    outputs = trace_names.as_list(module(*arguments))
    arrays = {f"output/{k}": to_numpy(value) for k, value in enumerate(outputs)}
    wanted = {f"gradient/{n}": p for n, p in trainable(model).items() if n.startswith(f"{case.module}.")}
    wanted |= {
        f"gradient_input/{k}": a for k, a in enumerate(arguments) if isinstance(a, Var) and not a.is_stop_grad()
    }
    if wanted and "cotangent/0" in inputs:
        # Jittor differentiates scalars only: <output, cotangent> has the wanted gradients.
        cotangents = [to_tensor(inputs[f"cotangent/{k}"], model).stop_grad() for k in range(len(outputs))]
        first, *others = ((y * c).sum() for y, c in zip(outputs, cotangents, strict=True))
        gradients = jt.grad(sum(others, start=first), list(wanted.values()))
        arrays |= {n: to_numpy(g) for n, g in zip(wanted, gradients, strict=True)}
    return arrays


def trace_criterion(case: Case, model: RTDETR, inputs: Arrays) -> Arrays:
    """Loss terms, matchings and gradients with respect to given predictions."""
    leaves = {n: to_tensor(a, model) for n, a in inputs.items() if n.startswith("prediction/")}
    targets = read_targets(inputs, model)
    queries = None
    if case.training:
        queries = make_denoising_queries(targets, read_noise(inputs, model), case.spec.model)
    outputs = outputs_from(leaves, queries)
    terms, found = criterion(outputs, targets, case.spec.criterion, trace_names.forced_matchings(inputs))
    total = total_loss(terms)
    gradients = jt.grad(total, list(leaves.values()))
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


def _forward(case: Case, model: RTDETR, inputs: Arrays, images: Var | None) -> Outputs:
    set_training(model, case.training)
    images = to_tensor(inputs["images"], model) if images is None else images
    topk = to_tensor(inputs["forced/topk"], model) if "forced/topk" in inputs else None
    targets = read_targets(inputs, model) if case.training and "counts" in inputs else None
    return model(images, targets, read_noise(inputs, model), topk)


def _loss_and_gradients(
    case: Case, model: RTDETR, inputs: Arrays, images: Var, capture: Capture | None
) -> tuple[Arrays, dict[str, Var]]:
    outputs = _forward(case, model, inputs, images)
    targets = read_targets(inputs, model)
    terms, found = criterion(outputs, targets, case.spec.criterion, trace_names.forced_matchings(inputs))
    total = total_loss(terms)
    watched = capture.watched() if capture else {}
    if not images.is_stop_grad():
        watched["gradient_input/images"] = images
    wanted = connected(model, outputs, case.spec.criterion) | watched
    gradients = dict(zip(wanted, jt.grad(total, list(wanted.values())), strict=True))
    arrays = (
        _predictions(outputs)
        | trace_names.losses(to_arrays(terms | {"total": total}))
        | trace_names.matchings(found)
    )
    arrays |= to_arrays({name: gradients.pop(name) for name in watched if name in gradients})
    return arrays | (capture.arrays() if capture else {}), gradients


def _predictions(outputs: Outputs) -> Arrays:
    """Predictions and query selection."""
    named = trace_names.name_predictions(outputs.layers, outputs.encoder, outputs.denoising)
    arrays = trace_names.prefixed("forward", to_arrays(named))
    return arrays | trace_names.selection(to_numpy(outputs.topk_BQ), to_numpy(outputs.topk_scores_BQ))


def _optimizer(case: Case, model: RTDETR) -> Optimizer:
    """The recipe's optimizer over what the recipe trains."""
    freeze(model, case.spec.recipe)
    return Optimizer(trainable(model), case.spec.recipe)


def _update(
    case: Case, step: int, gradients: dict[str, Var], model: RTDETR, optimizer: Optimizer, ema: ModelEMA
) -> Arrays:
    """One update of parameters and averages; returns the gradients' norm before clipping."""
    recipe = case.spec.recipe
    clipped, norm = clip_gradients(gradients, recipe.clip_max_norm)
    optimizer.step(clipped, [lr * case.lr_scale for lr in schedules.learning_rates(recipe, step, epoch=0)])
    ema.update(model, schedules.ema_decay(recipe, step + 1))
    return {"gradient_norm/total": to_numpy(norm).reshape(())}


def _argument(inputs: Arrays, k: int, model: nn.Module) -> Any:
    """Float arrays become leaves, booleans masks, integers lists of (h, w); a missing one is None."""
    array = inputs.get(f"input/{k}")
    if array is None:
        return None
    if array.dtype.kind == "i":
        return [tuple(int(side) for side in row) for row in array]
    tensor = to_tensor(array, model)
    return tensor if array.dtype.kind == "f" else tensor.stop_grad()

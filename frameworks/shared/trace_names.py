"""Names of the arrays that a framework reads and writes (see ``frameworks.protocol``): dictionaries and NumPy only.

Each framework converts its own tensors; how the arrays are called, split and put together is written here once.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from frameworks.arrays import Arrays
from frameworks.protocol import StepRecord
from frameworks.shared.hungarian import Indices, Matching

T = TypeVar("T")
P = TypeVar("P")

# The arrays ``noise/NAME`` in the order of the fields of ``denoising.Noise``.
NOISE = ("label_u", "new_label", "sign", "part")


def prefixed(prefix: str, values: Mapping[str, T]) -> dict[str, T]:
    """``{"PREFIX/NAME": value}`` for ``{"NAME": value}``."""
    return {f"{prefix}/{name}": value for name, value in values.items()}


def below(prefix: str, values: Mapping[str, T]) -> dict[str, T]:
    """The inverse of ``prefixed``: the values named ``PREFIX/NAME``, as ``NAME``; all others are dropped."""
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}


def at_step(inputs: Arrays, step: int) -> Arrays:
    """Inputs of one optimizer step: those named ``stepT/NAME`` replace those named ``NAME``."""
    return inputs | below(f"step{step}", inputs)


def targets_per_image(inputs: Arrays) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """``labels`` [N] and ``boxes`` [N, 4] of a batch, split by ``counts`` [B]: one array per image each."""
    edges = np.cumsum(inputs["counts"])[:-1]
    return np.split(inputs["labels"], edges), np.split(inputs["boxes"], edges)


def name_predictions(layers: Sequence[Any], encoder: Any, denoising: Sequence[Any] = ()) -> dict[str, Any]:
    """Logits and boxes of predictions under their official names, ``[aux_I.|dn_I.]pred_{logits,boxes}``.

    A prediction has the fields ``logits`` and ``boxes_cxcywh``. The last layer is the main prediction and has no
    prefix; the encoder is the last ``aux``.
    """
    named = {"": layers[-1]}
    named |= {f"aux_{i}.": prediction for i, prediction in enumerate([*layers[:-1], encoder])}
    named |= {f"dn_{i}.": prediction for i, prediction in enumerate(denoising)}
    logits = {f"{key}pred_logits": prediction.logits for key, prediction in named.items()}
    return logits | {f"{key}pred_boxes": prediction.boxes_cxcywh for key, prediction in named.items()}


def read_predictions(named: Mapping[str, T], make: Callable[[T, T], P]) -> tuple[list[P], P, list[P]]:
    """The inverse of ``name_predictions``: layers, encoder, denoising, each built by ``make(logits, boxes)``."""

    def numbered(kind: str) -> list[P]:
        count = sum(name.startswith(f"{kind}_") and name.endswith("pred_logits") for name in named)
        return [one(f"{kind}_{i}.") for i in range(count)]

    def one(key: str) -> P:
        return make(named[f"{key}pred_logits"], named[f"{key}pred_boxes"])

    *auxiliary, encoder = numbered("aux")
    return [*auxiliary, one("")], encoder, numbered("dn")


def selection(topk_BQ: np.ndarray, scores_BQ: np.ndarray) -> Arrays:
    """Indices and scores of the selected tokens, ``select/{topk,scores}``."""
    return {"select/topk": topk_BQ.astype(np.int64), "select/scores": scores_BQ}


def losses(terms: Arrays) -> Arrays:
    """Scalars ``loss/TERM`` for terms named ``loss_TERM`` or ``TERM``."""
    return {f"loss/{name.removeprefix('loss_')}": value.reshape(()) for name, value in terms.items()}


def step_numbers(record: StepRecord, dtype: str) -> Arrays:
    """The numbers of a training step that was computed in ``dtype``: ``loss/...`` and ``gradient_norm/total``."""
    numbers = losses({name: np.asarray(value, dtype) for name, value in record.losses.items()})
    numbers["loss/total"] = np.asarray(record.total, dtype)
    return numbers | {"gradient_norm/total": np.asarray(record.gradient_norm, dtype)}


def matchings(found: list[Matching]) -> Arrays:
    """Costs ``cost/C/B`` [Q, T] and index pairs ``match/C/B/{queries,targets}`` of matching C and image B."""
    costs = {f"cost/{c}/{b}": cost for c, one in enumerate(found) for b, cost in enumerate(one.costs_QT)}
    pairs = {
        f"match/{c}/{b}/{side}": array
        for c, one in enumerate(found)
        for b, pair in enumerate(one.indices)
        for side, array in zip(("queries", "targets"), pair, strict=True)
    }
    return costs | pairs


def forced_matchings(inputs: Arrays) -> list[Indices] | None:
    """Matchings given as ``forced/match/C/B/{queries,targets}``, to use in place of the solver's; or None."""
    given = below("forced/match", inputs)
    count = len({name.split("/")[0] for name in given})
    images = range(len(inputs["counts"]))
    forced = [[(given[f"{c}/{b}/queries"], given[f"{c}/{b}/targets"]) for b in images] for c in range(count)]
    return forced or None


def matching_hash(found: list[Matching]) -> str:
    """Twelve hexadecimal digits over every matching of a step."""
    digest = hashlib.sha256()
    for matching in found:
        for queries, targets in matching.indices:
            digest.update(queries.tobytes() + b"|" + targets.tobytes() + b";")
    return digest.hexdigest()[:12]


def statistics(state: Arrays) -> Arrays:
    """Running means and variances of a model's state, ``statistic/NAME``."""
    return prefixed("statistic", {name: array for name, array in state.items() if ".running_" in name})


def training_state(state: Arrays, optimizer: Arrays, average: Arrays) -> Arrays:
    """What a training run needs to go on: ``parameter/NAME``, the optimizer's own names, ``ema/NAME``."""
    moments = {name: array.reshape(()) if name.startswith("steps/") else array for name, array in optimizer.items()}
    return prefixed("parameter", state) | moments | prefixed("ema", average)


def detections(labels_BQ: np.ndarray, boxes_BQ4: np.ndarray, scores_BQ: np.ndarray) -> Arrays:
    """Results of the post-processing: ``labels`` as int64, ``boxes``, ``scores``."""
    return {"labels": labels_BQ.astype(np.int64), "boxes": boxes_BQ4, "scores": scores_BQ}


def denoising(groups: int, positive: Iterable[np.ndarray] = (), **arrays: np.ndarray) -> Arrays:
    """Denoising queries as ``denoising/NAME``, the positives of image B as ``denoising/positive/B``."""
    named = arrays | {f"positive/{image}": indices for image, indices in enumerate(positive)}
    return prefixed("denoising", named | {"groups": np.asarray(groups, np.int64)})


def captured(kind: str, values: Mapping[str, Sequence[T | None]]) -> dict[str, T]:
    """``capture/MODULE/KIND/K`` for the values of every module; None is left out."""
    return {
        f"capture/{module}/{kind}/{k}": value
        for module, found in values.items()
        for k, value in enumerate(found)
        if value is not None
    }


def argument_count(inputs: Arrays) -> int:
    """Number of arguments of a module that is run alone on ``input/K``; some K may be missing (None)."""
    return 1 + max(int(name) for name in below("input", inputs))


def as_list(output: Any) -> list[Any]:
    """What a module returns, one tensor or several, as a list."""
    return list(output) if isinstance(output, (list, tuple)) else [output]

"""NumPy arrays in, tensors out, and back: weights, targets, noise, predictions, matchings."""

import hashlib
from typing import Any

import jittor as jt
import numpy as np
from jittor import Var, nn

from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.jittor_rtdetr.decoder import Outputs, Prediction
from frameworks.jittor_rtdetr.denoising import Noise, Targets
from frameworks.jittor_rtdetr.layers import BatchNorm2d
from frameworks.jittor_rtdetr.model import RTDETR
from frameworks.shared.assignment import Indices

COUNTER = "num_batches_tracked"


def build(spec: ModelSpec, weights: Arrays, dtype: str) -> RTDETR:
    """The model with these weights, loaded strictly.

    Raises:
        ValueError: names or shapes of the weights are not exactly the model's.
    """
    model = RTDETR(spec)
    floats = {name: array.astype(dtype) for name, array in weights.items() if array.dtype.kind == "f"}
    load_strictly(model, weights | floats)
    return model


def load_strictly(model: nn.Module, weights: Arrays) -> None:
    """Fill the model's whole state; the model takes the dtype of the weights.

    Raises:
        ValueError: names or shapes of the weights are not exactly the model's.
    """
    owners = dict(_owners(model))
    if wrong := sorted(weights.keys() ^ owners.keys()):
        raise ValueError(f"weights and model differ in {len(wrong)} names, first {wrong[:3]}")
    for name, owner in owners.items():
        leaf = name.rpartition(".")[2]
        old = getattr(owner, leaf)
        if isinstance(old, int):
            setattr(owner, leaf, int(weights[name]))
            continue
        if tuple(old.shape) != weights[name].shape:
            raise ValueError(f"{name}: weights have shape {weights[name].shape}, the model {tuple(old.shape)}")
        # A new Var: assigning in place would keep the old dtype. Frozen stays frozen.
        value = jt.array(weights[name])
        setattr(owner, leaf, value.stop_grad() if old.is_stop_grad() else value)


def set_training(model: nn.Module, training: bool) -> None:
    """Batch statistics, all decoder layers and denoising on or off.

    Not ``Module.eval()``: that also stops the gradient of every parameter.
    """
    for module in model.modules():
        module.is_train = training


def state_arrays(model: nn.Module) -> Arrays:
    """The whole canonical state as arrays."""
    arrays: Arrays = {}
    for name, owner in _owners(model):
        value = getattr(owner, name.rpartition(".")[2])
        arrays[name] = np.asarray(value, np.int64) if isinstance(value, int) else to_numpy(value)
    return arrays


def trainable(model: RTDETR) -> dict[str, Var]:
    """Parameters that get gradients, by canonical name."""
    return {name: p for name, p in model.state_dict().items() if not p.is_stop_grad()}


def to_tensor(array: np.ndarray, model: nn.Module) -> Var:
    """Floating arrays in the model's dtype; integers and booleans as they are."""
    like = next(iter(model.state_dict().values()))
    if array.dtype.kind == "f":
        array = array.astype(str(like.dtype))
    return jt.array(np.ascontiguousarray(array))


def to_numpy(tensor: Var) -> np.ndarray:
    """A copy on the host, in the tensor's own dtype."""
    return np.array(tensor.numpy())


def to_scalar(tensor: Var) -> np.ndarray:
    """A copy of a one-element tensor without axes: Jittor's scalars have the shape [1]."""
    return np.array(tensor.numpy()).reshape(())


def read_targets(inputs: Arrays, model: nn.Module) -> Targets:
    """Flat target arrays -> per-image tensors."""
    edges = np.cumsum(inputs["counts"])[:-1]
    return Targets(
        labels=[to_tensor(labels, model) for labels in np.split(inputs["labels"], edges)],
        boxes_cxcywh=[to_tensor(boxes, model) for boxes in np.split(inputs["boxes"], edges)],
    )


def read_noise(inputs: Arrays, model: nn.Module) -> Noise | None:
    """Noise arrays, or None where the batch brings none."""
    if "noise/part" not in inputs:
        return None
    return Noise(*(to_tensor(inputs[f"noise/{n}"], model) for n in ("label_u", "new_label", "sign", "part")))


def name_outputs(outputs: Outputs) -> dict[str, Var]:
    """Predictions under their official names: main, aux_i (encoder last), dn_i."""
    named = {"": outputs.layers[-1]}
    named |= {f"aux_{i}.": p for i, p in enumerate([*outputs.layers[:-1], outputs.encoder])}
    named |= {f"dn_{i}.": p for i, p in enumerate(outputs.denoising)}
    arrays = {f"{key}pred_logits": p.logits for key, p in named.items()}
    return arrays | {f"{key}pred_boxes": p.boxes_cxcywh for key, p in named.items()}


def outputs_from(leaves: dict[str, Var], queries: Any) -> Outputs:
    """Outputs rebuilt from ``prediction/[aux_i.|dn_i.]pred_{logits,boxes}``."""

    def numbered(kind: str) -> list[Prediction]:
        found = []
        while f"prediction/{kind}_{len(found)}.pred_logits" in leaves:
            key = f"prediction/{kind}_{len(found)}."
            found.append(Prediction(leaves[f"{key}pred_logits"], leaves[f"{key}pred_boxes"]))
        return found

    main = Prediction(leaves["prediction/pred_logits"], leaves["prediction/pred_boxes"])
    aux = numbered("aux")
    nothing = jt.zeros((1,))
    return Outputs([*aux[:-1], main], aux[-1], numbered("dn"), queries, nothing, nothing)


def forced_matchings(inputs: Arrays) -> list[Indices] | None:
    """Matchings that replace the solver's, or None."""
    if "forced/match/0/0/queries" not in inputs:
        return None
    matchings: list[Indices] = []
    while f"forced/match/{len(matchings)}/0/queries" in inputs:
        prefix = f"forced/match/{len(matchings)}"
        images = range(len(inputs["counts"]))
        matchings.append([(inputs[f"{prefix}/{b}/queries"], inputs[f"{prefix}/{b}/targets"]) for b in images])
    return matchings


def matching_hash(matchings: list[Indices]) -> str:
    """Short hash over every matching of a step."""
    digest = hashlib.sha256()
    for indices in matchings:
        for queries, targets in indices:
            digest.update(queries.tobytes() + b"|" + targets.tobytes() + b";")
    return digest.hexdigest()[:12]


def _owners(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every canonical name with the module that holds it; counters are plain integers in Jittor's twin."""
    modules = dict(model.named_modules())
    found = [(name, modules[name.rpartition(".")[0]]) for name in model.state_dict()]
    counters = [
        (f"{name}.{COUNTER}", module) for name, module in modules.items() if isinstance(module, BatchNorm2d)
    ]
    return found + counters

"""NumPy arrays in, tensors out, and back: weights, targets, noise, predictions, matchings."""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frameworks.arrays import Arrays
from frameworks.config import ModelSpec
from frameworks.shared.assignment import Indices
from frameworks.torch_rtdetr.decoder import Outputs, Prediction
from frameworks.torch_rtdetr.denoising import Noise, Targets
from frameworks.torch_rtdetr.model import RTDETR


def build(spec: ModelSpec, weights: Arrays, device: str, dtype: torch.dtype) -> RTDETR:
    """The model with these weights, loaded strictly.

    Raises:
        ValueError: names or shapes of the weights are not exactly the model's.
    """
    model = RTDETR(spec).to(device=device, dtype=dtype)
    load_strictly(model, weights)
    return model


def load_strictly(model: nn.Module, weights: Arrays) -> None:
    """Fill the model's whole state, in its own dtype.

    Raises:
        ValueError: names or shapes of the weights are not exactly the model's.
    """
    state = model.state_dict()
    if wrong := sorted(weights.keys() ^ state.keys()):
        raise ValueError(f"weights and model differ in {len(wrong)} names, first {wrong[:3]}")
    for name, value in state.items():
        if tuple(value.shape) != weights[name].shape:
            raise ValueError(f"{name}: weights have shape {weights[name].shape}, the model {tuple(value.shape)}")
        value.copy_(torch.from_numpy(np.array(weights[name])))


def set_training(model: nn.Module, training: bool) -> None:
    """Batch statistics, all decoder layers and denoising on or off."""
    model.train(training)


def state_arrays(model: nn.Module) -> Arrays:
    """The whole canonical state as arrays."""
    return {name: to_numpy(value) for name, value in model.state_dict().items()}


def trainable(model: RTDETR) -> dict[str, nn.Parameter]:
    """Parameters that get gradients, by canonical name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def to_tensor(array: np.ndarray, model: nn.Module) -> Tensor:
    """Floating arrays in the model's dtype; integers and booleans as they are."""
    like = next(model.parameters())
    tensor = torch.from_numpy(np.array(array)).to(like.device)
    return tensor.to(like.dtype) if tensor.dtype.is_floating_point else tensor


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A copy on the host, in the tensor's own dtype."""
    return tensor.detach().cpu().numpy().copy()


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


def name_outputs(outputs: Outputs) -> dict[str, Tensor]:
    """Predictions under their official names: main, aux_i (encoder last), dn_i."""
    named = {"": outputs.layers[-1]}
    named |= {f"aux_{i}.": p for i, p in enumerate([*outputs.layers[:-1], outputs.encoder])}
    named |= {f"dn_{i}.": p for i, p in enumerate(outputs.denoising)}
    arrays = {f"{key}pred_logits": p.logits for key, p in named.items()}
    return arrays | {f"{key}pred_boxes": p.boxes_cxcywh for key, p in named.items()}


def outputs_from(leaves: dict[str, Tensor], queries: Any) -> Outputs:
    """Outputs rebuilt from ``prediction/[aux_i.|dn_i.]pred_{logits,boxes}``."""

    def numbered(kind: str) -> list[Prediction]:
        found = []
        while f"prediction/{kind}_{len(found)}.pred_logits" in leaves:
            key = f"prediction/{kind}_{len(found)}."
            found.append(Prediction(leaves[f"{key}pred_logits"], leaves[f"{key}pred_boxes"]))
        return found

    main = Prediction(leaves["prediction/pred_logits"], leaves["prediction/pred_boxes"])
    aux = numbered("aux")
    nothing = torch.zeros(0)
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

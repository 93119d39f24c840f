"""Conversion between NumPy arrays and this framework's tensors: weights, targets, noise, predictions."""

import numpy as np
import torch
from torch import Tensor, nn

from frameworks.arrays import Arrays
from frameworks.config import ModelSpec, RecipeSpec
from frameworks.shared import trace_names
from frameworks.torch_rtdetr.decoder import Outputs, Prediction
from frameworks.torch_rtdetr.denoising import DenoisingQueries, Noise, Targets
from frameworks.torch_rtdetr.model import RTDETR


def build(spec: ModelSpec, weights: Arrays, device: str, dtype: torch.dtype) -> RTDETR:
    """Build the model of a spec and load its weights strictly.

    Raises:
        ValueError: names or shapes of the weights are not exactly the model's.
    """
    with torch.device("meta"):  # without memory: no initial values that the weights would replace
        model = RTDETR(spec)
    model = model.to(dtype=dtype).to_empty(device=device)
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
    """Switch batch statistics, all decoder layers and denoising on or off."""
    model.train(training)


def state_arrays(model: nn.Module) -> Arrays:
    """Copies of parameters, running statistics and counters under canonical names."""
    return to_arrays(model.state_dict())


def trainable(model: RTDETR) -> dict[str, nn.Parameter]:
    """Parameters that get gradients, by canonical name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def freeze(model: RTDETR, recipe: RecipeSpec) -> None:
    """Switch off the gradients of the parameters that the recipe freezes."""
    for name, parameter in trainable(model).items():
        if recipe.is_frozen(name):
            parameter.requires_grad_(False)


def to_tensor(array: np.ndarray, model: nn.Module) -> Tensor:
    """A tensor on the model's device: floats in the model's dtype, integers and booleans as they are."""
    like = next(model.parameters())
    tensor = torch.from_numpy(np.array(array)).to(like.device)
    return tensor.to(like.dtype) if tensor.dtype.is_floating_point else tensor


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A copy on the host, in the tensor's own dtype."""
    return tensor.detach().cpu().numpy().copy()


def to_arrays(tensors: dict[str, Tensor]) -> Arrays:
    """``to_numpy`` of every tensor, under the same names."""
    return {name: to_numpy(tensor) for name, tensor in tensors.items()}


def read_targets(inputs: Arrays, model: nn.Module) -> Targets:
    """Ground truth of a batch: ``labels`` [N] and ``boxes`` [N, 4], split by ``counts`` [B]."""
    labels, boxes = trace_names.targets_per_image(inputs)
    return Targets([to_tensor(part, model) for part in labels], [to_tensor(part, model) for part in boxes])


def read_noise(inputs: Arrays, model: nn.Module) -> Noise | None:
    """Noise of the denoising queries from ``noise/NAME``; None where the batch has none."""
    noise = trace_names.below("noise", inputs)
    return Noise(*(to_tensor(noise[name], model) for name in trace_names.NOISE)) if noise else None


def outputs_from(leaves: dict[str, Tensor], queries: DenoisingQueries | None) -> Outputs:
    """Outputs without a selection from given predictions, ``prediction/[aux_I.|dn_I.]pred_{logits,boxes}``."""
    named = trace_names.below("prediction", leaves)
    layers, encoder, denoising = trace_names.read_predictions(named, Prediction)
    nothing = torch.zeros(0)
    return Outputs(layers, encoder, denoising, queries, nothing, nothing)

"""Conversion between NumPy arrays and this framework's tensors: weights, targets, noise, predictions."""

import jittor as jt
import numpy as np
from jittor import Var, nn

from frameworks.arrays import Arrays
from frameworks.config import CriterionSpec, ModelSpec, RecipeSpec
from frameworks.jittor_rtdetr.decoder import Outputs, Prediction
from frameworks.jittor_rtdetr.denoising import DenoisingQueries, Noise, Targets
from frameworks.jittor_rtdetr.layers import BatchNorm2d
from frameworks.jittor_rtdetr.model import RTDETR
from frameworks.shared import trace_names

COUNTER = "num_batches_tracked"
# Parameters, by the start of their names, that no gradient reaches without denoising queries, without any loss of
# classes, without the loss of boxes: boxes and scores that lead from one layer to the next are detached.
UNUSED_WITHOUT_DENOISING = ("decoder.denoising_class_embed.",)
UNUSED_WITHOUT_CLASSES = ("decoder.enc_score_head.", "decoder.dec_score_head.")
UNUSED_WITHOUT_BOXES = ("decoder.enc_bbox_head.", "decoder.dec_bbox_head.")
UNUSED_WITHOUT_ENCODER_LOSS = ("decoder.enc_output.", "decoder.enc_score_head.", "decoder.enc_bbox_head.")


def build(spec: ModelSpec, weights: Arrays, dtype: str) -> RTDETR:
    """Build the model of a spec and load its weights strictly.

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
    """Switch batch statistics, all decoder layers and denoising on or off.

    Not ``Module.eval()``: that also stops the gradient of every parameter.
    """
    for module in model.modules():
        module.is_train = training


def state_arrays(model: nn.Module) -> Arrays:
    """Copies of parameters, running statistics and counters under canonical names."""
    arrays: Arrays = {}
    for name, owner in _owners(model):
        value = getattr(owner, name.rpartition(".")[2])
        arrays[name] = np.asarray(value, np.int64) if isinstance(value, int) else to_numpy(value)
    return arrays


def trainable(model: RTDETR) -> dict[str, Var]:
    """Parameters that get gradients, by canonical name."""
    return {name: p for name, p in model.state_dict().items() if not p.is_stop_grad()}


def freeze(model: RTDETR, recipe: RecipeSpec) -> None:
    """Switch off the gradients of the parameters that the recipe freezes."""
    for name, parameter in trainable(model).items():
        if recipe.is_frozen(name):
            parameter.stop_grad()


def connected(model: RTDETR, outputs: Outputs, spec: CriterionSpec) -> dict[str, Var]:
    """Trainable parameters that the losses of this pass reach; ``jt.grad`` gives zeros, not None, for others."""
    unused: tuple[str, ...] = ()
    if outputs.queries is None:
        unused += UNUSED_WITHOUT_DENOISING
    if "boxes" not in spec.losses:
        unused += UNUSED_WITHOUT_BOXES
    if spec.losses == ("boxes",):
        unused += UNUSED_WITHOUT_CLASSES
    if not spec.aux_loss:
        unused += UNUSED_WITHOUT_ENCODER_LOSS
        if outputs.queries is None:  # no loss of earlier layers; the last one refines the boxes of the one before
            last = len(outputs.layers) - 1
            unused += tuple(f"decoder.dec_score_head.{layer}." for layer in range(last))
            unused += tuple(f"decoder.dec_bbox_head.{layer}." for layer in range(last - 1))
    return {name: p for name, p in trainable(model).items() if not name.startswith(unused)}


def to_tensor(array: np.ndarray, model: nn.Module) -> Var:
    """A tensor on the model's device: floats in the model's dtype, integers and booleans as they are."""
    like = next(iter(model.state_dict().values()))
    if array.dtype.kind == "f":
        array = array.astype(str(like.dtype))
    return jt.array(np.ascontiguousarray(array))


def to_numpy(tensor: Var) -> np.ndarray:
    """A copy on the host, in the tensor's own dtype."""
    return np.array(tensor.numpy())


def to_arrays(tensors: dict[str, Var]) -> Arrays:
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


def outputs_from(leaves: dict[str, Var], queries: DenoisingQueries | None) -> Outputs:
    """Outputs without a selection from given predictions, ``prediction/[aux_I.|dn_I.]pred_{logits,boxes}``."""
    named = trace_names.below("prediction", leaves)
    layers, encoder, denoising = trace_names.read_predictions(named, Prediction)
    nothing = jt.zeros((1,))
    return Outputs(layers, encoder, denoising, queries, nothing, nothing)


def _owners(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every canonical name with its module; the counters of batch norms are plain integers in this twin."""
    modules = dict(model.named_modules())
    found = [(name, modules[name.rpartition(".")[0]]) for name in model.state_dict()]
    counters = [
        (f"{name}.{COUNTER}", module) for name, module in modules.items() if isinstance(module, BatchNorm2d)
    ]
    return found + counters

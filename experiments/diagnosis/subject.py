"""What two frameworks of this project are run on: a spec, weights and drawn inputs; and files of arrays."""

from dataclasses import dataclass

import numpy as np

from experiments.weight_files.readers import file_format, read_npz, read_weights
from experiments.weight_files.sources import load_weights
from frameworks.arrays import Arrays, load_arrays
from frameworks.config import load_spec
from frameworks.errors import UserError
from frameworks.files import user_path
from frameworks.protocol import Case
from frameworks.shared import drawn_inputs
from frameworks.shared.noise import denoising_count
from frameworks.state.module_paths import module_paths
from frameworks.state.parameters import state_shapes

SEED = "twin-detr-1"  # of the drawn weights, images, targets and noise


@dataclass(frozen=True)
class Subject:
    """A case with the weights and the inputs that both frameworks get."""

    case: Case
    weights: Arrays
    inputs: Arrays


def make_subject(spec_name: str, weights: str | None, size_hw: tuple[int, int], training: bool) -> Subject:
    """A pass that records every module, on two drawn images of ``size_hw``; in training with targets and noise.

    Args:
        weights: a file that fits the spec; None: drawn, so that no parameter has a neutral value.

    Raises:
        UserError: no such spec, or a file that does not fit it; or an image size that does not fit its strides.
    """
    spec = load_spec(spec_name)
    model = spec.model
    largest = max(model.backbone.out_strides)
    if any(side < 1 or side % largest for side in size_hw):
        raise UserError(f"--image-size {size_hw[0]} {size_hw[1]}: expected multiples of {largest}")
    tokens = sum((size_hw[0] // stride) * (size_hw[1] // stride) for stride in model.backbone.out_strides)
    if tokens < model.decoder.num_queries:
        raise UserError(
            f"--image-size {size_hw[0]} {size_hw[1]} gives {tokens} tokens, but {spec.name} selects "
            f"{model.decoder.num_queries}: take a larger one"
        )
    arrays = drawn_inputs.weights(state_shapes(model), SEED)
    if weights:
        arrays |= load_weights(read_weights(user_path(weights)), spec).weights
    counts = drawn_inputs.TARGETS_PER_IMAGE
    inputs: Arrays = {"images": drawn_inputs.images(len(counts), *size_hw, SEED)}
    if training:
        inputs |= drawn_inputs.targets(SEED, counts, spec.object_classes)
        if count := denoising_count(model, np.asarray(counts)):
            inputs |= drawn_inputs.noise(len(counts), count, SEED, model.num_classes)
    case = Case("loss" if training else "forward", spec, training=training, capture=tuple(module_paths(model)))
    return Subject(case, arrays, inputs)


def read_arrays(path: str) -> Arrays:
    """The arrays of a .npz or .safetensors file. Raises UserError if it is neither, or cannot be read."""
    file = user_path(path)
    match file_format(file):
        case "npz":
            return read_npz(file)
        case "safetensors":
            return load_arrays(file)
    raise UserError(f"--inputs {path}: expected .npz or .safetensors")
